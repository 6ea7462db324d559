"""Operators' words on incidents, and planned maintenance: keeps them, and begins what is due."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from sqlmodel import Session

from monitor.common.audit import Actor
from monitor.common.languages import Text
from monitor.health.announcements import Announced, IncidentEdit, Maintenance, ManualIncident
from monitor.health.snapshot import HealthSnapshot, Override
from monitor.store import announcements
from monitor.store.store import Store, StoreError

log = logging.getLogger("control")

LOOK_EVERY = 1.0
"""Seconds between two looks at what is due."""
FOLLOW_EVERY = 15.0
"""Seconds between two looks at what other instances have announced."""
TRY_AGAIN_AFTER = 5.0
PLANNED = Actor("planned maintenance")

SetOverride = Callable[[str, Override, float | None, Actor], Awaitable[None]]


class AnnouncementService:
    """The announcements of one instance. Changes raise StoreError, and then nothing has changed."""

    def __init__(
        self,
        store: Store,
        announced: Announced,
        set_override: SetOverride,
        snapshot: Callable[[], HealthSnapshot],
        *,
        shared: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`shared`: other instances use the same store."""
        self.current = announced
        self._store = store
        self._set_override = set_override
        self._snapshot = snapshot
        self._shared = shared
        self._clock = clock
        self._begun = {m.id for m in announced.maintenances if m.began_at is not None}
        """The maintenances that this instance has begun; those of before are not begun again, as
        their mirrors may have been enabled by hand meanwhile."""

    def __repr__(self) -> str:
        return f"<AnnouncementService, {len(self.current.maintenances)} maintenances>"

    async def edit(self, change: IncidentEdit, by: Actor) -> None:
        """Say something else of an incident than the monitor does."""
        await self._change(lambda s: announcements.edit(s, change, by, self._clock()))

    async def update(self, about: str, status: str, text: Text, by: Actor) -> None:
        """Add a message about an incident or a maintenance."""
        now = self._clock()
        await self._change(lambda s: announcements.update(s, about, status, text, by, now))

    async def open(
        self, title: Text, impact: str, mirrors: Sequence[str], began: float, text: Text, by: Actor
    ) -> ManualIncident:
        """Tell of something that the monitor does not see."""
        now, its_id = self._clock(), secrets.token_hex(6)
        opened = ManualIncident(its_id, title, impact, tuple(mirrors), began, now)
        await self._change(lambda s: announcements.open_incident(s, opened, text, by))
        return opened

    async def plan(
        self, mirrors: Sequence[str], starts_at: float, ends_at: float, title: Text, by: Actor
    ) -> Maintenance:
        """Take mirrors out of use from one moment to another."""
        now, its_id = self._clock(), f"m{secrets.token_hex(6)}"
        planned = Maintenance(its_id, title, tuple(mirrors), starts_at, ends_at, now, now)
        await self._change(lambda s: announcements.plan(s, planned, by))
        await self._begin_due()
        return self.current.find(its_id) or planned

    async def end(self, maintenance: str, by: Actor) -> Maintenance:
        """Call a maintenance off, or use its mirrors again. Raises `announcements.Unknown`."""
        now = self._clock()
        await self._change(lambda s: announcements.end(s, maintenance, by, now))
        ended = self.current.find(maintenance)
        if ended is None:
            raise announcements.Unknown(maintenance)
        await self._end_over(by)
        return ended

    async def run(self) -> None:
        """Begin and end what is due, and take over what other instances announce, until
        cancelled."""
        looked = self._clock()
        while True:
            done = await self._begin_due() and await self._end_over(PLANNED)
            await asyncio.sleep(LOOK_EVERY if done else TRY_AGAIN_AFTER)
            if self._shared and not 0 <= self._clock() - looked < FOLLOW_EVERY:
                looked = self._clock()
                try:
                    self.current = await self._store.read(announcements.announced)
                except StoreError as error:
                    log.error("announcements of other instances are not known for now: %s", error)

    async def _begin_due(self) -> bool:
        """Take mirrors out of use; False if something has to be tried again."""
        now = self._clock()
        for planned in self.current.maintenances:
            if planned.id in self._begun or planned.status(now) != "in_progress":
                continue
            done = [
                await self._override(mirror, Override.maintenance, planned.ends_at, PLANNED)
                for mirror in planned.mirrors
            ]
            if not all(done):
                return False
            self._begun.add(planned.id)
            its_id = planned.id
            try:
                await self._change(lambda s, its_id=its_id: announcements.begin(s, its_id, now))  # type: ignore[misc]
            except StoreError as error:
                log.error(
                    "the begin of a maintenance cannot be written, a restart forgets it: %s", error
                )
        return True

    async def _end_over(self, by: Actor) -> bool:
        """Use the mirrors again of what was ended before its time."""
        for planned in self.current.maintenances:
            if planned.ended_at is None or planned.id not in self._begun:
                continue
            done = [
                await self._override(mirror, Override.use, None, by)
                for mirror in planned.mirrors
                if self._is_out_for(mirror, planned)
            ]
            if not all(done):
                return False
            self._begun.discard(planned.id)
        return True

    def _is_out_for(self, mirror: str, planned: Maintenance) -> bool:
        """True if the mirror is out of use for this, and not by another decision."""
        health = self._snapshot().mirrors.get(mirror)
        return (
            health is not None
            and health.wish is Override.maintenance
            and health.wish_until == planned.ends_at
        )

    async def _override(
        self, mirror: str, override: Override, until: float | None, by: Actor
    ) -> bool:
        try:
            await self._set_override(mirror, override, until, by)
        except KeyError:
            log.warning("%s is not enabled, so its planned maintenance changes nothing", mirror)
        except StoreError as error:
            log.error("the planned maintenance of %s has to wait: %s", mirror, error)
            return False
        return True

    async def _change(self, work: Callable[[Session], object]) -> None:
        def changed(session: Session) -> Announced:
            work(session)
            return announcements.announced(session)

        self.current = await self._store.decide(changed)
