"""What operators can do: the dashboard's door for them, implemented."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dashboard.metrics import BANS
from dashboard.sources import CommandError
from monitor.bans import Ban
from monitor.feed import Message
from monitor.health.board import Wish
from monitor.history.store import Store, StoreError
from monitor.service import Monitor
from monitor.settings import SettingsError
from monitor.totals import Totals
from router.main import document
from router.main.banned import Banned
from router.main.hub import Hub
from router.main.instance import Configuration


class Desk:
    """What operators do (`dashboard.sources.Commands`)."""

    def __init__(
        self,
        configuration: Configuration,
        monitor: Monitor,
        store: Store,
        banned: Banned,
        hub: Hub,
        totals: Totals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configuration = configuration
        self._monitor = monitor
        self._store = store
        self._banned = banned
        self._hub = hub
        self._totals = totals
        self._clock = clock
        self._started = time.monotonic()

    async def reload(self) -> dict[str, Any]:
        try:
            changes = self._configuration.reload("by command")
        except SettingsError as error:
            faults = [str(fault) for fault in error.faults]
            raise CommandError("the file is bad; nothing was changed", faults) from None
        return {name: sorted(items) for name, items in asdict(changes).items()}

    async def status(self) -> dict[str, Any]:
        current = self._configuration.current
        return {
            "pid": os.getppid(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "config": {"file": str(current.path)},
            "workers": self._hub.workers(),
            "unused_settings": document.unused(current.raw),
            "restart_needed": list(self._configuration.restart_needed),
        }

    async def set_wish(self, mirror_id: str, wish: Wish, until: float | None, by: str) -> None:
        try:
            await self._monitor.set_wish(mirror_id, wish, until, by)
        except KeyError:
            raise CommandError(f"{mirror_id} is not enabled in the configuration") from None
        except StoreError as error:
            raise CommandError(str(error)) from None

    async def add_ban(self, network: str, seconds: float | None, reason: str, by: str) -> Ban:
        now = self._clock()
        until = None if seconds is None else now + seconds
        try:
            count = await self._store.ban_count(network) + 1
            ban = Ban(secrets.token_hex(6), network, now, until, reason, by, count=count)
            await self._store.add_ban(ban)
        except StoreError as error:
            raise CommandError(str(error)) from None
        self._banned.add(ban)
        self._totals.add(BANS.name, ("operator",))
        self._tell({"type": "ban", "ban": asdict(ban)})
        return ban

    async def remove_ban(self, network: str, by: str) -> list[Ban]:
        try:
            lifted = await self._store.lift_bans(network, by, self._clock())
        except StoreError as error:
            raise CommandError(str(error)) from None
        for ban in lifted:
            self._banned.remove(ban.network)
            self._tell({"type": "unban", "network": ban.network})
        return lifted

    async def allow(self, network: str, seconds: float | None, by: str) -> None:
        now = self._clock()
        until = None if seconds is None else now + seconds
        try:
            await self._store.allow(network, until, by, now)
        except StoreError as error:
            raise CommandError(str(error)) from None
        await self.remove_ban(network, by)

    def _tell(self, message: Message) -> None:
        self._hub.broadcast(message)
