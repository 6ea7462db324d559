"""Where the keys are that commands work on: with the running instance, or in its store."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from router.cli.client import Client, answers
from router.cli.console import CommandFailed, Console
from router.control import document

_PATH = "/api/admin/keys"

Table = dict[str, Any]


class Keys(Protocol):
    """Commands on keys; answers are those of the admin API. Raises CommandFailed."""

    def all(self, days: int) -> Table:
        """All of them, with what they used lately."""

    def create(self, order: Table) -> Table:
        """A new one."""

    def revoke(self, key_id: str) -> Table:
        """One less."""

    def top_up(self, key_id: str, more: Table) -> Table:
        """More for one."""


def keys_of(args: Namespace, console: Console) -> Keys:
    """The keys of the configuration that the command line names."""
    path = document.find(args.config, console.environ)
    socket = document.socket_path(path, console.environ)
    if answers(socket):
        return KeysOfInstance(Client(socket))
    url = document.store_url(path, console.environ)
    if not url.startswith("sqlite"):
        raise CommandFailed(
            f"no instance is running (nobody answers at {socket}): start one: `mirrorgate run`"
        )
    from router.cli.in_store import KeysInStore  # others do without the database

    return KeysInStore(url, document.key_prefix(path, console.environ))


@dataclass(frozen=True, slots=True)
class KeysOfInstance:
    """Those of an instance that runs."""

    client: Client

    def all(self, days: int) -> Table:
        """All of them, with what they used lately."""
        return self._answer("GET", f"{_PATH}?days={days}")

    def create(self, order: Table) -> Table:
        """A new one."""
        return self._answer("POST", _PATH, order)

    def revoke(self, key_id: str) -> Table:
        """One less."""
        return self._answer("DELETE", f"{_PATH}/{quote(key_id, safe='')}")

    def top_up(self, key_id: str, more: Table) -> Table:
        """More for one."""
        return self._answer("POST", f"{_PATH}/{quote(key_id, safe='')}/topup", more)

    def _answer(self, method: str, target: str, body: Table | None = None) -> Table:
        answer: Table = self.client.call(method, target, body)
        return answer
