"""Recorder of the monitor's history: samples, changes of state, and the published past.

The monitor says what it sees; what time that makes, which incident it belongs to and when old
things go is decided here and below. Nothing of it stops the monitor: whatever fails here costs
history, never a probe or a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sqlmodel import Session

from monitor.common.config import MonitorRetention
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import Tasks, cancelled
from monitor.engine import metrics
from monitor.health import incidents
from monitor.health.aside import Aside, aside_of, read_aside
from monitor.health.incidents import Failure, Incident
from monitor.health.latency import FirstBytes
from monitor.health.past import QUANTILES, Past
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from monitor.health.uptime import Account, Credit
from monitor.health.vantages import view_of
from monitor.store import queries
from monitor.store.errors import StoreError
from monitor.store.latencies import Curves, first_bytes
from monitor.store.lease import RENEW_EVERY
from monitor.store.pruning import Limits
from monitor.store.queries import Settled, States, read_days, read_windows, states_before
from monitor.store.records import Sample, Transition, View
from monitor.store.rollups import forget_views
from monitor.store.store import Store

log = logging.getLogger(__name__)

CREDIT_EVERY = 10.0
"""Seconds that a kill can cost at most: they are unknown then."""
READ_EVERY = 60.0
PRUNE_EVERY = 3600.0
SPACE_EVERY = 15.0
_NAME = "history"
INCIDENTS_HELD = 500
"""The newest, in memory for pages."""


class History:
    """The past of all mirrors as one vantage saw it."""

    def __init__(
        self,
        store: Store,
        vantage: str,
        totals: MetricRegistry,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        tasks: Tasks | None = None,
    ) -> None:
        self.past = Past(read_at=clock())
        self.zone = "UTC"
        """The time zone by which days are counted."""
        self._retention = MonitorRetention()
        self._store = store
        self.prunes: Callable[[], bool] = lambda: True
        """True if no other instance prunes the store."""
        self.shares = False
        """True if other instances use the store: then they are told how mirrors are seen here."""
        self._vantage = vantage
        self._totals = totals
        self._supervisor = tasks or Tasks(totals)
        self._clock = clock
        self._monotonic = monotonic
        self._accounts: dict[str, Account] = {}
        self._verdicts: dict[str, str] = {}
        """Those seen last, by mirror."""
        self._shared: dict[str, MirrorHealth] = {}
        """As other instances were told last."""
        self.aside: dict[str, tuple[Aside, ...]] = {}
        """Paths that were left alone before this start, by mirror."""
        self._kept: dict[str, list[list[Any]]] = {}
        """Those that the next start is told of, where no other instance is told anything."""
        self._incidents: dict[str, Incident] = {}
        self._settled = Settled()
        self._curves = Curves()
        self._first_bytes: dict[str, FirstBytes] = {}
        self._recalled: set[str] = set()
        """Mirrors whose first bytes of before this start are among them."""
        self._began = clock()
        self._dropped = 0
        self._credited = monotonic()
        self._tasks: list[asyncio.Task[None]] = []

    def configure(self, retention: MonitorRetention) -> None:
        """Keep what is recorded for so long."""
        self._retention = retention

    async def start(self) -> States:
        """Read what was before; the last known state of each mirror. Raises StoreError."""

        def question(
            session: Session,
        ) -> tuple[States, list[Transition], list[Incident], dict[str, str]]:
            before = states_before(session, self._clock(), self._vantage)
            held = queries.incidents(session, self._vantage, INCIDENTS_HELD)
            return *before, held, queries.own_views(session, self._vantage)

        states, lost, held, views = await self._store.read(question)
        self.aside = {m: read_aside(text, self._clock()) for m, text in views.items()}
        self._kept = {mirror: [[]] for mirror in views}  # as others: written anew if it differs
        if self.shares:
            await self._store.decide(lambda session: forget_views(session, self._vantage))
        for change in lost:
            self._store.record(change)
        self._incidents = {incident.id: incident for incident in held}
        self._show_incidents()
        self._store.tell_of_writes(partial(self._totals.observe, metrics.STORE_SECONDS))
        self._tasks = [
            self._supervisor.service(_NAME, partial(_forever, seconds, act), about=about)
            for about, seconds, act in (
                ("lease", RENEW_EVERY, self._renew),
                ("windows", READ_EVERY, self._read),
                ("pruning", PRUNE_EVERY, self._prune),
                ("space", SPACE_EVERY, self._measure),
            )
        ]
        return states

    async def stop(self) -> None:
        """Nothing is seen any more from now on."""
        await cancelled(self._tasks)
        self._credit()
        self._accounts.clear()

    def sample(self, sample: Sample) -> None:
        """Take what one probe found."""
        with self._supervisor.guarded(_NAME):
            self._store.record(sample)
            if sample.ok and sample.latency.first_byte is not None:
                known = self._first_bytes.setdefault(sample.mirror_id, FirstBytes())
                known.add(sample.at, sample.latency.first_byte)

    def changed(self, change: Transition) -> None:
        """Take a change of state."""
        with self._supervisor.guarded(_NAME):
            self._totals.add(metrics.STATE_CHANGES, (change.mirror_id, change.state.value))
            self._store.record(change)

    def see(self, snapshot: HealthSnapshot) -> None:
        """Take what is shown from now on: call it whenever a snapshot is published."""
        with self._supervisor.guarded(_NAME):
            self._see(snapshot)

    def _see(self, snapshot: HealthSnapshot) -> None:
        now = self._clock()
        for mirror in snapshot.mirrors.values():
            account = self._accounts.get(mirror.id)
            if account is None:
                account = Account(mirror.id, self._vantage, State.unknown, now, self._monotonic())
                self._accounts[mirror.id] = account
            if account.state is not mirror.state:
                self._book(account.change(mirror.state, mirror.since, now, self._monotonic()))
                self._draft(mirror, len(snapshot.mirrors))
            elif mirror.state is State.down and self._verdicts.get(mirror.id) != mirror.verdict:
                known = self._incidents.values()
                self._keep_incident(incidents.refined(known, mirror.id, mirror.verdict, now))
            self._verdicts[mirror.id] = mirror.verdict
        for mirror_id in self._accounts.keys() - snapshot.mirrors.keys():
            self._verdicts.pop(mirror_id, None)
            self._book(self._accounts.pop(mirror_id).credit(now, self._monotonic()))
        self._end_of_removed(snapshot, now)
        if self.shares:
            self._share(snapshot, now)
        else:
            self._keep_aside(snapshot, now)

    def _share(self, snapshot: HealthSnapshot, now: float) -> None:
        """Tell other instances how mirrors are seen here; what the queue has no room for is told
        with the next snapshot."""
        for mirror in snapshot.mirrors.values():
            known = self._shared.get(mirror.id) is mirror
            if not known and self._store.record(
                View(mirror.id, now, view_of(mirror), self._vantage)
            ):
                self._shared[mirror.id] = mirror
        for gone in self._shared.keys() - snapshot.mirrors.keys():
            if self._store.record(View(gone, now, "", self._vantage)):
                del self._shared[gone]

    def _keep_aside(self, snapshot: HealthSnapshot, now: float) -> None:
        """Have the next start know which paths are left alone."""
        for mirror in snapshot.mirrors.values():
            aside = aside_of(mirror)
            if mirror.last_probe is None or self._kept.get(mirror.id, []) == aside:
                continue
            if self._store.record(View(mirror.id, now, view_of(mirror), self._vantage)):
                self._kept[mirror.id] = aside

    def keep(self) -> None:
        """Run the regular work of every second or so."""
        with self._supervisor.guarded(_NAME):
            self._keep()

    def _keep(self) -> None:
        self._totals.add(metrics.DROPPED, (), self._store.dropped - self._dropped)
        self._dropped = self._store.dropped
        metrics.show_store(self._totals, self._store)
        if self._monotonic() - self._credited >= CREDIT_EVERY:
            self._credit()

    def _credit(self) -> None:
        now = self._clock()
        self._credited = self._monotonic()
        for account in self._accounts.values():
            self._book(account.credit(now, self._credited))

    def _book(self, credits: list[Credit]) -> None:
        for credit in credits:
            self._store.record(credit)

    # Incidents

    def _draft(self, mirror: MirrorHealth, watched: int) -> None:
        """An incident begins, grows or ends with this change; blindness tells nothing of it."""
        if mirror.state is State.down:
            failure = Failure(mirror.id, mirror.since, mirror.verdict, mirror.cdn_detected)
            fresh = incidents.blank(secrets.token_hex(6), self._vantage, failure)
            near = incidents.still_relevant(self._incidents.values(), mirror.since)
            self._keep_incident(incidents.failed(near, failure, watched, fresh))
        elif mirror.state is not State.unknown:
            known = self._incidents.values()
            self._keep_incident(incidents.recovered(known, mirror.id, mirror.since))

    def _end_of_removed(self, snapshot: HealthSnapshot, now: float) -> None:
        """Nobody watches for the recovery of a mirror that is no longer configured."""
        for incident in [i for i in self._incidents.values() if i.is_open]:
            for part in incident.parts:
                if part.until is None and part.mirror not in snapshot.mirrors:
                    self._keep_incident(
                        incidents.recovered(self._incidents.values(), part.mirror, now)
                    )

    def _keep_incident(self, incident: Incident | None) -> None:
        if incident is not None:
            self._incidents[incident.id] = incident
            self._store.record(incident)
            self._show_incidents()

    def _show_incidents(self) -> None:
        newest = sorted(self._incidents.values(), key=lambda i: (i.is_open, i.started_at))
        self._incidents = {incident.id: incident for incident in newest[-INCIDENTS_HELD:]}
        told = sorted(self._incidents.values(), key=lambda i: (-i.started_at, i.id))
        self.past = replace(self.past, incidents=tuple(told))
        self._totals.set(metrics.INCIDENTS_OPEN, float(sum(i.is_open for i in told)))

    # Beside it

    async def _renew(self) -> None:
        await self._store.renew(self._clock())

    async def _recall(self) -> None:
        """Read what was before this start of the mirrors that have come into use."""
        for mirror_id in self._accounts.keys() - self._recalled:
            ask = partial(
                first_bytes, mirror_id=mirror_id, vantage=self._vantage, before=self._began
            )
            before = await self._store.read(ask)
            recalled = FirstBytes()
            for at, milliseconds in before:
                recalled.add(at, milliseconds)
            recalled.join(self._first_bytes.get(mirror_id))
            self._first_bytes[mirror_id] = recalled
            self._recalled.add(mirror_id)
        for mirror_id in self._first_bytes.keys() - self._accounts.keys():
            self._recalled.discard(mirror_id)
            del self._first_bytes[mirror_id]

    async def _measure(self) -> None:
        try:
            space = await asyncio.to_thread(self._store.space)
        except OSError:  # the folder is gone, which the store itself tells
            return
        metrics.show_space(self._totals, space)

    async def _prune(self) -> None:
        if not self.prunes():
            return
        await self._store.prune(Limits.of(self._clock(), self._retention))

    async def _read(self) -> None:
        """Read the past anew."""
        now, zone = self._clock(), self.zone
        await self._recall()
        self._settled.turn()
        windows = await self._store.read(lambda s: read_windows(s, now, self._settled))
        told, days = await self._store.read(lambda s: read_days(s, now, zone, self._settled))
        curves = await self._store.read(lambda s: self._curves.read(s, now))
        quantiles = {m: each.quantiles(now, QUANTILES) for m, each in self._first_bytes.items()}
        self.past = replace(
            self.past,
            windows=windows,
            days=days,
            zone=told,
            read_at=now,
            curves=curves,
            first_bytes={m: each for m, each in quantiles.items() if each is not None},
        )
        for mirror_id in self._accounts:
            metrics.show_uptime(self._totals, mirror_id, windows.get(mirror_id, {}))


async def _forever(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    """Act again and again; a failure of the store is logged once, and the act is repeated."""
    troubled = False
    while True:
        try:
            await act()
            troubled = False
        except StoreError as error:
            if not troubled:
                log.warning("history: %s", error)
            troubled = True
        await asyncio.sleep(seconds)
