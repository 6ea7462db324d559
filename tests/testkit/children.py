"""The child processes of a mirrorgate, told apart as operators would: with /proc (proc(5))."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Child:
    """A child process of the supervisor; `role` is "worker", "control" or "other"."""

    pid: int
    role: str
    command: str


def children_of(pid: int) -> list[Child]:
    """Return the living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent(entry) == pid:
            command = _command_line(entry)
            found.append(Child(int(entry.name), role_of(command), command))
    return sorted(found, key=lambda child: child.pid)


def role_of(command: str) -> str:
    """Tell a worker from control by the command line."""
    for role, module in (
        ("worker", "router.process.worker"),
        ("control", "router.control.control"),
    ):
        if f"-m {module}" in command:
            return role
    return "other"


def _parent(process: Path) -> int | None:
    """Return the parent of a process that is neither gone nor a zombie."""
    try:
        # The name in parentheses may hold spaces; state and parent follow the last one.
        state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
