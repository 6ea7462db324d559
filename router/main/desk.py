"""What operators can do: the dashboard's door for them, implemented."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from dashboard.locale.moments import iso
from dashboard.sources import CommandError, NotThere
from monitor.actors import Actor
from monitor.bans import Ban
from monitor.health.board import Wish
from monitor.history import audit_rows
from monitor.history.audit_rows import Entry
from monitor.history.store import Store, StoreError
from monitor.keys import KeyAccount, KeyFault, KeyOrder, NewKey, UnknownKey
from monitor.service import Monitor
from monitor.settings import SettingsError
from router.main import document
from router.main.audit_trail import AuditTrail
from router.main.cautions import cautions
from router.main.guard import Guard
from router.main.hub import Hub
from router.main.instance import Configuration
from router.main.key_notes import key_notes
from router.main.keyring import Keyring
from router.main.notices import Notices
from router.main.questions import Questions


class Desk:
    """What operators do (`dashboard.sources.Commands`)."""

    def __init__(
        self,
        configuration: Configuration,
        monitor: Monitor,
        guard: Guard,
        keyring: Keyring,
        hub: Hub,
        notices: Notices,
        questions: Questions,
        store: Store,
        trail: AuditTrail,
    ) -> None:
        self._configuration = configuration
        self._monitor = monitor
        self._guard = guard
        self._keyring = keyring
        self._hub = hub
        self._notices = notices
        self._questions = questions
        self._store = store
        self._trail = trail
        self._started = time.monotonic()

    async def reload(self, by: Actor) -> dict[str, Any]:
        try:
            changes = await self._configuration.reload(by)
        except SettingsError as error:
            faults = [str(fault) for fault in error.faults]
            raise CommandError("the file is bad; nothing was changed", faults) from None
        finally:
            await self._trail.written()
        return {name: sorted(items) for name, items in asdict(changes).items()}

    async def status(self) -> dict[str, Any]:
        current = self._configuration.current
        return {
            "pid": os.getppid(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "config": {"file": str(current.path)},
            "workers": self._hub.workers(),
            "store": {"problem": self._store.problem},
            "unused_settings": document.unused(current.raw),
            "missing_settings": self._notices.sentences(),
            "cautions": cautions(current.config),
            "restart_needed": list(self._configuration.restart_needed),
        }

    async def explain(self) -> dict[str, Any]:
        answers = await self._questions.ask({"type": "explain"})
        return {
            "policy": self._configuration.current.config.router.balance.policy,
            "workers": {str(n): told["mirrors"] for n, told in answers.by_worker.items()},
            "silent": answers.silent,
        }

    async def trace(self, request_id: str) -> dict[str, Any]:
        answers = await self._questions.ask({"type": "explain", "request": request_id})
        found = [
            {**told["request"], "began": iso(told["request"]["began"]), "worker": slot}
            for slot, told in answers.by_worker.items()
            if told["request"] is not None
        ]
        return {"request": found[0] if found else None, "silent": answers.silent}

    async def set_wish(self, mirror_id: str, wish: Wish, until: float | None, by: Actor) -> None:
        try:
            await self._monitor.set_wish(mirror_id, wish, until, by)
        except KeyError:
            raise CommandError(f"{mirror_id} is not enabled in the configuration") from None
        except StoreError as error:
            raise CommandError(str(error)) from None

    async def add_ban(self, network: str, seconds: float | None, reason: str, by: Actor) -> Ban:
        with _told():
            return await self._guard.add(network, seconds, reason, by)

    async def remove_ban(self, network: str | None, by: Actor) -> list[Ban]:
        with _told():
            return await self._guard.remove(network, by)

    async def allow(self, network: str, seconds: float | None, by: Actor) -> None:
        with _told():
            await self._guard.allow(network, seconds, by)

    async def audit(self, limit: int, before: int | None) -> list[Entry]:
        with _told():
            return await self._store.read(lambda s: audit_rows.newest(s, limit, before))

    async def keys(self, days: int) -> list[KeyAccount]:
        with _told():
            return await self._keyring.accounts_since(days)

    async def create_key(self, order: KeyOrder, by: Actor) -> NewKey:
        with _told():
            account, key = await self._keyring.create(order, by)
        return NewKey(account, key, key_notes(self._configuration.current.config, order))

    async def revoke_key(self, key_id: str, by: Actor) -> KeyAccount:
        with _told():
            return await self._keyring.revoke(key_id, by)

    async def top_up_key(
        self, key_id: str, quota: int | None, tokens: int | None, by: Actor
    ) -> KeyAccount:
        with _told():
            return await self._keyring.top_up(key_id, quota, tokens, by)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnknownKey as error:
        raise NotThere(str(error)) from None
    except (StoreError, KeyFault) as error:
        raise CommandError(str(error)) from None
