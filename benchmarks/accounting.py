"""CPU time of a tree of processes so far, read from /proc (proc(5))."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
"""Seconds; the kernel tells CPU time in these."""
PAGE = os.sysconf("SC_PAGE_SIZE")

_PARENT, _CPU, _RESIDENT = 1, slice(11, 15), 21
"""Places after the name in /proc/PID/stat: ppid; utime, stime, cutime, cstime; rss."""


@dataclass(frozen=True)
class Stat:
    """One process: CPU seconds with those of the children it has waited for, resident bytes."""

    pid: int
    parent: int
    cpu: float
    resident: int


@dataclass(frozen=True)
class Usage:
    """A tree of processes: CPU seconds and resident bytes, of all and of the workers alone; the
    most bytes that were resident, of all."""

    cpu: float
    worker_cpu: float
    resident: int
    peak: int
    worker_resident: int = 0


def parse_stat(text: str) -> Stat:
    """Read a line of /proc/PID/stat; the name in parentheses may hold anything."""
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    ticks = sum(int(field) for field in fields[_CPU])
    return Stat(
        pid=int(head.split(" ", 1)[0]),
        parent=int(fields[_PARENT]),
        cpu=ticks * TICK,
        resident=int(fields[_RESIDENT]) * PAGE,
    )


def tree_of(root: int, processes: Iterable[Stat]) -> list[Stat]:
    """Return `root` and all that descends from it."""
    children: dict[int, list[Stat]] = {}
    found = []
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.pid == root:
            found.append(process)
    for process in found:  # grows while it runs
        found += children.get(process.pid, [])
    return found


def processes() -> list[Stat]:
    """Return every process of the machine."""
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [parse_stat(text) for entry in entries if (text := _read(entry / "stat"))]


def usage(root: int, workers: Collection[int] = ()) -> Usage:
    """Return what the tree below `root` has used so far; `workers` are pids in it."""
    tree = tree_of(root, processes())
    working = [process for process in tree if process.pid in workers]
    return Usage(
        cpu=sum(process.cpu for process in tree),
        worker_cpu=sum(process.cpu for process in working),
        resident=sum(process.resident for process in tree),
        peak=sum(_peak(process.pid) for process in tree),
        worker_resident=sum(process.resident for process in working),
    )


def _peak(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""
