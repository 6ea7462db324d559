"""The lists that a worker keeps as control has them: bans, and issued keys."""

from __future__ import annotations

from collections.abc import Callable

from monitor.common.ipc import Message
from router.admission.ban_list import BanList
from router.admission.key_index import KeyIndex
from router.forwarding.context import WorkerContext


class ReplicatedBans:
    """The bans of a worker."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._coming = BanList()

    def __repr__(self) -> str:
        return "bans"

    def add(self, message: Message) -> None:
        """More bans, which end what is open."""
        self._context.ban(message["rows"])

    def remove(self, message: Message) -> None:
        """Fewer bans."""
        self._context.bans.remove(message["networks"])

    def begin(self) -> None:
        """All of them are coming."""
        self._coming = BanList()

    def collect(self, message: Message) -> None:
        """Some of all."""
        self._coming.extend(message["rows"])

    def finish(self) -> None:
        """These are all."""
        self._context.bans, self._coming = self._coming, BanList()
        self._context.ban(())


class ReplicatedKeys:
    """The issued keys of a worker; with the first of all comes what digests depend on."""

    def __init__(self, index: KeyIndex, revoked: Callable[[], None] = lambda: None) -> None:
        """`revoked` is called when there may be fewer."""
        self._index = index
        self._revoked = revoked
        self._coming = KeyIndex()

    def __repr__(self) -> str:
        return "keys"

    def add(self, message: Message) -> None:
        """Keys that are new or have changed."""
        self._index.extend(message["rows"])

    def remove(self, message: Message) -> None:
        """Keys that were revoked."""
        self._index.remove(message["ids"])
        self._revoked()

    def begin(self) -> None:
        """All of them are coming."""
        self._coming = KeyIndex()

    def collect(self, message: Message) -> None:
        """Some of all."""
        if "pepper" in message:
            self._coming.season(message["pepper"])
        self._coming.extend(message["rows"])

    def finish(self) -> None:
        """These are all."""
        self._index.become(self._coming)
        self._coming = KeyIndex()
        self._revoked()
