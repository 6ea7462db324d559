"""All counters of an instance, kept for the next control process.

Prometheus takes a counter that falls for one that began anew, and counts all of it again: so what
has been exposed is kept before, in a file that the supervisor holds, and a successor goes on from
there. Living workers tell theirs again; those of ended ones, and of control, are nowhere else.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from threading import Lock

import msgspec

from monitor.common.metric_registry import Frozen, MergedMetrics
from router.process.last_lists import LastLists

log = logging.getLogger("control")


class KeptTotals:
    """The file, and the one who writes it at a time."""

    def __init__(self, file: LastLists) -> None:
        self._file = file
        self._lock = Lock()

    def restore(self, merged: MergedMetrics, mirrors: Collection[str]) -> bool:
        """Go on from what a predecessor kept; False if there was none. `mirrors`: those that there
        are, as series of others are forgotten."""
        messages = self._file.read()
        merged.restore(messages, mirrors)
        return bool(messages)

    def write(self, merged: MergedMetrics) -> Frozen:
        """Keep the numbers of this moment, and return them. May be called in any thread."""
        with self._lock:  # or an older moment might be kept after a newer one was exposed
            frozen = merged.frozen()
            try:
                self._file.write([msgspec.json.encode(message) for message in frozen.to_json()])
            except OSError as error:
                log.error("counters would begin anew with the next control process: %s", error)
        return frozen
