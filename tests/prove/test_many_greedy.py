"""Fifty greedy processes on twenty addresses: what is let through is what the limits say.

The mirror counts what reaches it: a request is there after it was let in and before its place is
free again, so the mirror never sees more than is held.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.testkit.instance import Instance
from tests.testkit.ports import HOST
from tests.testkit.processes import python_environment

pytestmark = pytest.mark.prove

WORKERS, PROCESSES, ADDRESSES = 4, 50, [f"127.0.1.{i}" for i in range(1, 21)]
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"id": 1}'
CLIENT = ("--key", "sk-test", "--pause", "0.05")
"""Waits a moment after a refusal."""
SETTLED = 3.0
"""Seconds after which every address has its connections."""
LASTING = 20.0
TOLERANCE = 0.01


class Counting:
    """A mirror that answers after about `seconds`, not all at once, and knows who is waiting."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.port = 0
        self.open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.came: defaultdict[str, list[float]] = defaultdict(list)
        """When requests of an address came."""
        self._held: defaultdict[str, float] = defaultdict(float)
        self._changed: dict[str, float] = {}
        self._rng = random.Random(1)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Counting:
        self._server = await asyncio.start_server(self._serve, HOST, 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def held(self) -> dict[str, float]:
        """Seconds that requests of each address have been open, added up over them."""
        for client in list(self.open):
            self._change(client, 0)
        return dict(self._held)

    def _change(self, client: str, by: int) -> None:
        now = time.monotonic()
        self._held[client] += self.open[client] * (now - self._changed.get(client, now))
        self._changed[client] = now
        self.open[client] += by
        self.most[client] = max(self.most[client], self.open[client])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if client := _field(head, b"x-source"):
                    self.came[client].append(time.monotonic())
                    self._change(client, 1)
                    try:
                        await asyncio.sleep(self.seconds * self._rng.uniform(0.5, 1.5))
                    finally:
                        self._change(client, -1)
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _field(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(name + b":"):
            return line.partition(b":")[2].strip().decode()
    return ""


@asynccontextmanager
async def _greedy(
    instance: Instance, connections: int
) -> AsyncIterator[tuple[list[Process], float]]:
    """The processes, and the moment at which all of them began."""
    port = instance.base_url.rpartition(":")[2]
    crowd: list[Process] = []
    try:
        for i in range(PROCESSES):
            source = ADDRESSES[i % len(ADDRESSES)]
            arguments = ("-m", "tests.testkit.http_flood", port, source, str(connections), *CLIENT)
            crowd.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=python_environment()
                )
            )
        for each in crowd:
            assert await _line(each) == b"ready\n"
        began = time.monotonic()
        for each in crowd:
            assert each.stdin is not None
            each.stdin.write(b"\n")
        yield crowd, began
    finally:
        for each in crowd:
            if each.returncode is None:
                each.kill()
            await each.communicate()


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


async def _answers(crowd: list[Process]) -> Counter[str]:
    """Stop them, and add up the statuses that they saw."""
    seen: Counter[str] = Counter()
    for each in crowd:
        assert each.stdin is not None
        each.stdin.close()
    for each in crowd:
        seen.update(json.loads(await _line(each)))
    return seen


@asynccontextmanager
async def _instance(mirror: Counting, directory: Path, **limits: float) -> AsyncIterator[Instance]:
    table = {"id": "a", "url": f"http://{HOST}:{mirror.port}", "addresses": [HOST]}
    config = {"router": {"workers": WORKERS}, "limits": limits, "mirrors": [table]}
    instance = Instance(config, directory)
    try:
        await asyncio.to_thread(instance.start)
        yield instance
        await asyncio.to_thread(instance.stop)
    finally:
        await asyncio.to_thread(instance.close)


async def test_open_requests_never_exceed_the_limit_of_an_address_and_stay_within_a_percent_of_it(
    tmp_path: Path, measured: Measure
) -> None:
    limit = 10
    limits = {"connections": limit, "requests_per_second": 0}
    async with (
        Counting(6.0) as mirror,
        _instance(mirror, tmp_path, **limits) as instance,
        _greedy(instance, 6) as (crowd, _),
    ):
        await asyncio.sleep(SETTLED)
        before, began = mirror.held(), time.monotonic()
        await asyncio.sleep(LASTING)
        after, lasted = mirror.held(), time.monotonic() - began
        most = max(mirror.most.values())  # who leaves lets others in before the mirror notices
        answers = await _answers(crowd)
    shares = [(after[each] - before[each]) / lasted / limit for each in ADDRESSES]
    measured("most open at once, of any address", most)
    measured("mean of what is open, of the limit, least of all addresses", f"{min(shares):.4f}")
    measured("answers", dict(answers))
    assert most == limit
    assert min(shares) >= 1 - TOLERANCE
    assert set(answers) == {"200", "429"}


async def test_requests_let_through_never_exceed_the_rate_of_an_address_and_reach_it(
    tmp_path: Path, measured: Measure
) -> None:
    rate, burst = 10.0, 20
    limits = {"connections": 0, "requests_per_second": rate, "burst": burst}
    async with (
        Counting(0.0) as mirror,
        _instance(mirror, tmp_path, **limits) as instance,
        _greedy(instance, 1) as (crowd, began),
    ):
        await asyncio.sleep(SETTLED + LASTING)
        answers = await _answers(crowd)
    allowed = {each: burst + 1 + rate * (mirror.came[each][-1] - began) for each in ADDRESSES}
    most = max(len(mirror.came[each]) / allowed[each] for each in ADDRESSES)
    shares = [_share(mirror.came[each], rate) for each in ADDRESSES]
    measured("let through, of what is allowed, most of all addresses", f"{most:.4f}")
    measured("let through, of the rate, least of all addresses", f"{min(shares):.4f}")
    measured("answers", dict(answers))
    assert most <= 1.0
    assert min(shares) >= 1 - TOLERANCE
    assert set(answers) == {"200", "429"}


def _share(times: list[float], rate: float) -> float:
    """Requests a second after the burst, of the rate."""
    late = [each for each in times if each - times[0] >= SETTLED]
    return (len(late) - 1) / (late[-1] - late[0]) / rate
