"""Logging of every process: one line an event, as text or JSON, never a key, a query or a body."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from monitor.settings import setting


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", '"debug", "info", "warning" or "error"'
    )
    format: Literal["text", "json"] = setting("text", 'or "json"')
    access: str = setting(
        "off",
        'one line a request: "off", a file, or "-" for stderr: never a query, a key or a body',
    )


_MOST_CAUSES = 8
"""Exceptions of one chain that are logged."""


class _Formatter(logging.Formatter):
    """What the formats have in common."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def formatException(  # noqa: N802, RUF100 — the name is logging's
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """The traceback without what the exception says: that may quote a key or a body."""
        return "" if ei[1] is None else traceback_of(ei[1])


def traceback_of(error: BaseException) -> str:
    """Where an exception and those behind it were raised, and of which types they are.

    Of their texts only the system's words for an error number are told.
    """
    parts: list[str] = []
    waiting: list[tuple[str, BaseException]] = [("", error)]
    while waiting and len(parts) < _MOST_CAUSES:
        relation, this = waiting.pop(0)
        frames = "".join(traceback.format_tb(this.__traceback__))
        parts.append(f"{relation}{frames}{_kind(this)}")
        if this.__cause__ is not None:
            waiting.append(("caused by:\n", this.__cause__))
        elif this.__context__ is not None and not this.__suppress_context__:
            waiting.append(("while handling:\n", this.__context__))
        if isinstance(this, BaseExceptionGroup):
            waiting.extend(("in the group:\n", each) for each in this.exceptions)
    return "\n".join(parts)


def _kind(error: BaseException) -> str:
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    number = error.errno if isinstance(error, OSError) else None
    return f"{name}: {os.strerror(number)}" if number else name


class TextFormatter(_Formatter):
    """`2026-11-21T09:00:00.000Z info control: message`, control characters made visible."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_when(record)} {record.levelname.lower()} {self._process}: {record.getMessage()}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, ensure_ascii=False)


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure(config: LogConfig, process: str) -> None:
    """Send this process's log to stderr; `process` names it in every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(process) if config.format == "json" else TextFormatter(process)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
