"""A real Redis server for tests, and the same decisions in Python for a clock of their own."""

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from monitor.common.ipc import Message
from router.cluster.leases import Answer, Ask, Name, Standing
from router.cluster.valkey import KEPT_FOR, SILENT_AFTER, Unreachable
from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until


class RedisServer:
    """Runs while it is entered, and keeps nothing; can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._program = require("redis-server")
        self._directory = directory
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        options = {"port": self.port, "bind": HOST, "save": '""', "dir": str(self._directory)}
        command = [self._program, *(w for k, v in options.items() for w in (f"--{k}", str(v)))]
        self.process = Process(command, self._directory / f"redis-{os.getpid()}.log")
        wait_until(self._answers, 30, "redis-server to answer")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), 5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Board:
    """The decisions of the script in Valkey, by a clock that the test sets."""

    def __init__(self, expected: int = 0) -> None:
        self.now = 0.0
        self.up = True
        self.expected = expected
        self.published: list[Message] = []
        self.beats: dict[str, float] = {}
        self.shares: dict[Name, dict[str, Standing]] = {}
        self._ends: dict[Name, float] = {}

    def alive(self) -> list[str]:
        return [host for host, at in self.beats.items() if at >= self.now - SILENT_AFTER]

    def forget(self) -> None:
        """Start again, as a server that keeps nothing."""
        self.beats.clear()
        self.shares.clear()

    def exchange(self, host: str, ask: Ask) -> Answer:
        self.beats[host] = self.now
        alive, limit = self.alive(), ask.limit
        even = -(-limit // max(len(alive), self.expected))
        if self._ends.get(ask.name, self.now) < self.now:
            self.shares.pop(ask.name, None)
        known = {h: s for h, s in self.shares.get(ask.name, {}).items() if h in alive}
        others = {h: known.get(h, Standing(even, 0)) for h in alive if h != host}
        before = known.get(host, Standing(even, 0)).share
        taken = sum(each.share for each in others.values())
        share = max(ask.held, min(ask.units, limit - taken), 0)
        known[host] = Standing(share, ask.want)
        standings = [*others.values(), known[host]]
        free = all(each.share <= even and each.want <= even for each in standings)
        if free:
            self.shares.pop(ask.name, None)
        else:
            self.shares[ask.name] = known
            self._ends[ask.name] = self.now + KEPT_FOR
        unmet = any(each.want > each.share for each in others.values())
        wanted = ask.announce and share < ask.want and taken > 0
        if (share < before and unmet) or wanted:
            self.published.append(
                {
                    "from": host,
                    "type": "share",
                    "kind": ask.name.kind,
                    "key": ask.name.key.hex(),
                    "limit": limit,
                    "tolerance": ask.tolerance,
                    "wanted": not (share < before and unmet),
                }
            )
        return Answer(share, free, others)


class BoardClient:
    """The board as one host reaches it; a stand-in for `router.cluster.valkey.Valkey`."""

    def __init__(self, board: Board, host: str) -> None:
        self._board, self._host = board, host
        self.reachable = True
        self.loses_answers = False
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens on the host while its questions are under way."""

    def _ask(self) -> None:
        if not (self._board.up and self.reachable):
            raise Unreachable("cut off")

    async def beat(self) -> list[str]:
        self._ask()
        self._board.beats[self._host] = self._board.now
        return self._board.alive()

    async def exchange(self, asks: Sequence[Ask]) -> list[Answer]:
        self._ask()
        self.meanwhile()
        answers = [self._board.exchange(self._host, ask) for ask in asks]
        if self.loses_answers:
            raise Unreachable("the answer was lost")
        return answers

    async def tell(self, message: object) -> None:
        self._ask()

    def forget(self) -> None:
        pass
