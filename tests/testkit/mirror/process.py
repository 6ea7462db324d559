"""A pretend mirror as a process of its own: for tests that block, load it or kill it."""

import http.client
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.testkit.certs import Leaf
from tests.testkit.mirror.behaviour import Seen
from tests.testkit.ports import HOST
from tests.testkit.processes import Process, python_environment
from tests.testkit.wait import wait_until

START_TIMEOUT = 90.0


class MirrorProcess:
    """`python -m tests.testkit.mirror.server` in a subprocess; a context manager."""

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        keys: Sequence[str] = (),
        leaf: Leaf | None = None,
        root: str = "",
        **switches: Any,
    ) -> None:
        self.name, self._leaf, self._root = name, leaf, root
        self._keys, self._switches = tuple(keys), switches
        self._log_file = directory / f"mirror-{name}.log"
        self._process: Process | None = None
        self.port = self.control_port = 0

    @property
    def base_url(self) -> str:
        """Where it is, without /v1."""
        return f"{'https' if self._leaf else 'http'}://{HOST}:{self.port}{self._root}"

    def start(self) -> None:
        """Start it, on the port that it had before if it ran before."""
        self._log_file.unlink(missing_ok=True)
        self._process = Process(self._command(), self._log_file, env=python_environment())
        try:
            ports: tuple[int, int] = wait_until(
                self._announcement, START_TIMEOUT, f"mirror {self.name} to start"
            )
        except BaseException:
            self.kill()
            raise
        self.port, self.control_port = ports

    def stop(self) -> int:
        """SIGTERM, and return the exit code."""
        assert self._process is not None, "not started"
        return self._process.stop()

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()

    def logs(self) -> str:
        return self._process.logs() if self._process else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.exit_code() is None:
            self.stop()

    def seen(self) -> list[Seen]:
        """Return the requests seen so far, oldest first."""
        return [Seen.from_json(each) for each in self._ask("GET", "/_test/seen")["seen"]]

    def bill(self) -> list[dict[str, Any]]:
        """Return what it has billed, by label and model."""
        lines: list[dict[str, Any]] = self._ask("GET", "/_test/bill")["lines"]
        return lines

    def forget(self) -> None:
        """Forget the requests seen so far."""
        self._ask("DELETE", "/_test/seen")

    def behave(self, **switches: Any) -> None:
        """Set switches of `Behaviour`; the others stay."""
        self._ask("POST", "/_test/behaviour", switches)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self.control_port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "tests.testkit.mirror.server", "--name", self.name]
        command += ["--port", str(self.port), "--control-port", str(self.control_port)]
        command += ["--root", self._root, "--behaviour", json.dumps(self._switches)]
        for key in self._keys:
            command += ["--key", key]
        if self._leaf is not None:
            command += ["--tls-cert", str(self._leaf.cert_file)]
            command += ["--tls-key", str(self._leaf.key_file)]
        return command

    def _announcement(self) -> tuple[int, int] | None:
        assert self._process is not None
        if self._process.exit_code() is not None:
            raise RuntimeError(f"mirror {self.name} ended at once:\n{self.logs()}")
        for line in self.logs().splitlines():
            if line.startswith("{") and line.endswith("}"):
                told = json.loads(line)
                return told["port"], told["control_port"]
        return None
