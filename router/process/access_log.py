"""The access log: one line a request, without query, key or body."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial

from monitor.common.log_writer import LogWriter
from monitor.common.logs import STDERR, LogConfig, QueuedHandler, formatter_of, lost_line, writer_of
from router.forwarding.stats import Finished

log = logging.getLogger("worker")

_SAY_EVERY = 60.0
"""Seconds between two complaints about a log that cannot be written."""


class _Complaint:
    """Says once a minute that an access log cannot be written."""

    def __init__(self) -> None:
        self._said_at = float("-inf")

    def __call__(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said_at >= _SAY_EVERY:
            self._said_at = now
            log.error("requests are not logged: %s", error.strerror)


class _FileHandler(QueuedHandler):
    """Appends to a file through a writer of its own."""

    def __init__(self, name: str, formatter: logging.Formatter) -> None:
        fd = _open(name)
        try:
            self._own = LogWriter(fd, partial(lost_line, formatter), _Complaint())
        except BaseException:
            os.close(fd)
            raise
        super().__init__(self._own, formatter)

    def close(self) -> None:
        """Let the writer end when it has written what is queued; waits for nothing."""
        self._own.close()
        super().close()


def _open(name: str) -> int:
    """The file, opened for appending; of a FIFO without a reader this raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(name, flags, 0o666)
    os.set_blocking(fd, True)  # an open file description of our own: nobody shares this flag
    return fd


def access_log(config: LogConfig, process: str) -> Callable[[Finished], None] | None:
    """A writer of access lines, or None when they are off. Raises OSError for a bad file.

    The file is opened for appending, so several workers share it line by line: what is appended at
    once are whole lines. Every reload opens it anew, as log rotation needs.
    """
    logger = logging.getLogger("access")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    old, logger.handlers[:] = list(logger.handlers), _handlers(config, process)
    for handler in old:
        handler.close()
    return None if config.access == "off" else partial(_write, logger)


def _handlers(config: LogConfig, process: str) -> list[logging.Handler]:
    formatter = formatter_of(config, process)
    if config.access == "off":
        return []
    if config.access == "-":
        return [QueuedHandler(writer_of(STDERR), formatter)]
    return [_FileHandler(config.access, formatter)]


def _write(logger: logging.Logger, end: Finished) -> None:
    fields = fields_of(end)
    text = " ".join(f"{name}={value}" for name, value in fields.items())
    logger.info("%s", text, extra={"fields": fields})


def fields_of(end: Finished) -> dict[str, str | int | float]:
    """Return the fields of an access line."""
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
