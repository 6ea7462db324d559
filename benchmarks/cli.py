"""The command line: what to measure, and where the results go."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import benchmarks
from benchmarks import cores, machine
from benchmarks.profile import CannotProfile, profile
from benchmarks.proxies import DEFAULT, proxies
from benchmarks.proxies.base import Proxy
from benchmarks.published import Published
from benchmarks.results import RESULTS, Run
from benchmarks.rounds import allow_many_connections, measure
from benchmarks.workloads import WORKLOADS, Workload, by_name
from tests.testkit.programs import find

QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results. Returns the exit code; a missed goal is no failure."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    arguments = parser().parse_args(argv)
    for name in ("wrk", "nginx", "taskset"):
        if find(name) is None:
            return _fail(f"{name} is needed; apt-get install -y wrk nginx util-linux")
    try:
        chosen = cores.choose(os.sched_getaffinity(0))
    except cores.TooFewCores as error:
        return _fail(str(error))
    cores.pin_to(chosen.load)
    allow_many_connections()
    try:
        if arguments.profile:
            profile(arguments.workload, arguments.seconds, chosen, RESULTS)
        else:
            _compare(arguments, chosen)
    except CannotProfile as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    workloads = [workload.name for workload in WORKLOADS]
    made.add_argument("--workload", type=_names(workloads), default=workloads, metavar="A,B")
    known = list(proxies())
    made.add_argument("--proxy", type=_names(known), default=list(DEFAULT), metavar="A,B")
    made.add_argument("--with", dest="extra", type=_names(known), default=[], metavar="litellm")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    made.add_argument(
        "--publish", action="store_true", help="put the results into docs/ and the READMEs"
    )
    made.add_argument("--quick", action="store_true", help="one round of 1 s, nothing written")
    made.add_argument("--profile", action="store_true", help="perf of mirrorgate's worker instead")
    made.epilog = f"workloads: {', '.join(workloads)}; proxies: {', '.join(known)}"
    return made


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what reads names with commas between them."""

    def names(text: str) -> list[str]:
        given = text.split(",")
        if wrong := sorted(set(given) - set(known)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(wrong)}")
        return given

    return names


def _compare(arguments: argparse.Namespace, chosen: cores.Cores) -> None:
    rounds = QUICK_ROUNDS if arguments.quick else arguments.rounds
    seconds = QUICK_SECONDS if arguments.quick else arguments.seconds
    present, skipped = _present([*arguments.proxy, *arguments.extra])
    run = Run(datetime.now(UTC), rounds, seconds, machine.facts(present), skipped)
    for name in arguments.workload:
        workload = by_name(name)
        those = _for(workload, present)
        run.samples += measure(workload, those, rounds, seconds, chosen, _tell)
    print(run.terminal())
    if not arguments.quick:
        page, data = run.write(RESULTS)
        print(f"\nwritten: {page}, {data}")
        if arguments.publish:
            Published.read(data).write()


def _present(names: Sequence[str]) -> tuple[list[Proxy], dict[str, str]]:
    """Return those that can be measured here, and why the others cannot."""
    known = proxies()
    reasons = {name: known[name].missing() for name in names}
    for name, reason in reasons.items():
        if reason:
            _tell(f"{name} is left out: {reason}")
    present = [known[name] for name, reason in reasons.items() if not reason]
    return present, {name: reason for name, reason in reasons.items() if reason}


def _for(workload: Workload, present: Sequence[Proxy]) -> list[Proxy]:
    if workload.only:
        return [proxy for name in workload.only if not (proxy := proxies()[name]).missing()]
    return [proxy for proxy in present if proxy.serves(workload)]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(reason: str) -> int:
    _tell(f"benchmarks: {reason}")
    return 1
