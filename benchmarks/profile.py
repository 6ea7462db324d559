"""Where mirrorgate's worker spends its time: perf and py-spy look at it while it works.

perf sees interpreter, libraries and kernel; py-spy sees the Python functions. They look one after
the other, since py-spy stops the worker for every sample.
"""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import installs, stacks
from benchmarks.cores import Cores
from benchmarks.machine import commit
from benchmarks.proxies.base import Running
from benchmarks.proxies.mirrorgate import Mirrorgate
from benchmarks.upstream import setting_for
from benchmarks.workloads import Workload, by_name
from tests.testkit.programs import find

FREQUENCY = 999
"""Samples a second; not a divisor of a round number, so that no timer is always or never hit."""
PATIENCE = 60.0


class CannotProfile(Exception):
    """A profiler is missing or may not be used."""


def profile(names: Sequence[str], seconds: float, cores: Cores, results: Path) -> None:
    """Write a report for each workload. Raises CannotProfile."""
    perf = find("perf")
    if perf is None:
        raise CannotProfile("perf is needed; get it with: apt-get install -y linux-perf")
    if reason := installs.install("py-spy", "py-spy"):
        raise CannotProfile(reason)
    results.mkdir(exist_ok=True)
    for name in names:
        text = _profiled(perf, by_name(name), seconds, cores)
        file = results / f"{datetime.now(UTC):%Y-%m-%d}-{commit()}-{name}.profile.txt"
        file.write_text(text)
        print(f"written: {file}")


def _profiled(perf: str, workload: Workload, seconds: float, cores: Cores) -> str:
    spy = str(installs.environment_of("py-spy") / "py-spy")
    with setting_for(workload, cores) as setting, Mirrorgate().running(setting) as running:
        workload.load().warm(running.port)
        pid = str(next(iter(running.worker_pids)))
        data, raw = str(setting.directory / "perf.data"), setting.directory / "stacks"
        record = [perf, "record", "-q", "-g", "-F", str(FREQUENCY), "-o", data, "-p", pid]
        _watched([*record, "--", "sleep", str(seconds)], workload, running, seconds)
        record = [spy, "record", "-f", "raw", "-F", "-r", str(FREQUENCY), "-o", str(raw)]
        record += ["-p", pid, "-d", str(max(1, round(seconds)))]
        _watched(record, workload, running, seconds)
        python = stacks.table(raw.read_text().splitlines())
        return f"Python functions, in % (py-spy)\n\n{python}\n\n{_report(perf, data)}"


def _watched(command: list[str], workload: Workload, running: Running, seconds: float) -> None:
    """Do the work while `command` looks on."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as watching:
        try:
            workload.load().run(running.port, seconds, lambda: running.usage().resident)
            _, said = watching.communicate(timeout=seconds + PATIENCE)
        finally:
            watching.kill()
    if watching.returncode != 0:
        raise CannotProfile(f"{command[0]}: {said.strip()}")


def _report(perf: str, data: str) -> str:
    command = [perf, "report", "--stdio", "-i", data, "--no-children", "-g", "none"]
    command += ["--percent-limit", "0.3"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return "\n".join(line.rstrip() for line in ran.stdout.splitlines() if line.strip("# "))
