"""Reports of rejected clients to control: facts, no judgement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from router.admission.client_address import Client

RULES = ("too_many_connections", "rate_limit_exceeded", "invalid_api_key", "malformed_request")
"""The refusals that can lead to a ban, by the code that the client gets."""
LONGEST_USER_AGENT = 256
MOST_CLIENTS = 10_000
"""Of those refused between two messages; of the rest control hears a moment later."""


class Alert(NamedTuple):
    """A client was refused in one second: one violation, however often it was."""

    network: str
    rule: str
    second: int
    """Since the epoch."""
    user_agent: str
    refusals: int


class Alerts:
    """Collects refusals until they are reported."""

    def __init__(self) -> None:
        self._seen: dict[tuple[bytes, int], tuple[Client, str, str]] = {}
        self._refusals: dict[tuple[bytes, int], int] = {}

    def note(self, client: Client, rule: str, user_agent: bytes, now: float) -> None:
        """A client was refused at `now`, in seconds since the epoch."""
        if rule not in RULES or not client.version:
            return
        place = (client.key, int(now))
        if place not in self._seen:
            if len(self._seen) >= MOST_CLIENTS:
                return
            self._seen[place] = (client, rule, readable(user_agent))
        self._refusals[place] = self._refusals.get(place, 0) + 1

    def take(self) -> list[Alert]:
        """Return and forget what was collected."""
        seen, self._seen = self._seen, {}
        refusals, self._refusals = self._refusals, {}
        return [
            Alert(client.network, rule, place[1], user_agent, refusals[place])
            for place, (client, rule, user_agent) in seen.items()
        ]


def read_alerts(rows: Sequence[Sequence[Any]]) -> list[Alert]:
    """Alerts that came as JSON."""
    return [Alert(*row) for row in rows]


def readable(user_agent: bytes) -> str:
    """A user agent as it may be kept: visible ASCII, one line, bounded."""
    text = user_agent[:LONGEST_USER_AGENT].decode("latin-1")
    return "".join(c if " " <= c <= "~" else "?" for c in text)
