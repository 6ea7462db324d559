"""Many small requests, sent by wrk."""

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.result import LoadFailed, Result
from benchmarks.requests import CHAT_PATH, chat_body, head

SCRIPT = Path(__file__).with_name("chat.lua")
WARM_SECONDS = 1
RATE = 2_000
"""Requests a second, of paced work."""
PATIENCE = 30.0
"""Seconds beyond the asked duration after which wrk is given up."""


@dataclass(frozen=True)
class Wrk:
    """Requests of `size` bytes on so many kept connections: one after the other, or with `rate` as
    many a second as all of them are to send at most, each at a moment of its own."""

    size: int
    connections: int
    rate: int = 0

    @property
    def rest(self) -> int:
        """Average ms between two requests of a connection; 0: none."""
        return 1000 * self.connections // self.rate if self.rate else 0

    def warm(self, port: int) -> None:
        self.run(port, WARM_SECONDS, lambda: 0)

    def run(self, port: int, seconds: float, memory: Callable[[], int]) -> Result:
        body = chat_body(self.size)
        with tempfile.NamedTemporaryFile(prefix="benchmark-request-") as file:
            file.write(head(CHAT_PATH, port, len(body)) + body)
            file.flush()
            command = ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}s"]
            command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}/", "--", file.name]
            if self.rest:
                command.append(str(self.rest))
            return parse(_output_of(command, seconds + PATIENCE))


def _output_of(command: list[str], timeout: float) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    except subprocess.SubprocessError as error:
        raise LoadFailed(f"wrk: {error}") from error
    return ran.stdout


def parse(output: str) -> Result:
    """Read the line of the script. Raises LoadFailed if a request failed or none was answered."""
    found = json.loads(output.strip().splitlines()[-1])
    if found["errors"]:
        raise LoadFailed(f"{found['errors']} of {found['requests']} requests failed")
    if not found["requests"]:
        raise LoadFailed("no request was answered")
    return Result(
        units=found["requests"],
        seconds=found["duration"] / 1e6,
        p50=found["p50"],
        p99=found["p99"],
    )


def chat() -> Wrk:
    """1 KB on 32 connections."""
    return Wrk(1_000, 32)


def many() -> Wrk:
    """1 KB on 256 connections."""
    return Wrk(1_000, 256)


def paced() -> Wrk:
    """1 KB on 32 connections, a fraction of what a core can do."""
    return Wrk(1_000, 32, RATE)


def paced_many() -> Wrk:
    """1 KB on 256 connections, a fraction of what a core can do."""
    return Wrk(1_000, 256, RATE)


def single() -> Wrk:
    """1 KB on one connection: what matters is the delay."""
    return Wrk(1_000, 1)


def large() -> Wrk:
    """200 KB on 32 connections."""
    return Wrk(200_000, 32)
