"""Logging of every process: one line an event, as text or JSON, never a key, a query or a body."""

from __future__ import annotations

import json
import logging
import os
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from types import TracebackType
from typing import Literal

from monitor.common.log_writer import LogWriter
from monitor.common.settings import setting


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Content and form of the log."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", '"debug", "info", "warning" or "error"'
    )
    format: Literal["text", "json"] = setting("text", 'or "json"')
    access: str = setting(
        "off",
        'one line a request: "off", a file, or "-" for stderr: never a query, a key or a body',
    )


STDOUT, STDERR = 1, 2

_MOST_CAUSES = 8
"""Exceptions of one chain that are logged."""


class _Formatter(logging.Formatter):
    """Parts that the formats share."""

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
    """Places at which an exception and those behind it were raised, and their types.

    Of their texts only the system's words for an error number are kept.
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


class QueuedHandler(logging.Handler):
    """Formats a record and queues it for a writer."""

    def __init__(self, writer: LogWriter, formatter: logging.Formatter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the record's line; one that cannot be formatted leaves its traceback."""
        try:
            line = self.format(record)
        except Exception as error:  # logging's own report would quote the record's values
            line = f"a record of {record.name} cannot be formatted:\n{traceback_of(error)}"
        self._writer.put(f"{line}\n".encode("utf-8", "backslashreplace"))


def formatter_of(config: LogConfig, process: str) -> logging.Formatter:
    """The formatter for `log.format`; `process` is named in every line."""
    return JsonFormatter(process) if config.format == "json" else TextFormatter(process)


def lost_line(formatter: logging.Formatter, count: int) -> bytes:
    """The line that stands in place of so many dropped ones."""
    text = "%d lines of the log were dropped: they could not be written fast enough"
    record = logging.LogRecord("log", logging.WARNING, "", 0, text, (count,), None)
    return f"{formatter.format(record)}\n".encode()


@cache
def writer_of(fd: int) -> LogWriter:
    """The one writer of this process for stdout or stderr."""
    return LogWriter(fd, partial(lost_line, TextFormatter("log")))


def configure(config: LogConfig, process: str) -> None:
    """Send this process's log to stderr; `process` names it in every line."""
    formatter = formatter_of(config, process)
    writer = writer_of(STDERR)
    writer.lost = partial(lost_line, formatter)
    root = logging.getLogger()
    root.handlers[:] = [QueuedHandler(writer, formatter)]
    root.setLevel(config.level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
