"""An instance with two workers in front of a good and a bad mirror, and how they think of both."""

import http.client
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from router.cli.client import Client
from router.cli.console import CommandFailed
from tests.testkit.asking import CHAT, Answer, ask_on, connection
from tests.testkit.instance import Instance
from tests.testkit.mirror_behaviour import Seen
from tests.testkit.mirror_process import MirrorProcess
from tests.testkit.wait import wait_until
from tests.testkit.workers import MOST, worker_of

BAD_ONLY, BOTH = "sk-bad", "sk-both"
"""Keys that the bad mirror alone understands, or both mirrors do."""
_CHAT = "/v1/chat/completions"
Connections = dict[int, http.client.HTTPConnection]


class Pair:
    """The instance, its two mirrors, and a connection to each of its workers, by pid."""

    def __init__(self, instance: Instance, good: MirrorProcess, bad: MirrorProcess) -> None:
        self.instance, self.good, self.bad = instance, good, bad

    def explained(self) -> dict[str, Any]:
        """The bad mirror in `/api/admin/explain`; empty while nothing answers."""
        try:
            told = Client(Path(self.instance.config["admin"]["socket"])).call(
                "GET", "/api/admin/explain"
            )
        except CommandFailed:
            return {}
        return next(mirror for mirror in told["mirrors"] if mirror["id"] == "bad")

    def phases(self) -> list[str]:
        """Where the bad mirror stands with each worker that answers."""
        workers = self.explained().get("workers", {})
        return [each["breaker"]["phase"] for each in workers.values()]

    def tries(self) -> list[Seen]:
        """The chats that the bad mirror was sent, the first one first; it is probed besides."""
        return [seen for seen in self.bad.seen() if seen.path == _CHAT]

    def in_rotation(self) -> bool:
        """True if control and both workers say so."""
        seen = self.explained()
        return bool(seen) and seen["in_rotation"] and self.phases() == ["closed", "closed"]

    def eject(self, asking: http.client.HTTPConnection) -> None:
        """Let requests fail on the bad mirror, over this connection, until they are enough."""
        self.bad.behave(status=500, latency=0.0, only=_CHAT)
        for _ in range(int(self.instance.config["router"]["ejection"]["consecutive_5xx"])):
            assert ask(self.instance, asking, BAD_ONLY).status == 500

    def recover(self, each: Connections) -> None:
        """Let the bad mirror be good, and send requests until it is back everywhere."""
        self.bad.behave(status=0, latency=0.0)

        def back() -> bool:
            for asking in each.values():
                assert ask(self.instance, asking, BOTH).status == 200
            return self.in_rotation()

        wait_until(back, 30, "the mirror to be back in rotation")


def ask(instance: Instance, asking: http.client.HTTPConnection, key: str) -> Answer:
    """A chat completion with this key, on a kept connection."""
    return ask_on(asking, f"{instance.base_url}{_CHAT}", CHAT, key=key)


@contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """Run it; ejections last a second."""
    with ExitStack() as stack:
        keys = [BAD_ONLY, BOTH]
        good, bad = (
            stack.enter_context(MirrorProcess(name, directory, keys=keys))
            for name in ("good", "bad")
        )
        understood = {"good": [BOTH], "bad": keys}
        config = {
            "router": {"workers": 2, "ejection": {"consecutive_5xx": 2, "base": 1, "max": 1}},
            "monitor": {"interval": "1h"},
            "mirrors": [
                {
                    "id": mirror.name,
                    "url": mirror.base_url,
                    "allow_private": True,
                    "client_keys": understood[mirror.name],
                }
                for mirror in (good, bad)
            ],
        }
        instance = stack.enter_context(Instance(config, directory / "instance"))
        yield Pair(instance, good, bad)


@contextmanager
def connections(instance: Instance) -> Iterator[Connections]:
    """A connection to each worker, by its pid."""
    with ExitStack() as stack:
        found: Connections = {}
        for _ in range(MOST):
            each = connection(instance.base_url)
            stack.callback(each.close)
            each.connect()
            port = each.sock.getsockname()[1]
            owner = wait_until(partial(worker_of, instance, port), 10, "a worker")
            found[owner] = each
            if len(found) == len(instance.workers()) == 2:
                break
        assert len(found) == 2, "one worker takes no connections"
        yield found
