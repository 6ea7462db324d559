"""A PostgreSQL server for tests: a cluster of its own in a folder of its own, gone afterwards."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg

from monitor.store.database import backend_of
from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import children_of, ending_with_us
from tests.testkit.programs import require
from tests.testkit.wait import wait_until

USER = "mirrorgate"
PASSWORD = "p@ss/word"
QUOTED_PASSWORD = "p%40ss%2Fword"
PREFIX = "mirrorgate-pg-"


class PostgresqlServer:
    """Runs while it is entered; gives out empty databases."""

    def __init__(self) -> None:
        self._initdb, self._postgres = require("initdb"), require("postgres")
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._port = free_port()
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._make()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._names)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def upgraded(self) -> str:
        """The URL of a new database with our tables."""
        url = self.fresh()
        backend_of(url).upgrade()
        return url

    def _url(self, name: str) -> str:
        return f"postgresql://{USER}:{QUOTED_PASSWORD}@{HOST}:{self._port}/{name}"

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        for path in (self._folder, password):
            shutil.chown(path, **_as_whom())
        data = ["-D", str(self._folder / "data")]
        options = ["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256"]
        command = [self._initdb, *data, *options, f"--username={USER}", f"--pwfile={password}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_how(self))
        assert done.returncode == 0, done.stderr
        with (self._folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")  # hosts of `hosts.py`

    def _start(self) -> None:
        settings = {
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "max_connections": "40",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            # If the tests are killed, it is told as `_end` tells it.
            self._process = subprocess.Popen(
                [
                    *ending_with_us("INT"),
                    *[self._postgres, "-D", str(self._folder / "data"), *options],
                ],
                stdout=log,
                stderr=log,
                **_how(self),
            )
        wait_until(self._answers, 30, what="PostgreSQL to answer")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(self._url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": connections are cut
            self._process.wait(30)
        shutil.rmtree(self._folder)

    @property
    def port(self) -> int:
        return self._port

    def send(self, number: int) -> None:
        """Send a signal to all its processes: to the one that makes new ones first."""
        assert self._process is not None
        backends = children_of(self._process.pid)
        for pid in (self._process.pid, *(backend.pid for backend in backends)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill -9 all its processes."""
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(30)

    def start(self) -> None:
        """Start it again after it was killed."""
        self._start()

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return self._folder


def _sweep() -> None:
    """Remove the folders of tests that were killed; their servers have ended by themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        maker = folder.name.removeprefix(PREFIX).partition("-")[0]
        if maker.isdigit() and not Path("/proc", maker).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _as_whom() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as somebody who may do less."""
    if os.geteuid() != 0:
        return {"user": os.geteuid()}
    names = {entry.pw_name for entry in pwd.getpwall()}
    return {"user": "postgres" if "postgres" in names else "nobody"}


def _how(server: PostgresqlServer) -> dict[str, Any]:
    """Arguments for its programs; in a group of their own, so that Ctrl-C leaves them to us."""
    user = _as_whom() if os.geteuid() == 0 else {}
    return {**user, "cwd": server.folder, "stdin": subprocess.DEVNULL, "process_group": 0}
