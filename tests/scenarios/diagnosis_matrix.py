"""The diagnosis matrix: its cells run many times, and what was said is counted.

`python -m tests.scenarios.diagnosis_matrix` writes the table of docs/diagnosis.md. It runs what
`make prove` runs, twenty trials of each variant, and takes some minutes.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from monitor.probes.tls import TlsContexts
from tests.scenarios.diagnosis_cells import AT_ONCE, NEGATIVE, SYMPTOMS, Cell
from tests.scenarios.diagnosis_setup import Servers, Setup
from tests.testkit.censor.dns import DnsServer, DohServer
from tests.testkit.censor.path_watcher import Diagnosed
from tests.testkit.certs import Authority
from tests.testkit.listener import TlsServer
from tests.testkit.processes import REPOSITORY

_BULK_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 68000\r\nConnection: close\r\n\r\n"
BULK = _BULK_HEAD + bytes(68_000)
APART = 0.03
"""Seconds between the starts of two trials, so that their handshakes do not come all at once."""

TRIALS = 20
DOCUMENT = REPOSITORY / "docs" / "diagnosis.md"
BEGIN, END = "<!-- prove -->", "<!-- /prove -->"
_EXPLANATION = """\
What `make prove` measures, against a test censor on the loopback address with waits shortened to
seconds; {trials} trials of each variant: one or two addresses, and a censor that remembers or does
not where that makes a difference. A trial is right if every path got its verdict. Names that are
reset, closed or met with silence are diagnosed twice in each trial. Where the censor remembers,
only a block that is confirmed by the second time is right (of silence, which lasts longer here than
the censor remembers, the verdict is enough); where it does not, and there is no round trip to
compare with, a server that has lost the name would look the same. Innocent faults are
diagnosed up to four times, and any verdict is right that is no confirmed block. *Held* counts
hellos with the mirror's name to an address and port that was quarantined.
"""
_HEAD = """\
| {what} | right | what was said (of paths) | confirmed blocks | held |
|---|---|---|---|---|
"""


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
async def running_servers(authority: Authority) -> AsyncIterator[Servers]:
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
        yield Servers(
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


async def run_all(servers: Servers, cells: Iterable[Cell], trials: int) -> Table:
    """Run all variants of these cells side by side."""
    rows = [(cell, variant) for cell in cells for variant in variants(cell)]
    starts = (number * APART for number in range(len(rows)))
    tallies = await asyncio.gather(
        *(run_cell(servers, *row, trials, start) for row, start in zip(rows, starts, strict=True))
    )
    return dict(zip(rows, tallies, strict=True))


async def run_cell(
    servers: Servers, cell: Cell, variant: Variant, trials: int, start: float = 0.0
) -> Tally:
    """Run so many trials side by side, after `start` seconds; the seeds are always the same."""
    tally = Tally()

    async def run(number: int) -> None:
        await asyncio.sleep(start + number * len(variants(cell)) * APART)
        async with Setup(servers, variant.addresses, seed=number) as setup:
            await cell.arrange(setup, variant.remembers)
            for left in reversed(range(cell.episodes)):
                sure = not left and (variant.remembers or not cell.remembers)
                tally.count(cell, await cell.examine(setup, cell.probes), last=sure)
            tally.improper += setup.improper()

    await asyncio.gather(*(run(number) for number in range(trials)))
    return tally


async def measure(cells: Iterable[Cell], authority: Authority) -> Table:
    """Run these cells, one after the other."""
    table: Table = {}
    async with running_servers(authority) as servers:
        for cell in cells:
            table |= await run_all(servers, [cell], TRIALS)
    return table


def rows(table: Table) -> str:
    """Return a line for each cell, its variants together."""
    lines = []
    for cell in dict.fromkeys(cell for cell, _ in table):
        tallies = [tally for (of, _), tally in table.items() if of is cell]
        said = sum((tally.verdicts for tally in tallies), Counter[str]())
        shown = ", ".join(f"{verdict} {number}" for verdict, number in said.most_common())
        right = f"{sum(t.right for t in tallies)}/{sum(t.trials for t in tallies)}"
        blocks, held = sum(t.confirmed_blocks for t in tallies), sum(t.improper for t in tallies)
        lines.append(f"| {cell.name} | {right} | {shown} | {blocks} | {held} |\n")
    return "".join(lines)


def section(symptoms: Table, negative: Table) -> str:
    """Return what stands between the marks of the document."""
    return "\n".join(
        [
            _EXPLANATION.format(trials=TRIALS),
            _HEAD.format(what="Interference or fault") + rows(symptoms),
            _HEAD.format(what="Innocent fault") + rows(negative),
        ]
    )


def put(document: str, text: str) -> str:
    """Return the document with `text` between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark, f"no {BEGIN} ... {END}"
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main() -> None:
    """Measure, and write the document."""
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory))
        symptoms = asyncio.run(measure(SYMPTOMS, authority))
        negative = asyncio.run(measure(NEGATIVE, authority))
    DOCUMENT.write_text(put(DOCUMENT.read_text(), section(symptoms, negative)))


if __name__ == "__main__":
    main()
