"""`python -m tests.testkit.censor.report`: the diagnosis matrix as a table in docs/diagnosis.md.

It runs what `make prove` runs, twenty trials of each variant, and takes some minutes.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.testkit.censor.cells import NEGATIVE, SYMPTOMS, Cell
from tests.testkit.censor.matrix import Table, run_all, world_of
from tests.testkit.certs import Authority
from tests.testkit.process import REPOSITORY

TRIALS = 20
DOCUMENT = REPOSITORY / "docs" / "diagnosis.md"
BEGIN, END = "<!-- prove -->", "<!-- /prove -->"

_EXPLANATION = """\
What `make prove` measures, against a test censor on the loopback address with waits shortened to
seconds; {trials} trials of each variant: one or two addresses, and a censor that remembers or does
not where that makes a difference. A trial is right if every path got its verdict. Names that are
reset, closed or met with silence are diagnosed twice in each trial, and only a block that is
confirmed by the second time is right; innocent faults are diagnosed up to four times, and any
verdict is right that is no confirmed block. *Held* counts hellos with the mirror's name to an
address and port that was quarantined.
"""
_HEAD = """\
| {what} | right | what was said (of paths) | confirmed blocks | held |
|---|---|---|---|---|
"""


async def measure(cells: Iterable[Cell], authority: Authority) -> Table:
    """Run these cells, one after the other."""
    table: Table = {}
    async with world_of(authority) as world:
        for cell in cells:
            table |= await run_all(world, [cell], TRIALS)
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
