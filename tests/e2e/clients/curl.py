"""Running curl, and what it says about an answer."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.clients.entrance import Entrance
from tests.testkit.programs import require

TIMEOUT = 50


@dataclass(frozen=True)
class Answer:
    """The last response of a curl run."""

    exit_code: int
    status: int
    version: str
    """HTTP version of the response, as curl writes it: 1, 1.1 or 2."""
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes
    trace: str
    """What `--verbose` says: "> " sent, "< " received."""


class Curl:
    """curl with the key and the authority of an entrance; files go to `directory`."""

    def __init__(self, entrance: Entrance, directory: Path) -> None:
        self._entrance, self._directory = entrance, directory
        self._program = require("curl")

    def __call__(self, path: str, *options: str, data: bytes = b"") -> Answer:
        """Ask for a path under /v1; `data` is given to curl's standard input."""
        body, head = self._directory / "body", self._directory / "head"
        body.unlink(missing_ok=True)
        command = [self._program, "--silent", "--show-error", "--verbose", "--noproxy", "*"]
        command += ["--max-time", str(TIMEOUT - 5), "--output", str(body)]
        command += ["--dump-header", str(head), "--write-out", "%{http_code} %{http_version}\\n"]
        command += ["--header", f"Authorization: Bearer {self._entrance.key}"]
        if self._entrance.ca_file:
            command += ["--cacert", str(self._entrance.ca_file)]
        command += [*options, f"{self._entrance.base_url}{path}"]
        ran = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT, check=False)
        status, version = ran.stdout.decode().splitlines()[-1].split()
        return Answer(
            ran.returncode,
            int(status),
            version,
            _headers(head.read_text()),
            body.read_bytes() if body.exists() else b"",
            ran.stderr.decode(errors="replace"),
        )


def _headers(dumped: str) -> dict[str, str]:
    last = dumped.replace("\r\n", "\n").strip().split("\n\n")[-1]
    pairs = (line.partition(":") for line in last.splitlines()[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
