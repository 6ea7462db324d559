"""The lists that a worker keeps as control has them: bans, and issued keys."""

from __future__ import annotations

from collections.abc import Callable

from monitor.feed import Message
from router.admission.bans import BanList
from router.admission.ring import KeyRing
from router.plane import Plane


class FollowedBans:
    """The bans of a worker."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._coming = BanList()

    def __repr__(self) -> str:
        return "bans"

    def add(self, message: Message) -> None:
        """More bans, which end what is open."""
        self._plane.ban(message["rows"])

    def remove(self, message: Message) -> None:
        """Fewer bans."""
        self._plane.bans.remove(message["networks"])

    def begin(self) -> None:
        """All of them are coming."""
        self._coming = BanList()

    def collect(self, message: Message) -> None:
        """Some of all."""
        self._coming.extend(message["rows"])

    def finish(self) -> None:
        """These are all."""
        self._plane.bans, self._coming = self._coming, BanList()
        self._plane.ban(())


class FollowedKeys:
    """The issued keys of a worker; with the first of all comes what digests depend on."""

    def __init__(self, ring: KeyRing, revoked: Callable[[], None] = lambda: None) -> None:
        """`revoked`: to be told when there may be fewer."""
        self._ring = ring
        self._revoked = revoked
        self._coming = KeyRing()

    def __repr__(self) -> str:
        return "keys"

    def add(self, message: Message) -> None:
        """Keys that are new or have changed."""
        self._ring.extend(message["rows"])

    def remove(self, message: Message) -> None:
        """Keys that were revoked."""
        self._ring.remove(message["ids"])
        self._revoked()

    def begin(self) -> None:
        """All of them are coming."""
        self._coming = KeyRing()

    def collect(self, message: Message) -> None:
        """Some of all."""
        if "pepper" in message:
            self._coming.season(message["pepper"])
        self._coming.extend(message["rows"])

    def finish(self) -> None:
        """These are all."""
        self._ring.become(self._coming)
        self._coming = KeyRing()
        self._revoked()
