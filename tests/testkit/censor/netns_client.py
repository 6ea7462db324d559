"""The client in a lab: does what it reads from standard input, a line of JSON each."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from monitor.diagnosis.verdicts import SNI_BLOCKS
from monitor.probes.connect import connect
from monitor.probes.failures import failure_of
from monitor.probes.results import StepResult
from monitor.probes.stream import Stream
from monitor.probes.tls import Shake, TlsContexts, handshake
from tests.testkit.censor.path_watcher import PathWatcher, shortened

EXPERIMENTS = 2
"""Within which a name that is blocked has to be confirmed to be."""


async def probe(wish: dict[str, Any], contexts: TlsContexts, ca_file: str) -> dict[str, Any]:
    """Connect, shake hands, download if wished."""
    address = wish["address"]
    connection, step = await connect(address, wish["port"], wish["connect"])
    if connection is None:
        return _met(step)
    with connection:
        context = await contexts.get(ca_file)
        shake = Shake.as_itself(address, wish["sni"])
        stream, step = await handshake(connection, context, shake, wish["handshake"])
        met = _met(step)
        if stream is not None and wish["download"]:
            met |= await _download(stream, wish["download"])
        return met


async def diagnose(wish: dict[str, Any], contexts: TlsContexts, ca_file: str) -> dict[str, Any]:
    """Watch the path until it is known what is wrong with it."""
    watcher = PathWatcher(contexts, Path(ca_file), shortened(wish["hold"]))
    try:
        for _ in range(EXPERIMENTS):
            found = await watcher.path(wish["sni"], wish["address"], wish["port"], wish["probes"])
            if found.finding.verdict not in SNI_BLOCKS or found.confirmed_block:
                break
    finally:
        await watcher.close()
    finding = found.finding
    return {
        "verdict": finding.verdict,
        "level": "confirmed" if found.confirmed_block else finding.level,
        "residual": finding.residual,
        "confirmed_block": found.confirmed_block,
    }


async def _download(stream: Stream, timeout: float) -> dict[str, Any]:
    started, body, failure = time.perf_counter(), 0, None
    try:
        async with asyncio.timeout(timeout):
            await stream.write(b"all of it\n")
            while data := await stream.read():
                body += len(data)
    except OSError as error:
        failure = failure_of(error)
    seconds = time.perf_counter() - started
    return {"operation": "read", "failure": failure, "body": body, "rate": body / seconds}


def _met(step: StepResult) -> dict[str, Any]:
    return {
        "operation": step.operation,
        "failure": step.failure,
        "seconds": step.seconds,
        "received": step.tls.received if step.tls else 0,
        "body": 0,
        "rate": 0.0,
    }


async def run(ca_file: str) -> None:
    """Probe until standard input ends."""
    contexts = TlsContexts()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        wish = json.loads(line)
        does = diagnose if "hold" in wish else probe
        print(json.dumps(await does(wish, contexts, ca_file)), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
