"""A process that writes history like control does, and says what is committed; to be killed."""

import asyncio
import os
import random
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from monitor.common.bans import Ban
from monitor.health.snapshot import State
from monitor.health.uptime import HOUR, Credit
from monitor.store import queries
from monitor.store.lease import Holder
from monitor.store.queries import sums
from monitor.store.records import Sample, Transition
from monitor.store.store import Store

ROOT = Path(__file__).parents[2]
BATCH = 20
VANTAGE = "here"


@dataclass(frozen=True)
class Left:
    """The last words of a killed writer, and the findings of its successor."""

    said: set[int]
    """The numbers that were said to be committed, with all before them."""
    transitions: list[int]
    bans: set[int]
    up_ms: int


async def write(url: str) -> None:
    """Write batch upon batch, numbered on from what is there; say the number of each after it."""
    store = await Store.open(url)
    await store.hold(VANTAGE, Holder.of_process(os.getpid()))
    newest = await store.read(lambda session: queries.transitions(session, None, 1))
    number = int(newest[0].at) if newest else 0
    while True:
        for _ in range(BATCH):
            number += 1
            store.record(Transition("hk", number, State.up, vantage=VANTAGE))
            store.record(Sample("hk", number, True, State.up, "ok", vantage=VANTAGE))
            store.record(Credit("hk", VANTAGE, number, 1000, State.up))
        assert await store.flush()
        network = f"198.{18 + number // 65536}.{number // 256 % 256}.{number % 256}/32"
        await store.add_ban(Ban(f"b{number}", network, number, None, "test", "test"))
        print(number, flush=True)


async def killed(url: str, after: int, rng: random.Random) -> set[int]:
    """Start a writer and kill it when it has said `after` numbers, or a bit later; what it said."""
    command = (sys.executable, "-m", "tests.scenarios.history_kills", url)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    said = set()
    async with asyncio.timeout(60):
        for _ in range(after):
            line = await process.stdout.readline()
            assert line, "the writer ended by itself"
            said.add(int(line))
        await asyncio.sleep(rng.uniform(0, 0.02))  # to hit any moment of a transaction
        process.send_signal(signal.SIGKILL)
        rest = (await process.stdout.read()).split(b"\n")
        await process.wait()
    return said | {int(line) for line in rest[:-1]}


async def found(url: str, said: set[int]) -> Left:
    """Content of the store now."""
    store = await Store.open(url)

    def question(session: Session) -> tuple[list[int], int]:
        changes = [int(t.at) for t in queries.transitions(session, "hk", 10_000_000)]
        end = (changes[0] // HOUR + 1) * HOUR
        found = sums(session, HOUR, [0, end], end)
        return changes, found["hk"][0].up

    changes, up = await store.read(question)
    bans = {int(ban.id[1:]) for ban in await store.active_bans(1e9)}
    await store.close()
    return Left(said, changes, bans, up)


def assert_nothing_is_lost(left: Left) -> None:
    """All that was said is there, once; and every batch is there wholly or not at all."""
    newest = left.transitions[0]
    assert newest >= max(left.said)
    assert left.transitions == list(range(newest, 0, -1))
    assert newest % BATCH == 0
    assert left.up_ms == newest * 1000
    assert left.said <= left.bans


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
