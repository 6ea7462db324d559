"""`python -m benchmarks.simulation`: run the scenarios, print what they have shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.simulation import report, selection
from benchmarks.simulation.scenarios import SCENARIOS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = ", ".join(f'"{scenario.name}"' for scenario in SCENARIOS)
    made = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    made.add_argument("--scenario", action="append", help=f"only this one; of {names}")
    made.add_argument("--seeds", type=int, default=3, help="runs of each (3)")
    made.add_argument("--docs", action="store_true", help="write docs/failover.md and its plots")
    made.add_argument("--selection", action="store_true", help="only measure what a choice costs")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write if asked. Returns the exit code."""
    arguments = parser().parse_args(argv)
    if arguments.selection:
        for count, out, alone, whole in selection.measure():
            of = f"{count - out:3} of {count:3} eligible"
            print(f"{of}: choice {alone:5.2f} µs, whole attempt {whole:5.2f} µs")
        return 0
    chosen = [s for s in SCENARIOS if not arguments.scenario or s.name in arguments.scenario]
    if not chosen:
        print("no such scenario", file=sys.stderr)
        return 2
    shown = []
    for scenario in chosen:
        shown.append(report.show(scenario, arguments.seeds))
        print(report.terminal(shown[-1]), flush=True)
    if arguments.docs and len(chosen) == len(SCENARIOS):
        report.write(shown, report.plots(SCENARIOS, arguments.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
