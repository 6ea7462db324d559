"""Faults of the machine that an instance runs on: its disk, its clock, its limits."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.testkit.processes import open_files
from tests.testkit.programs import missing, require

_PAGE = 4096
_MT_LIBRARY = "faketime/libfaketimeMT.so.1"


class SmallDisk:
    """A file system of its own that may be filled or made read-only; a context manager."""

    def __init__(self, directory: Path, size: str = "8m") -> None:
        self.path, self._size = directory, size

    def __enter__(self) -> Self:
        self.path.mkdir(exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={self._size}", "tmpfs"]
        if self._mount(*options).returncode != 0:
            missing("a disk that may be filled", "sudo: run the tests as root")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False)

    def fill(self) -> None:
        """Leave no byte free."""
        with suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * _PAGE)

    def free(self) -> None:
        """Take the filling away."""
        self._filler.unlink()

    def read_only(self, on: bool) -> None:
        """Let nobody write, or let them again; nothing on it may be open for writing."""
        changed = self._mount("-o", f"remount,{'ro' if on else 'rw'}")
        assert changed.returncode == 0, changed.stderr

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def _mount(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", *arguments, str(self.path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class Clock:
    """The clock of some processes, to be set while they run: the wall clock only."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set(0)

    def set(self, seconds: float) -> None:
        """Set it so far from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.rename(self._file)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process with this clock."""
        require("faketime")
        library = next(Path("/usr/lib").glob(f"*/{_MT_LIBRARY}"))
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@contextmanager
def limited(pid: int, kind: int, soft: int) -> Iterator[None]:
    """Give a running process a lower limit, `kind` of `resource.RLIMIT_…`, for a while."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)


@contextmanager
def few_descriptors(pid: int, more: int = 0) -> Iterator[None]:
    """Let a process open no more descriptors than it has, or so many more."""
    with limited(pid, resource.RLIMIT_NOFILE, open_files(pid) + more):
        yield


class MemoryGroup:
    """A control group (version 1 or 2) whose processes share little memory; a context manager."""

    def __init__(self, name: str) -> None:
        root = Path("/sys/fs/cgroup")
        self._first = (root / "memory").is_dir()
        self._path = (root / "memory" if self._first else root) / name

    def __enter__(self) -> Self:
        try:
            self._path.mkdir()
        except OSError:
            missing("a control group for memory", "sudo: run the tests as root")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._path.rmdir()

    def squeeze(self, pid: int, limit: int) -> None:
        """Put a process into it, whose further memory counts up to `limit` bytes."""
        name = "memory.limit_in_bytes" if self._first else "memory.max"
        (self._path / name).write_text(str(limit))
        (self._path / "cgroup.procs").write_text(str(pid))
