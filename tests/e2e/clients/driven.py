"""A client of the catalogue as a process that plays one step after another."""

import json
import os
import select
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.e2e.clients.catalogue import App
from tests.e2e.clients.environments import linked, python_with
from tests.testkit.processes import ending_with_us
from tests.testkit.programs import require

SCRIPTS = Path(__file__).parent / "apps"
STEP_TIMEOUT = 90.0


@dataclass(frozen=True)
class Told:
    """Text and error as the user of a client got them."""

    said: str
    error: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The error's name; empty if there was none."""
        return self.error["type"] if self.error is not None else ""

    def tells(self, status: int, words: str) -> bool:
        """True if its user is told this status, or by these words."""
        if self.error is None:
            return False
        return self.error["status"] == status or words in self.error["message"]


class Driven:
    """A context manager; the environment is made if it is not there yet."""

    def __init__(self, app: App, directory: Path) -> None:
        self._app, self._errors = app, directory / "stderr"
        if app.script.endswith(".py"):
            self._command = [str(python_with(app.packages)), str(SCRIPTS / app.script)]
        else:
            script = linked(SCRIPTS / app.script, directory / "node", app.packages)
            shutil.copy(SCRIPTS / "loop.mjs", script.parent)
            self._command = [require("node"), str(script)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            errors = stack.enter_context(self._errors.open("wb"))
            self._process = stack.enter_context(
                subprocess.Popen(
                    [*ending_with_us("KILL"), *self._command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, **dict(self._app.environment)},
                )
            )
            stack.callback(self._process.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, step: str, base_url: str, key: str) -> Told:
        """Play a step, and return what its user got."""
        asking, answering = self._process.stdin, self._process.stdout
        assert asking is not None
        assert answering is not None
        asked = {"step": step, "base_url": base_url, "key": key}
        asking.write(json.dumps(asked).encode() + b"\n")
        asking.flush()
        ready, _, _ = select.select([answering], [], [], STEP_TIMEOUT)
        line = answering.readline() if ready else b""
        if not line:
            raise AssertionError(f"{self._app.name}, {step}: no answer\n{self._errors.read_text()}")
        return Told(**json.loads(line))
