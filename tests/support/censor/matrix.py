"""Runs cells of the diagnosis matrix many times and counts what was said."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitor.diagnosis.names import BLOCKS
from monitor.diagnosis.trial import Level
from tests.support.censor.cells import Cell
from tests.support.censor.impostor import Impostor
from tests.support.censor.scene import Diagnosed, Scene, World
from tests.support.certs import Authority

APART = 0.02
"""Seconds between the starts of two trials, so that their handshakes do not come all at once."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a cell is set up."""

    addresses: int
    remembers: bool

    def __str__(self) -> str:
        return f"{self.addresses} IP{'s' if self.addresses > 1 else ''}" + (
            ", residual" if self.remembers else ""
        )


def variants(cell: Cell) -> list[Variant]:
    """Return one or two addresses, with a censor that remembers and one that does not."""
    memories = (False, True) if cell.remembers else (False,)
    return [Variant(addresses, remembers) for addresses in (1, 2) for remembers in memories]


@dataclass(slots=True)
class Tally:
    """What was said in the trials of one variant."""

    trials: int = 0
    right: int = 0
    confirmed_blocks: int = 0
    """Trials in which a block was confirmed, rightly or not."""
    improper: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    def count(self, cell: Cell, paths: list[Diagnosed]) -> None:
        """Add one trial."""
        self.trials += 1
        right = True
        for number, path in enumerate(paths):
            self.verdicts[f"{path.finding.verdict} ({path.finding.level})"] += 1
            wanted = cell.elsewhere if number and cell.elsewhere else cell.verdicts
            right = right and (not wanted or path.finding.verdict in wanted)
            self.improper += path.improper
        confirmed = any(is_confirmed_block(path) for path in paths)
        self.confirmed_blocks += confirmed
        self.right += right and not (confirmed and not cell.verdicts)


Table = dict[tuple[Cell, Variant], Tally]


def is_confirmed_block(path: Diagnosed) -> bool:
    """Whether it was said with certainty that something interferes."""
    return path.finding.level is Level.confirmed and path.finding.verdict in BLOCKS


@asynccontextmanager
async def world_of(authority: Authority) -> AsyncIterator[World]:
    """A server for *.mirror.test, and others that show certificates that must be refused."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    leaves = {
        "server": authority.issue("*.mirror.test"),
        "mitm": authority.stranger().issue("*.mirror.test"),
        "expired": authority.issue("*.mirror.test", not_after=yesterday),
        "wrong-host": authority.issue("else.test", local=False),
    }
    async with AsyncExitStack() as stack:
        servers = {
            kind: await stack.enter_async_context(Impostor(leaf.server_context()))
            for kind, leaf in leaves.items()
        }
        yield World(servers["server"].address, servers, authority.ca_file)


async def run_all(world: World, cells: Iterable[Cell], trials: int) -> Table:
    """Run all variants of these cells side by side."""
    rows = [(cell, variant) for cell in cells for variant in variants(cell)]
    tallies = await asyncio.gather(*(run_cell(world, *row, trials) for row in rows))
    return dict(zip(rows, tallies, strict=True))


async def run_cell(world: World, cell: Cell, variant: Variant, trials: int) -> Tally:
    """Run so many trials side by side; the seeds are the same every time."""
    tally = Tally()

    async def run(number: int) -> None:
        await asyncio.sleep(number * APART)
        async with Scene(world, variant.addresses, seed=number) as scene:
            await cell.arrange(scene, variant.remembers)
            tally.count(cell, await scene.diagnose(cell.probes))

    await asyncio.gather(*(run(number) for number in range(trials)))
    return tally
