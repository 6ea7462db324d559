"""Runs cells of the diagnosis matrix many times and counts what was said."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from monitor.probes.tls import TlsContexts
from tests.testkit.censor.cells import Cell
from tests.testkit.censor.dns_server import DnsServer, DohServer
from tests.testkit.censor.scene import Scene, World
from tests.testkit.censor.tls_server import TlsServer
from tests.testkit.censor.transfers import AT_ONCE
from tests.testkit.censor.watching import Diagnosed
from tests.testkit.certs import Authority

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 68000\r\nConnection: close\r\n\r\n"
BULK = _HEAD + bytes(68_000)
APART = 0.03
"""Seconds between the starts of two trials, so that their handshakes do not come all at once."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Set-up of a cell."""

    addresses: int
    remembers: bool

    def __str__(self) -> str:
        return f"{self.addresses} IP{'s' if self.addresses > 1 else ''}" + (
            ", residual" if self.remembers else ""
        )


def variants(cell: Cell) -> list[Variant]:
    """Return one or two addresses, with a censor that remembers and one that does not."""
    memories = (False, True) if cell.remembers else (False,)
    return [Variant(addresses, remembers) for addresses in cell.addresses for remembers in memories]


@dataclass(slots=True)
class Tally:
    """Diagnoses in the trials of one variant."""

    trials: int = 0
    right: int = 0
    confirmed_blocks: int = 0
    """Trials in which a block was confirmed, rightly or not."""
    improper: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    def count(self, cell: Cell, paths: list[Diagnosed], last: bool) -> None:
        """Add one diagnosis; `last` of its trial."""
        self.trials += 1
        right = not (last and cell.confirms) or all(path.confirmed_block for path in paths)
        for number, path in enumerate(paths):
            self.verdicts[f"{path.finding.verdict} ({path.finding.level})"] += 1
            wanted = cell.elsewhere if number and cell.elsewhere else cell.verdicts
            right = right and (not wanted or path.finding.verdict in wanted)
        confirmed = any(path.confirmed_block for path in paths)
        self.confirmed_blocks += confirmed
        self.right += right and not (confirmed and not cell.verdicts)


Table = dict[tuple[Cell, Variant], Tally]


@asynccontextmanager
async def world_of(authority: Authority) -> AsyncIterator[World]:
    """A server for *.mirror.test, and others that show certificates that must be refused."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    leaves = {
        "mitm": authority.stranger().issue("*.mirror.test"),
        "expired": authority.issue("*.mirror.test", not_after=yesterday),
        "wrong-host": authority.issue("else.test", local=False),
    }
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(TlsServer(authority.issue("*.mirror.test").server_context(), BULK))
        servers = {
            kind: await enter(TlsServer(leaf.server_context())) for kind, leaf in leaves.items()
        }
        yield World(
            server,
            servers,
            await enter(DnsServer()),
            await enter(DohServer(authority.issue("dns.test"))),
            authority.ca_file,
            authority.client_context(),
            TlsContexts(),
            asyncio.Semaphore(AT_ONCE),
            count(),
        )


async def run_all(world: World, cells: Iterable[Cell], trials: int) -> Table:
    """Run all variants of these cells side by side."""
    rows = [(cell, variant) for cell in cells for variant in variants(cell)]
    starts = (number * APART for number in range(len(rows)))
    tallies = await asyncio.gather(
        *(run_cell(world, *row, trials, start) for row, start in zip(rows, starts, strict=True))
    )
    return dict(zip(rows, tallies, strict=True))


async def run_cell(
    world: World, cell: Cell, variant: Variant, trials: int, start: float = 0.0
) -> Tally:
    """Run so many trials side by side, after `start` seconds; the seeds are always the same."""
    tally = Tally()

    async def run(number: int) -> None:
        await asyncio.sleep(start + number * len(variants(cell)) * APART)
        async with Scene(world, variant.addresses, seed=number) as scene:
            await cell.arrange(scene, variant.remembers)
            for left in reversed(range(cell.episodes)):
                tally.count(cell, await cell.examine(scene, cell.probes), last=not left)
            tally.improper += scene.improper()

    await asyncio.gather(*(run(number) for number in range(trials)))
    return tally
