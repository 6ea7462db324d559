"""The access log: one line a request, without query, key or body."""

from __future__ import annotations

import logging
from collections.abc import Callable

from router.logs import JsonFormatter, LogConfig, TextFormatter
from router.plane import Finished


def access_log(config: LogConfig, process: str) -> Callable[[Finished], None] | None:
    """A writer of access lines, or None when they are off. Raises OSError for a bad file.

    The file is opened for appending, so several workers share it line by line; a line is shorter
    than what the kernel appends at once.
    """
    if config.access == "off":
        return None
    handler = (
        logging.StreamHandler() if config.access == "-" else logging.FileHandler(config.access)
    )
    handler.setFormatter(
        JsonFormatter(process) if config.format == "json" else TextFormatter(process)
    )
    logger = logging.getLogger("access")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [handler]

    def write(end: Finished) -> None:
        fields = fields_of(end)
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        logger.info("%s", text, extra={"fields": fields})

    return write


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
        "request_id": end.request_id,
    }
