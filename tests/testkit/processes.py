"""Child processes that end with the tests, and what /proc says of any process (proc(5))."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testkit.wait import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]


class DidNotStop(AssertionError):
    """A process ignored SIGTERM for too long and had to be killed."""


class Process:
    """A running program in a session of its own; stdout and stderr go to `log_file`.

    It gets SIGTERM if the tests are killed and cannot end it themselves.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_file: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.command, self.log_file = list(command), log_file
        with log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                [*ending_with_us("TERM"), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=dict(os.environ if env is None else env),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._popen.poll()

    def logs(self) -> str:
        return self.log_file.read_text(errors="replace")

    def send(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Return the exit code; subprocess.TimeoutExpired after `timeout` seconds."""
        return self._popen.wait(timeout)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, and return the exit code; DidNotStop (then it is killed) after `timeout` s."""
        self.send(signal.SIGTERM)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DidNotStop(f"{self.command} ignored SIGTERM for {timeout:g} s") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill -9 it and all that it started in its session; returns when all of it is gone.

        Harmless when it has ended. What is only waiting for its parent to be told is gone: nothing
        of it holds a port any more.
        """
        wait_until(self._killed, 10, f"the session of {self.command[0]} to be gone")
        self._popen.wait(10)

    def _killed(self) -> bool:
        """Kill what there is, also what was started meanwhile; is there nothing any more?"""
        living = [pid for pid, status in _living() if status.session == self.pid]
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not living


def ending_with_us(signal_name: str) -> list[str]:
    """Prefix of a command that has it get this signal when our process is gone.

    The kernel sends it when the thread ends that started the program (prctl(2), PR_SET_PDEATHSIG),
    so only the main thread may ask for that. Empty where setpriv(1) is missing.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", signal_name, "--"]


@dataclass(frozen=True)
class Status:
    """A process as /proc/PID/stat has it."""

    state: str
    parent: int
    session: int
    threads: int
    cpu_seconds: float

    @property
    def zombie(self) -> bool:
        """True if it has ended; its first thread alone may be a zombie while others hold files."""
        return self.state in "ZX" and self.threads <= 1


def status_of(pid: int) -> Status | None:
    """Return the status of a process, None if there is none."""
    try:
        # The name in parentheses may hold spaces; the state is what follows the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    return Status(fields[0], int(fields[1]), int(fields[3]), int(fields[17]), seconds)


def runs(pid: int) -> bool:
    """True if a process exists and is no zombie."""
    status = status_of(pid)
    return status is not None and not status.zombie


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU time that a living process has used."""
    status = status_of(pid)
    assert status is not None, f"process {pid} is gone"
    return status.cpu_seconds


def _living() -> Iterator[tuple[int, Status]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            status = status_of(int(entry.name))
            if status is not None and not status.zombie:
                yield int(entry.name), status


def python_environment(**extra: str) -> dict[str, str]:
    """Return an environment in which a child Python finds this repository from any folder."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


@dataclass(frozen=True)
class Child:
    """A child process of the supervisor; `role` is "worker", "control" or "other"."""

    pid: int
    role: str
    command: str


def children_of(pid: int) -> list[Child]:
    """Return the living children of a process."""
    pids = sorted(child for child, status in _living() if status.parent == pid)
    commands = {child: _command_line(child) for child in pids}
    return [Child(child, role_of(command), command) for child, command in commands.items()]


def role_of(command: str) -> str:
    """Tell a worker from control by the command line."""
    for role, module in (
        ("worker", "router.process.worker"),
        ("control", "router.control.control"),
    ):
        if f"-m {module}" in command:
            return role
    return "other"


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def owner_of(server_port: int, client_port: int, pids: Iterable[int]) -> int | None:
    """Return which of these processes holds the server's end of an IPv4 connection."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(server_port, client_port)}
    return next((pid for pid in pids if wanted & set(descriptors_of(pid).values())), None)


def _inodes(server_port: int, client_port: int) -> Iterator[str]:
    """Yield those of the living; a connection that has ended may have had the same ports."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(fields[i].rpartition(":")[2], 16) for i in (1, 2)]
        if ports == [server_port, client_port] and fields[9] != "0":
            yield fields[9]


def descriptors_of(pid: int) -> dict[Path, str]:
    """Return what each descriptor of a process leads to, by its place in /proc.

    What is closed while they are read is left out; a process that is gone has none.
    """
    found: dict[Path, str] = {}
    folder = Path(f"/proc/{pid}/fd")
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                found[folder / name] = os.readlink(folder / name)
    return found


def open_files(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def can_bind(address: str) -> bool:
    """True if HOST:PORT is free for a server."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError:
            return False
    return True
