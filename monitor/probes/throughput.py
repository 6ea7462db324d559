"""Throughput of a longer response, and whether it comes to its end.

A list of models is short: it passes where every longer answer is slowed down, or stops dead after
some kilobytes. So something of at least 64 KiB is fetched now and then, where the operator has
said what, and no more than a mebibyte of it is read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace

from monitor.common.config import MirrorConfig
from monitor.probes.failures import failure_of
from monitor.probes.http import NotHttp, ResponseReader, head_of
from monitor.probes.results import Transfer
from monitor.probes.stream import Stream, TlsStream

LEAST = 64 * 1024
"""What is shorter says nothing: `failure` is `too_short` then."""
MOST = 1 << 20
TOO_SHORT = "too_short"
UNEXPECTED_STATUS = "http_unexpected_status_code"


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """Seconds that a transfer may take."""

    whole: float = 20.0
    """What flows is cut off without a fault: its speed is known by then."""
    stall: float = 5.0
    """Without a byte for so long it has stopped."""


@dataclass(slots=True)
class _Progress:
    reader: ResponseReader = field(default_factory=lambda: ResponseReader(keep=0, most=MOST))
    first: float | None = None
    last: float = 0.0

    def feed(self, data: bytes) -> None:
        before = self.reader.body_bytes
        self.reader.feed(data)
        if self.reader.body_bytes > before:
            self.last = time.perf_counter()
            self.first = self.first or self.last

    def transfer(self, failure: str | None) -> Transfer:
        seconds = self.last - self.first if self.first is not None else 0.0
        return Transfer(self.reader.body_bytes, seconds, failure)

    def broken(self, failure: str, stream: Stream) -> Transfer:
        """Of a stall what counts is what came over the wire: a TLS record of 16 KiB that is not
        complete gives no byte of the body at all."""
        wire = stream.received if isinstance(stream, TlsStream) else 0
        transfer = self.transfer(failure)
        return replace(transfer, received=max(transfer.received, wire))


async def measure(
    stream: Stream, mirror: MirrorConfig, hostname: str, agent: str, limits: BulkLimits
) -> Transfer:
    """Fetch `mirror.bulk_path`, without a key. What came before a stall counts."""
    progress = _Progress()
    head = head_of(mirror, mirror.bulk_path, hostname, agent, accept="*/*")
    whole = asyncio.timeout(limits.whole)
    try:
        async with whole:
            await stream.write(head)
            await _read(stream, progress, limits.stall)
    except TimeoutError as error:
        flowing = whole.expired() and progress.reader.body_bytes >= LEAST
        return progress.transfer(None) if flowing else progress.broken(failure_of(error), stream)
    except NotHttp:
        return progress.transfer("http_request_failed")
    except (OSError, EOFError) as error:
        return progress.broken(failure_of(error), stream)
    return progress.transfer(_what_is_wrong(progress.reader))


async def _read(stream: Stream, progress: _Progress, stall: float) -> None:
    reader = progress.reader
    while not reader.done:
        async with asyncio.timeout(stall):
            data = await stream.read()
        if not data:
            reader.end()
            return
        progress.feed(data)


def _what_is_wrong(reader: ResponseReader) -> str | None:
    if reader.status != 200:
        return UNEXPECTED_STATUS
    return TOO_SHORT if reader.body_bytes < LEAST else None
