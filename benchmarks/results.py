"""A run's results, and the files they go to."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks import report
from benchmarks.goals import outcomes
from benchmarks.summary import Sample, rows

RESULTS = Path(__file__).with_name("results")
HOW = """\
{began:%Y-%m-%d}, commit {commit}: medians of {rounds} alternating rounds of {seconds:g} s, each
proxy alone on one core. [docs/benchmarks.md](../../docs/benchmarks.md) says what the words mean."""


@dataclass
class Run:
    """All that one run has measured; `skipped` says of a proxy why it could not take part."""

    began: datetime
    rounds: int
    seconds: float
    facts: dict[str, str]
    skipped: dict[str, str]
    samples: list[Sample] = field(default_factory=list)

    def terminal(self) -> str:
        found = rows(self.samples)
        return report.terminal(found, outcomes(found), self.skipped)

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write the page and the JSON file beside it."""
        stem = f"{self.began:%Y-%m-%d}-{self.facts['commit']}"
        data = directory / f"{stem}.json"
        page = directory / f"{stem}.md"
        directory.mkdir(exist_ok=True)
        data.write_text(json.dumps(self._data(), indent=1) + "\n")
        page.write_text(self._markdown())
        return page, data

    def _data(self) -> dict[str, object]:
        return {
            "began": self.began.isoformat(),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "facts": self.facts,
            "skipped": self.skipped,
            "rows": [asdict(row) for row in rows(self.samples)],
            "samples": [asdict(sample) for sample in self.samples],
        }

    def _markdown(self) -> str:
        found = rows(self.samples)
        how = HOW.format(
            began=self.began,
            commit=self.facts["commit"],
            rounds=self.rounds,
            seconds=self.seconds,
        )
        return report.markdown(found, outcomes(found), self.skipped, self.facts, how)
