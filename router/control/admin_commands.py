"""Operators' commands: the implementation of the dashboard's interface."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from dashboard.common.sources import CommandError, ConfigurationState, Inspected, NotThere, Open
from dashboard.i18n.moments import iso
from monitor.common.audit import Actor
from monitor.common.bans import Ban
from monitor.common.keys import KeyAccount, KeyFault, KeyOrder, NewKey, UnknownKey
from monitor.common.languages import Text
from monitor.common.machine import MachineWatch
from monitor.common.process_metrics import age_of
from monitor.common.settings import SettingsError
from monitor.engine.monitor import Monitor
from monitor.health.announcements import (
    INCIDENT_STATUSES,
    IncidentEdit,
    Maintenance,
    ManualIncident,
)
from monitor.health.incidents import Incident
from monitor.health.snapshot import Override
from monitor.notify.notifier import Notifier
from monitor.store import announcements, audit, queries
from monitor.store.audit import Entry
from monitor.store.bans import Allowance
from monitor.store.records import Transition
from monitor.store.store import Store, StoreError
from router.admission.client_address import address_of_key
from router.admission.key_scope import counted_as
from router.admission.shared_table import Table
from router.cluster.membership import Membership
from router.control.announcement_service import AnnouncementService
from router.control.audit_trail import AuditTrail
from router.control.ban_service import BanService
from router.control.changes import cautions, compared
from router.control.configuration import Configuration
from router.control.document import Document
from router.control.inspections import Inspections
from router.control.key_service import KeyService, key_notes
from router.control.notices import Notices
from router.control.worker_channels import WorkerChannels
from router.control.worker_questions import Questions

MOST_OPEN = 50
"""Incidents opened by hand that may be open at a time; one ends by an update."""


class AdminCommands:
    """Operators' commands (`dashboard.common.sources.Commands`)."""

    def __init__(
        self,
        configuration: Configuration,
        monitor: Monitor,
        ban_service: BanService,
        key_service: KeyService,
        announcement_service: AnnouncementService,
        channels: WorkerChannels,
        notices: Notices,
        questions: Questions,
        store: Store,
        audit_trail: AuditTrail,
        inspections: Inspections,
        notifier: Notifier,
        table: Table,
        membership: Membership,
        machine: MachineWatch,
    ) -> None:
        self._configuration = configuration
        self._monitor = monitor
        self._ban_service = ban_service
        self._key_service = key_service
        self._announcement_service = announcement_service
        self._channels = channels
        self._notices = notices
        self._questions = questions
        self._store = store
        self._audit_trail = audit_trail
        self._inspections = inspections
        self._notifier = notifier
        self._table = table
        self._membership = membership
        self._machine = machine
        self._counted: dict[bytes, str] = {}
        """Issued keys as the shared table counts them."""

    def unwritten(self) -> int:
        return len(self._store.postponed)

    async def reload(self, by: Actor) -> dict[str, Any]:
        try:
            changes = await self._configuration.reload(by)
        except SettingsError as error:
            faults = [str(fault) for fault in error.faults]
            raise CommandError("bad_file", faults) from None
        finally:
            await self._audit_trail.written()
        return {name: sorted(items) for name, items in asdict(changes).items()}

    async def status(self) -> dict[str, Any]:
        current = self._configuration.current
        return {
            "pid": os.getppid(),
            "uptime_seconds": round(age_of(os.getppid()), 1),
            "config": {"file": str(current.path)},
            "workers": self._channels.workers(),
            "store": {
                "problem": self._store.problem,
                "unwritten": len(self._store.postponed),
                "queued": self._store.queued,
                "dropped_lately": self._store.dropped_lately(),
            },
            "missing_settings": self._notices.sentences(),
            "cautions": [*self._machine.sentences(), *cautions(current.config)],
            "notifications": self._notifier.state(),
            "restart_needed": list(self._configuration.restart_needed),
            "cluster": self._membership.state(),
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

    async def recent(self, most: int) -> dict[str, Any]:
        answers = await self._questions.ask({"type": "explain", "newest": most})
        found = [
            {**each, "began": iso(each["began"]), "at": each["began"], "worker": slot}
            for slot, told in answers.by_worker.items()
            for each in told["requests"]
        ]
        found.sort(key=lambda each: each["at"], reverse=True)
        return {"requests": found[:most], "silent": answers.silent}

    async def inspect(self, mirror_id: str, by: Actor) -> None:
        config = self._configuration.current.config
        mirror = next((each for each in config.mirrors if each.id == mirror_id), None)
        if mirror is None:
            raise NotThere("no_mirror_of_id", mirror=mirror_id, known=", ".join(self._mirrors()))
        self._inspections.begin(mirror, config.monitor)
        self._monitor.suspect(mirror_id)
        self._audit_trail.note(by, f"probe {mirror_id}")

    def inspections(self) -> Mapping[str, Inspected]:
        return self._inspections.known

    def open_requests(self) -> list[Open]:
        ids = self._key_service.ids()
        if len(ids) != len(self._counted):
            self._counted = {counted_as(key_id): key_id for key_id in ids}
        found = [
            Open(address_of_key(key), self._counted.get(key, ""), requests)
            for key, requests in self._table.open_by_key().items()
        ]
        named = [each for each in found if each.address or each.key]
        return sorted(named, key=lambda each: (-each.requests, each.address, each.key))

    async def transitions(self, mirror_id: str, most: int) -> list[Transition]:
        with _told():
            return await self._store.read(lambda s: queries.transitions(s, mirror_id, most))

    async def configuration(self) -> ConfigurationState:
        source = self._configuration
        newest: Document | None = None
        faults: tuple[str, ...] = ()
        try:
            newest = await source.of_file()
        except SettingsError as error:
            faults = tuple(map(str, error.faults))
        current = source.current
        elsewhere = current.kept_elsewhere | (newest.kept_elsewhere if newest else frozenset())
        return ConfigurationState(
            file=str(current.path),
            taken_at=source.taken_at,
            taken_by=source.taken_by,
            faults=faults,
            settings=compared(current.config, newest.config if newest else None, elsewhere),
            restart_needed=source.restart_needed,
            cautions=(*self._machine.sentences(), *cautions(current.config)),
        )

    async def note(self, by: Actor, what: str) -> None:
        self._audit_trail.note(by, what)

    async def set_override(
        self, mirror_id: str, override: Override, until: float | None, by: Actor
    ) -> None:
        try:
            await self._monitor.set_wish(mirror_id, override, until, by)
        except KeyError:
            raise CommandError("not_enabled", mirror=mirror_id) from None
        except StoreError as error:
            raise CommandError("store", reason=str(error)) from None

    async def open_incident(
        self, title: Text, impact: str, mirrors: Sequence[str], began: float, text: Text, by: Actor
    ) -> ManualIncident:
        self._known_mirrors(mirrors)
        service = self._announcement_service
        if sum(each.resolved_at is None for each in service.current.manual) >= MOST_OPEN:
            raise CommandError("many_open", most=MOST_OPEN)
        with _told():
            return await service.open(title, impact, mirrors, began, text, by)

    async def edit_incident(self, change: IncidentEdit, by: Actor) -> None:
        if self._announcement_service.current.opened(change.incident) is None:
            self._known_incident(change.incident)
        with _told():
            await self._announcement_service.edit(change, by)

    async def update_incident(self, about: str, status: str, text: Text, by: Actor) -> None:
        current = self._announcement_service.current
        if current.find(about) is None and current.opened(about) is None:
            incident = self._known_incident(about)
            down = [part.mirror for part in incident.parts if part.until is None]
            if incident.is_open and status == INCIDENT_STATUSES[-1]:
                raise CommandError("still_down", mirrors=", ".join(down))
        with _told():
            await self._announcement_service.update(about, status, text, by)

    async def plan_maintenance(
        self, mirrors: Sequence[str], starts_at: float, ends_at: float, title: Text, by: Actor
    ) -> Maintenance:
        self._known_mirrors(mirrors)
        with _told():
            return await self._announcement_service.plan(mirrors, starts_at, ends_at, title, by)

    async def end_maintenance(self, maintenance: str, by: Actor) -> Maintenance:
        with _told():
            return await self._announcement_service.end(maintenance, by)

    def _known_incident(self, wanted: str) -> Incident:
        for incident in self._monitor.history.past.incidents:
            if incident.id == wanted:
                return incident
        raise NotThere("no_incident", id=wanted)

    def _mirrors(self) -> list[str]:
        return [mirror.id for mirror in self._configuration.current.config.mirrors]

    def _known_mirrors(self, wanted: Sequence[str]) -> None:
        known = self._mirrors()
        for mirror in wanted:
            if mirror not in known:
                raise NotThere("no_mirror_of_id", mirror=mirror, known=", ".join(known))

    async def add_ban(self, network: str, seconds: float | None, reason: str, by: Actor) -> Ban:
        with _told():
            return await self._ban_service.add(network, seconds, reason, by)

    async def remove_ban(self, network: str | None, by: Actor) -> list[Ban]:
        with _told():
            return await self._ban_service.remove(network, by)

    async def allow(self, network: str, seconds: float | None, by: Actor) -> None:
        with _told():
            await self._ban_service.allow(network, seconds, by)

    def allowances(self) -> list[Allowance]:
        return self._ban_service.allowances()

    async def audit(self, limit: int, before: int | None) -> list[Entry]:
        with _told():
            return await self._store.read(lambda s: audit.newest(s, limit, before))

    async def keys(self, days: int) -> list[KeyAccount]:
        with _told():
            return await self._key_service.accounts_since(days)

    async def create_key(self, order: KeyOrder, by: Actor) -> NewKey:
        with _told():
            account, key = await self._key_service.create(order, by)
        return NewKey(account, key, key_notes(self._configuration.current.config, order))

    async def revoke_key(self, key_id: str, by: Actor) -> KeyAccount:
        with _told():
            return await self._key_service.revoke(key_id, by)

    async def top_up_key(
        self, key_id: str, quota: int | None, tokens: int | None, by: Actor
    ) -> KeyAccount:
        with _told():
            return await self._key_service.top_up(key_id, quota, tokens, by)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except announcements.Unknown as error:
        raise NotThere("no_maintenance", id=str(error)) from None
    except UnknownKey as error:
        raise NotThere(error.code, **error.values) from None
    except KeyFault as error:
        raise CommandError(error.code, **error.values) from None
    except StoreError as error:
        raise CommandError("store", reason=str(error)) from None
