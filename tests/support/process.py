"""A child process with its log in a file, ended together with everything it started."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class DidNotStop(AssertionError):
    """A process ignored SIGTERM for too long and had to be killed."""


class Process:
    """A running program in a session of its own; stdout and stderr go to `log_file`."""

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
                self.command,
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
        """Kill -9 it and all that it started in its session; harmless when all have ended."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._popen.wait(10)


def python_environment(**extra: str) -> dict[str, str]:
    """Return an environment in which a child Python finds this repository from any folder."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}
