"""A child process with its log in a file, ended together with everything it started."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
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
        living = _members(self.pid)
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


def _members(session: int) -> list[int]:
    """Return the processes of a session that are neither gone nor zombies (proc(5))."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _lives_in(entry, session)
    ]


def _lives_in(process: Path, session: int) -> bool:
    try:
        # The name in parentheses may hold spaces; the state is what follows the last one.
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    # The first thread may be a zombie while others still hold the files.
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return int(fields[3]) == session and not ended


def python_environment(**extra: str) -> dict[str, str]:
    """Return an environment in which a child Python finds this repository from any folder."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}
