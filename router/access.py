"""The access log: one line a request, without query, key or body."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TextIO

from router.logs import JsonFormatter, LogConfig, TextFormatter
from router.tally import Finished

log = logging.getLogger("worker")

_SAY_EVERY = 60.0
"""Seconds between two complaints about a log that cannot be written."""


class _Dropping(logging.Handler):
    """Drops lines that cannot be written, and says so once a minute."""

    _said_at = float("-inf")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, RUF100 — logging's name
        now, error = time.monotonic(), sys.exc_info()[1]
        if now - self._said_at >= _SAY_EVERY:
            self._said_at = now
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            log.error("requests are not logged: %s", reason)


class _ToFile(_Dropping, logging.FileHandler):
    pass


class _ToStderr(_Dropping, logging.StreamHandler[TextIO]):
    pass


def access_log(config: LogConfig, process: str) -> Callable[[Finished], None] | None:
    """A writer of access lines, or None when they are off. Raises OSError for a bad file.

    The file is opened for appending, so several workers share it line by line; a line is shorter
    than what the kernel appends at once. Every reload opens it anew, as log rotation needs.
    """
    logger = logging.getLogger("access")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    old, logger.handlers[:] = list(logger.handlers), _handlers(config, process)
    for handler in old:
        with contextlib.suppress(OSError):  # of what it could not write any more
            handler.close()
    return None if config.access == "off" else partial(_write, logger)


def _handlers(config: LogConfig, process: str) -> list[logging.Handler]:
    if config.access == "off":
        return []
    handler: logging.Handler = (
        _ToStderr() if config.access == "-" else _ToFile(config.access, encoding="utf-8")
    )
    handler.setFormatter(
        JsonFormatter(process) if config.format == "json" else TextFormatter(process)
    )
    return [handler]


def _write(logger: logging.Logger, end: Finished) -> None:
    fields = fields_of(end)
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logger.info("%s", text, extra={"fields": fields})


def fields_of(end: Finished) -> dict[str, str | int | float]:
    """What an access line tells."""
    return {
        "client": end.client,
        "method": end.method.decode(),
        "path": end.target.partition(b"?")[0][:512].decode("latin-1"),
        "status": end.status,
        "mirror": end.mirror or "-",
        "outcome": end.outcome,
        "seconds": round(end.seconds, 4),
        "attempts": end.failed_attempts + (1 if end.mirror else 0),
        "request_id": end.request_id.decode(),
    }
