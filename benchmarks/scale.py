"""Cost of a request where an instance knows much: `python -m benchmarks.scale`.

Instructions of a worker (`counting`) with many mirrors, bans and keys, and with limits that several
hosts share, beside those of a small instance. Needs no quiet machine; takes five minutes, and
writes the figures into docs/benchmarks.md.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks import documents
from benchmarks.counting import CannotCount, Counts, Setup, count, missing_tool
from benchmarks.machine import commit
from monitor.common.compiled import COMPILED, PURE

SMALL = Setup()


@dataclass(frozen=True)
class Size:
    """Something of which there is much, and what a request may then cost, in those of SMALL; None:
    no more is promised than with all of it."""

    about: str
    setup: Setup
    bound: float | None = None


SIZES = (
    Size("200 mirrors", Setup(mirrors=200), 1.1),
    Size("100,000 bans", Setup(bans=100_000)),
    Size("10,000 keys", Setup(keys=10_000)),
    Size("100,000 bans, 10,000 keys", Setup(bans=100_000, keys=10_000), 1.1),
    Size("16 workers", Setup(workers=16)),
    Size("limits shared by 3 hosts", Setup(hosts=3), 1.05),
)


def ratios(counts: Counts, small: Counts) -> dict[str, float]:
    """Instructions by kind of work, in those of a small instance."""
    return {kind: n / small.each[kind] for kind, n in counts.each.items()}


def table(counted: Mapping[str, Mapping[str, Counts]]) -> str:
    """The figures in Markdown, by form and size; "" is the small instance."""
    kinds = ("chat", "metered", "event", "metered event")
    lines = [
        "| form | instance | " + " | ".join(kinds) + " | bound |",
        "|---|---|" + "---:|" * (len(kinds) + 1),
    ]
    for form, by_size in counted.items():
        small = by_size[""]
        told = (f"{small.each[kind]:,.0f}" for kind in kinds)
        lines.append(f"| {form} | 3 mirrors, no bans, one key | {' | '.join(told)} | |")
        for size in SIZES:
            found = ratios(by_size[size.about], small)
            told = (f"× {found[kind]:.3f}" for kind in kinds)
            bound = "" if size.bound is None else f"≤ × {size.bound:g}"
            lines.append(f"| | {size.about} | {' | '.join(told)} | {bound} |")
    return "\n".join(lines)


def _counted(form: str) -> Iterator[tuple[str, Counts]]:
    for about, setup in (("", SMALL), *((size.about, size.setup) for size in SIZES)):
        print(f"counting: {form}, {about or 'a small instance'}", file=sys.stderr, flush=True)
        yield about, count(form, setup)


def main() -> int:
    """Count both forms, print the table and write it. Returns the exit code."""
    if reason := missing_tool():
        print(reason, file=sys.stderr)
        return 1
    try:
        counted = {form: dict(_counted(form)) for form in (PURE, COMPILED)}
    except CannotCount as error:
        print(f"not counted: {error}", file=sys.stderr)
        return 1
    print(table(counted))
    of = f"{datetime.now(UTC):%Y-%m-%d}, commit {commit()}:"
    documents.put(documents.PAGE, "scale", f"{of}\n\n{table(counted)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
