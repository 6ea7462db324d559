"""Runs the monitor over many pretend mirrors in a process of its own, and says what that cost.

python -m tests.prove.monitor_scale serve FOLDER         prints a port, serves until killed
python -m tests.prove.monitor_scale watch FOLDER PORT SECONDS    prints one line of JSON
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import ssl
import sys
import time
from pathlib import Path

from monitor.common.config import MirrorConfig, MonitorConfig, SniConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.engine.metrics import FAMILIES, LATE
from monitor.engine.monitor import Monitor
from monitor.health.snapshot import HealthBoard, HealthSnapshot, Standing
from monitor.store.store import Store
from tests.testkit.processes import resident_bytes
from tests.testkit.wait import wait_until_async

MIRRORS = 100
_BODY = b'{"error": {"code": null}}'
_ANSWER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"


async def serve(folder: Path) -> None:
    """Be all the mirrors: every address of 127.0.0.0/8 at one port, until killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.read(65536):
                writer.write(_ANSWER % (len(_BODY), _BODY))
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def mirrors(folder: Path, port: int) -> tuple[MirrorConfig, ...]:
    """A hundred mirrors of two names and two addresses each."""
    return tuple(
        MirrorConfig(
            f"m{n}",
            f"https://m{n}.mirror.test:{port}",
            hostnames=(f"a{n}.mirror.test",),
            addresses=(f"127.1.{n}.1", f"127.2.{n}.1"),
            ca_file=str(folder / "ca.pem"),
        )
        for n in range(MIRRORS)
    )


async def watch(folder: Path, port: int, seconds: float) -> None:
    """Watch them at the usual pace and say what it cost, after the first round is over."""
    totals, published = MetricRegistry(FAMILIES), [0]
    board, workers_read = HealthBoard("here"), [0]
    last = [board.current]

    def on_change(snapshot: HealthSnapshot) -> None:
        published[0] += 1
        workers_read[0] += len(json.dumps(snapshot.news_since(last[0])))
        last[0] = snapshot

    store = await Store.open(f"sqlite:///{folder / 'scale.db'}")
    config = MonitorConfig(sni=SniConfig(control=("control.test",)))
    monitor = Monitor(config, mirrors(folder, port), store, board, totals, on_change)
    await monitor.start()
    await wait_until_async(lambda: _paths_that_work(totals) == 4 * MIRRORS, 60, "all paths work")
    gc.collect()
    began, cpu, before = time.monotonic(), _cpu(), list(totals.cells(LATE))
    count = published[0]
    await asyncio.sleep(seconds)
    spent, elapsed = _cpu() - cpu, time.monotonic() - began
    late = [now - then for now, then in zip(totals.cells(LATE), before, strict=True)]
    result = {
        "core": spent / elapsed,
        "resident_mib": resident_bytes(os.getpid()) / (1 << 20),
        "late_p99_at_most": _p99(late),
        "turns": sum(late[:-1]),
        "snapshots_per_second": (published[0] - count) / elapsed,
        "bytes_per_snapshot": workers_read[0] / published[0],
        "ok": sum(p.standing is Standing.ok for m in last[0].mirrors.values() for p in m.paths),
    }
    await monitor.stop()
    await store.close()
    print(json.dumps(result), flush=True)


def _paths_that_work(totals: MetricRegistry) -> float:
    return sum(totals.get("mirrorgate_mirror_paths", (f"m{n}", "ok")) for n in range(MIRRORS))


def _p99(late: list[float]) -> float:
    """The upper bound of the bucket in which the 99th percentile lies."""
    bounds = [*next(f.buckets for f in FAMILIES if f.name == LATE), float("inf")]
    counts, seen = late[:-1], 0.0
    for bound, number in zip(bounds, counts, strict=True):
        seen += number
        if seen >= 0.99 * sum(counts):
            return bound
    return float("inf")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        asyncio.run(watch(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
