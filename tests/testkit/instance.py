"""A real mirrorgate: `python -m router run` as a subprocess, with a configuration of the test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from router.cli.client import Client
from tests.testkit.certs import trusting_anybody
from tests.testkit.ports import HOST, free_ports
from tests.testkit.processes import Child, DidNotStop, Process, children_of, python_environment
from tests.testkit.wait import wait_until

START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0

Config = dict[str, Any]


class Instance:
    """One running instance; a context manager that starts it and waits until it is ready.

    `config` is a TOML text or the same as a dict. What the test leaves open is filled in so that
    the instance stays in `directory` and on the loopback address: listeners on free ports, socket,
    store, no limits on clients, and no anchors or control names in the internet.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str,
        directory: Path,
        *,
        env: Mapping[str, str] | None = None,
        inside: Sequence[str] = (),
    ) -> None:
        """`inside` is the prefix of a command that runs it in other circumstances."""
        self._inside = tuple(inside)
        self.directory = directory
        self.config_file = directory / "config.toml"
        self._env = python_environment(**(env or {}))
        # A Unix socket's path may have 107 bytes; pytest's folders can be longer.
        self._short_directory = Path(tempfile.mkdtemp(prefix="mirrorgate-"))
        self._ports = free_ports(3)
        self.config: Config = {}
        self.write(config)
        self._process: Process | None = None

    @property
    def base_url(self) -> str:
        """The API listener, without /v1."""
        scheme = "https" if self.config["router"].get("tls_cert") else "http"
        return f"{scheme}://{self.config['router']['listen']}"

    @property
    def dashboard_url(self) -> str:
        return f"http://{self.config['dashboard']['listen']}"

    @property
    def admin_url(self) -> str:
        return f"http://{self.config['admin']['listen']}"

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._process is not None, "not started"
        return self._process.pid

    def write(self, config: Mapping[str, Any] | str) -> None:
        """Write the configuration, filled in; a running instance does not notice by itself."""
        given = tomllib.loads(config) if isinstance(config, str) else config
        self.config = filled(given, self._ports, self.directory, self._short_directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(to_toml(self.config))

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start it, and wait until `GET /readyz` answers 200."""
        self.launch()
        self.wait_ready(timeout)

    def launch(self) -> None:
        """Start it without waiting."""
        command = [sys.executable, "-m", "router", "run", "--config", str(self.config_file)]
        command = [*self._inside, *command]
        log_file = self.directory / "instance.log"
        self._process = Process(command, log_file, cwd=self.directory, env=self._env)

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until `GET /readyz` answers 200."""
        try:
            wait_until(self._is_ready, timeout, f"{self.base_url}/readyz to answer 200")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.logs()}") from None

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """SIGTERM, and return the exit code; DidNotStop (then it is killed) after `timeout` s."""
        assert self._process is not None, "not started"
        return self._process.stop(timeout)

    def kill(self) -> None:
        """Kill -9 all its processes."""
        if self._process is not None:
            self._process.kill()

    def send(self, number: int) -> None:
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.exit_code() if self._process else None

    def reload(self, config: Mapping[str, Any] | str | None = None) -> Config:
        """Write `config` if given, run `mirrorgate reload --json`, and return what it prints."""
        if config is not None:
            self.write(config)
        answer: Config = json.loads(self.command("reload", "--json", check=True).stdout)
        return answer

    def reload_at_once(self, config: Mapping[str, Any]) -> None:
        """As `reload`, asked for without the command: many times a second."""
        self.write(config)
        Client(Path(self.config["admin"]["socket"])).call("POST", "/api/admin/reload")

    def reload_by_signal(self) -> None:
        """SIGHUP; returns at once."""
        self.send(signal.SIGHUP)

    def command(
        self, *arguments: str, check: bool = False, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `mirrorgate ARGUMENTS --config FILE` for this instance."""
        command = [sys.executable, "-m", "router", *arguments, "--config", str(self.config_file)]
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.directory,
            env=self._env,
            check=False,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"{arguments} ended with {ran.returncode}:\n{ran.stderr}")
        return ran

    def logs(self) -> str:
        return self._process.logs() if self._process else ""

    def children(self) -> list[Child]:
        """Return the supervisor's living child processes."""
        return children_of(self.pid)

    def workers(self) -> list[Child]:
        return [child for child in self.children() if child.role == "worker"]

    def control(self) -> Child:
        """Return the control process; it must be there."""
        (control,) = (child for child in self.children() if child.role == "control")
        return control

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        try:
            if self.exit_code() is None and self._process is not None:
                self.stop()
        except DidNotStop:
            if kind is None:
                raise
        finally:
            self.close()

    def close(self) -> None:
        """Kill what still runs and remove the socket's folder."""
        self.kill()
        shutil.rmtree(self._short_directory, ignore_errors=True)

    def _is_ready(self) -> bool:
        if self.exit_code() is not None:
            raise AssertionError(f"mirrorgate ended with {self.exit_code()}")
        try:
            with urllib.request.urlopen(
                f"{self.base_url}/readyz", timeout=5, context=trusting_anybody()
            ) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def filled(
    config: Mapping[str, Any], ports: list[int], directory: Path, short_directory: Path
) -> Config:
    """Return `config` with what a test need not say."""
    defaults: Config = {
        "router": {"listen": f"{HOST}:{ports[0]}"},
        "dashboard": {
            "listen": f"{HOST}:{ports[1]}",
            "requests_per_second": 0,
            "total_requests_per_second": 0,
        },
        "admin": {"listen": f"{HOST}:{ports[2]}", "socket": str(short_directory / "admin.sock")},
        "store": {"url": f"sqlite:///{directory / 'mirrorgate.db'}"},
        "limits": {"connections": 0, "requests_per_second": 0},
        "monitor": {"anchors": [], "sni": {"control": []}},
    }
    return _merged(defaults, config)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(below or {}, value) if both else value
    return merged


def to_toml(config: Mapping[str, object]) -> str:
    """Return `config` as TOML: tables for the mappings on top, inline tables below.

    A JSON string is a valid TOML basic string (https://toml.io/en/v1.0.0#string), apart from DEL.
    """
    plain = [f"{_value(key)} = {_value(value)}" for key, value in config.items() if _flat(value)]
    tables = [_table(key, value) for key, value in config.items() if not _flat(value)]
    return "\n".join(["\n".join(plain), *tables]).lstrip("\n")


def _flat(value: object) -> bool:
    if isinstance(value, list):
        return not value or not isinstance(value[0], Mapping)
    return not isinstance(value, Mapping)


def _table(key: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(f"[[{_value(key)}]]\n{_lines(item)}\n" for item in value)
    return f"[{_value(key)}]\n{_lines(value)}\n"


def _lines(table: object) -> str:
    assert isinstance(table, Mapping)
    return "".join(f"{_value(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"no TOML for {value!r}")
