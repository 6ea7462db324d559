"""All rows of `foreign_rows.py`, some trials of each, and the table that docs/diagnosis.md has."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median

from tests.scenarios.foreign_rows import RESIDUAL, SURE, Row
from tests.scenarios.foreign_trial import CERTAIN, Trial
from tests.testkit.censor.site import at_a_site
from tests.testkit.processes import REPOSITORY, Process, python_environment

AT_ONCE = 6
"""Trials side by side; they wait more than they work."""
DOCUMENT = REPOSITORY / "docs" / "diagnosis.md"
SLACK = 120.0
"""Seconds that a trial may take beside what it watches."""


@dataclass(slots=True)
class Tally:
    """The trials of one row."""

    row: Row
    trials: list[Trial] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """What went wrong with the trial itself."""

    @property
    def right(self) -> int:
        """Trials that ended with the right verdict, or an honestly unsure one."""
        return sum(t.verdict in (*self.row.truth, *self.row.unsure) for t in self.trials)

    @property
    def named(self) -> int:
        """Trials in which the right cause was named at all."""
        return sum(t.right_after is not None for t in self.trials)

    @property
    def falsely_sure(self) -> int:
        """Trials in which a block was called more than suspected that is none."""
        return sum(bool(trial.falsely_sure) for trial in self.trials)

    @property
    def requests(self) -> str:
        """Requests of clients in all trials, and how many of them failed; "" without any."""
        asked = sum(trial.asked for trial in self.trials)
        failed = sum(len(trial.failed) for trial in self.trials)
        return f"; {asked} requests, {failed} failed" if asked else ""

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        said = Counter(f"`{t.verdict or '-'}`{_sure(t)}" for t in self.trials)
        return (
            self.row.name,
            ", ".join(f"`{verdict}`" for verdict in self.row.truth),
            f"{self.right}/{len(self.trials)}",
            ", ".join(f"{what} {count}" for what, count in said.most_common()) + self.requests,
            _seconds(t.right_after for t in self.trials),
            _seconds(t.sure_after for t in self.trials),
            str(self.falsely_sure),
        )


def _sure(trial: Trial) -> str:
    return f" ({trial.level})" if trial.level in ("suspected", CERTAIN) else ""


def _seconds(times: Iterable[float | None]) -> str:
    known = list(times)
    reached = [t for t in known if t is not None]
    if not reached:
        return "–"
    some = f" ({len(reached)} of {len(known)})" if len(reached) < len(known) else ""
    return f"{median(reached):.0f}, {max(reached):.0f}{some}"


def run_all(rows: Sequence[Row], trials: int, directory: Path) -> dict[str, Tally]:
    """Run so many trials of each row, some side by side."""
    tallies = {row.name: Tally(row) for row in rows}
    waiting = list(product(range(trials), rows))
    running: list[tuple[Row, Process, Path, float]] = []
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, row = waiting.pop(0)
                running.append(_started(row, directory / f"{_slug(row.name)}-{number}"))
            for each in list(running):
                row, process, folder, ends = each
                if process.exit_code() is not None or time.monotonic() > ends:
                    process.kill()
                    running.remove(each)
                    _take(tallies[row.name], folder, process)
            time.sleep(0.2)
    finally:
        for _, process, _, _ in running:
            process.kill()
    return tallies


def _started(row: Row, folder: Path) -> tuple[Row, Process, Path, float]:
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.scenarios.foreign_trial", row.name, str(folder)]
    process = Process(
        [*at_a_site(), *command], folder / "trial.log", cwd=REPOSITORY, env=python_environment()
    )
    return row, process, folder, time.monotonic() + row.seconds + SLACK


def _take(tally: Tally, folder: Path, process: Process) -> None:
    found = folder / "found.json"
    if found.exists():
        tally.trials.append(Trial(**json.loads(found.read_text())))
    else:
        tally.broken.append(f"{process.exit_code()}: {process.logs()[-2000:]}")


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name)


HEADER = (
    "Censor or trouble",
    "true",
    "right",
    "said at the end",
    "named after, s",
    "sure after, s",
    "false blocks",
)


def table(tallies: Mapping[str, Tally]) -> str:
    """The table in Markdown."""
    trials = max((len(tally.trials) for tally in tallies.values()), default=0)
    lines = [
        f"{trials} trials of each row. The censor remembers for {RESIDUAL:g} s at most, and "
        f"`monitor.residual` is {RESIDUAL:g} s, so that two of them and 60 s are {SURE:g} s. Times "
        "are median and longest.",
        "",
        f"| {' | '.join(HEADER)} |",
        "|" + "---|" * len(HEADER),
        *(f"| {' | '.join(tally.cells())} |" for tally in tallies.values()),
    ]
    return "\n".join(lines)


def renew(document: Path, tallies: Mapping[str, Tally]) -> None:
    """Put the table into the document."""
    text = document.read_text("utf-8")
    begin, end = "<!-- foreign -->\n", "<!-- /foreign -->\n"
    before, _, rest = text.partition(begin)
    document.write_text(
        f"{before}{begin}\n{table(tallies)}\n\n{end}{rest.partition(end)[2]}", "utf-8"
    )
