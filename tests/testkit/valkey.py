"""A real Redis server for tests, and the same decisions in Python for a clock of their own."""

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from monitor.common.ipc import Message
from router.cluster.leases import Answer, Ask, Name, Standing
from router.cluster.valkey import KEPT_FOR, SILENT_AFTER, Unreachable
from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until


class RedisServer:
    """Runs while it is entered, and keeps nothing; can be killed and started again."""

    def __init__(self, directory: Path, **options: object) -> None:
        """`options` as of its configuration, with "_" for "-"."""
        self._program = require("redis-server")
        self._directory = directory
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self.port = free_port()
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        options = {"port": self.port, "bind": HOST, "save": '""', "dir": str(self._directory)}
        options["protected-mode"] = "no"  # hosts of `hosts.py`
        words = (
            word
            for name, value in (options | self._options).items()
            for word in (f"--{name}", *str(value).split())
        )
        log = self._directory / f"redis-{os.getpid()}-{self.port}.log"
        self.process = Process([self._program, *words], log)
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


class WatchedServers:
    """Two servers, of which three Sentinels make one the master."""

    NAME = "mymaster"

    def __init__(self, directory: Path) -> None:
        first = RedisServer(directory)
        second = RedisServer(directory, replicaof=f"{HOST} {first.port}")
        self.servers = [first, second]
        self._directory = directory
        self._sentinels: list[tuple[int, Process]] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{port}" for port, _ in self._sentinels)
        return f"redis+sentinel://{hosts}/{self.NAME}"

    def __enter__(self) -> Self:
        for server in self.servers:
            server.start()
        for _ in range(3):
            self._start_sentinel()
        wait_until(self._agreed, 30, "the Sentinels to know each other and the replica")
        return self

    def __exit__(self, *_: object) -> None:
        for sentinel in self._sentinels:
            sentinel[1].kill()
        for server in self.servers:
            server.kill()

    def _start_sentinel(self) -> None:
        port, name = free_port(), self.NAME
        file = self._directory / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind {HOST}\ndir {self._directory}\n"
            f"sentinel monitor {name} {HOST} {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {name} 1000\n"
            f"sentinel failover-timeout {name} 5000\n"
        )
        command = [require("redis-server"), str(file), "--sentinel"]
        self._sentinels.append((port, Process(command, file.with_suffix(".log"))))

    def _agreed(self) -> bool:
        try:
            for port, _ in self._sentinels:
                with Redis(host=HOST, port=port, decode_responses=True) as sentinel:
                    state = sentinel.sentinel_master(self.NAME)
                if (state["num-slaves"], state["num-other-sentinels"]) != (1, 2):
                    return False
        except RedisError:
            return False
        return True


class ClusterServers:
    """Three servers with a part of the keys each, and a replica of every one."""

    def __init__(self, directory: Path) -> None:
        self.servers = []
        for number in range(6):
            folder = directory / f"node-{number}"
            folder.mkdir()
            options = {"cluster_enabled": "yes", "cluster_port": free_port()}
            self.servers.append(RedisServer(folder, cluster_node_timeout=2000, **options))

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{each.port}" for each in self.servers)

    def __enter__(self) -> Self:
        for server in self.servers:
            server.start()
        places = [f"{HOST}:{each.port}" for each in self.servers]
        command = [require("redis-cli"), "--cluster", "create", *places]
        options = ("--cluster-replicas", "1", "--cluster-yes")
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=120)
        wait_until(self._whole, 60, "the cluster to be whole")
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()

    def _whole(self) -> bool:
        for server in self.servers:
            with Redis(host=HOST, port=server.port, decode_responses=True) as node:
                state = node.cluster("info")
                nodes = node.cluster("nodes")
            replicas = sum("slave" in each["flags"] for each in nodes.values())
            if state["cluster_state"] != "ok" or replicas != 3:
                return False
        return True


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
        self.reachable, self.ahead = True, 0.0
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
