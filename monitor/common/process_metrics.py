"""Metrics of processes: what each of them uses, of what it may use at most."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from monitor.common.metric_registry import Family, MetricRegistry

CPU = Family(
    "process_cpu_seconds", "counter", "User and system CPU time spent, in seconds", ("process",)
)
MEMORY = Family("process_resident_memory_bytes", "gauge", "Resident memory, in bytes", ("process",))
OPEN_FDS = Family("process_open_fds", "gauge", "Open file descriptors", ("process",))
MAX_FDS = Family("process_max_fds", "gauge", "File descriptors that may be open", ("process",))
STARTED = Family(
    "process_start_time_seconds", "gauge", "When the process started, since the epoch", ("process",)
)
RESTARTS = Family(
    "mirrorgate_process_restarts",
    "counter",
    "Processes that took the place of one that had ended, by kind of process",
    ("process",),
)
LOOP_DELAY = Family(
    "mirrorgate_worker_loop_delay_seconds",
    "histogram",
    "How late the event loops of workers come to their ticks, ten a second",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)

FAMILIES = (CPU, MEMORY, OPEN_FDS, MAX_FDS, STARTED, RESTARTS, LOOP_DELAY)

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Use of resources by this process, by /proc (proc(5))."""

    cpu: float
    memory: int
    descriptors: int
    started: float

    @classmethod
    def read(cls) -> Usage:
        """Read it. Raises OSError where there is no /proc."""
        # The name of the command, in parentheses, may hold anything; the state follows as field 3.
        stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        cpu, since_boot = (int(stat[11]) + int(stat[12])) / _TICKS, int(stat[19]) / _TICKS
        return cls(cpu, int(stat[21]) * _PAGE, _open_descriptors(), _booted() + since_boot)


def age_of(pid: int) -> float:
    """Seconds since a process began. Raises OSError where it, or /proc, is not there."""
    stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, since_boot - int(stat[19]) / _TICKS)


def _open_descriptors() -> int:
    """Return their number: since Linux 6.2 the size of the folder, for to list ten thousand takes
    milliseconds."""
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))


def _booted() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def show_process(totals: MetricRegistry, process: str) -> None:
    """Set what this process uses; `process` is its label, as "worker-0"."""
    try:
        usage = Usage.read()
    except OSError:
        return
    label = (process,)
    totals.set(CPU.name, usage.cpu, label)
    totals.set(MEMORY.name, usage.memory, label)
    totals.set(OPEN_FDS.name, usage.descriptors, label)
    totals.set(MAX_FDS.name, resource.getrlimit(resource.RLIMIT_NOFILE)[0], label)
    totals.set(STARTED.name, usage.started, label)
