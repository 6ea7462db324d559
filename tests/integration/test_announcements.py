"""Announcements in the store, on SQLite and PostgreSQL, and planned maintenance that begins and
ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from types import SimpleNamespace
from typing import Any

import pytest
from sqlmodel import Session

from dashboard.common.sources import CommandError, NotThere
from dashboard.i18n.texts import Words
from monitor.common.audit import Actor
from monitor.common.languages import Text
from monitor.health.announcements import Announced, IncidentEdit
from monitor.health.incidents import Incident, Part
from monitor.health.past import Past
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, Override, State
from monitor.store import announcements, audit
from monitor.store.pruning import Limits
from monitor.store.store import Store, StoreError
from router.control.admin_commands import MOST_OPEN, AdminCommands
from router.control.announcement_service import AnnouncementService

BY = Actor("operator", "192.0.2.9")
NOW = 1_790_000_000.0
WORDS = Text("机房断电", "Power cut <b>")


@dataclass
class Scene:
    """A service of a store, with the overrides that it set."""

    store: Store
    now: float = NOW
    wishes: dict[str, tuple[Override, float | None]] = field(default_factory=dict)
    broken: bool = False

    async def set_wish(self, mirror: str, wish: Override, until: float | None, by: Actor) -> None:
        if self.broken:
            raise StoreError("the store failed: no space left")
        if mirror == "gone":
            raise KeyError(mirror)
        self.wishes[mirror] = (wish, until)

    def snapshot(self) -> HealthSnapshot:
        health = {
            mirror: MirrorHealth(mirror, State.up, NOW, wish=wish, wish_until=until)
            for mirror, (wish, until) in self.wishes.items()
        }
        return HealthSnapshot(1, NOW, "here", health)

    async def service(self) -> AnnouncementService:
        """A service as a new process has it."""
        known = await self.store.read(announcements.announced)
        return AnnouncementService(
            self.store, known, self.set_wish, self.snapshot, shared=False, clock=lambda: self.now
        )


PART = Part("hk", "dns_down", NOW)


def commands_of(service: AnnouncementService, incidents: Sequence[Incident]) -> AdminCommands:
    """Commands of an instance with a mirror "hk", whose monitor has seen these incidents."""
    parts: dict[str, Any] = dict.fromkeys(signature(AdminCommands).parameters)
    config = SimpleNamespace(mirrors=[SimpleNamespace(id="hk")])
    parts["configuration"] = SimpleNamespace(current=SimpleNamespace(config=config))
    parts["monitor"] = SimpleNamespace(history=SimpleNamespace(past=Past(incidents=incidents)))
    return AdminCommands(**{**parts, "announcement_service": service})


async def told_of(store: Store) -> list[str]:
    entries = await store.read(lambda session: audit.newest(session, 100))
    return [f"{entry.who}: {entry.what}" for entry in entries]


async def test_words_on_an_incident_are_kept_noted_and_go_with_it(store: Store):
    store.record(Incident("c0", "here", "dns_down", "", "minor", NOW, NOW + 9, NOW + 9, ()))
    assert await store.flush()
    service = await Scene(store).service()
    await service.edit(IncidentEdit("c0", Text("", "first"), ""), BY)
    await service.edit(IncidentEdit("c0", WORDS, "critical"), BY)
    await service.update("c0", "identified", Text("查明", ""), BY)
    await service.update("c0", "monitoring", Text("", "Watching"), BY)
    known = (await Scene(store).service()).current
    assert known == service.current
    assert known.edits == {"c0": IncidentEdit("c0", WORDS, "critical")}
    assert [(u.status, u.text, u.at) for u in known.updates["c0"]] == [
        ("monitoring", Text("", "Watching"), NOW),
        ("identified", Text("查明", ""), NOW),
    ]
    assert (await told_of(store))[:2] == [
        "operator: update c0 (monitoring): Watching",
        "operator: update c0 (identified): 查明",
    ]
    await store.prune(Limits(0.0, 0.0, NOW + 10, 0.0))
    assert (await Scene(store).service()).current == Announced()


async def test_an_incident_opened_by_hand_ends_and_reopens_with_its_updates(store: Store):
    service = await Scene(store).service()
    made = await service.open(WORDS, "major", ("hk", "gone"), NOW - 60, Text("", "Look"), BY)
    (told,) = service.current.manual
    assert (told, told.resolved_at) == (made, None)
    assert [u.status for u in service.current.updates[made.id]] == ["investigating"]
    for status, over in (("resolved", NOW), ("resolved", NOW), ("monitoring", None)):
        await service.update(made.id, status, WORDS, BY)
        assert service.current.manual[0].resolved_at == over
    await service.update(made.id, "resolved", WORDS, BY)
    assert (await Scene(store).service()).current == service.current
    await store.prune(Limits(0.0, 0.0, NOW + 10, 0.0))
    assert (await Scene(store).service()).current == Announced()
    assert f"operator: open incident {made.id} of hk gone, impact major: Power cut <b>" in (
        await told_of(store)
    )


async def test_an_outage_that_the_monitor_still_sees_cannot_be_resolved_by_hand(store: Store):
    service = await Scene(store).service()
    down = Incident("c1", "here", "dns_down", "", "minor", NOW, None, NOW, (PART,))
    over = replace(down, id="c2", resolved_at=NOW + 9)
    commands = commands_of(service, (down, over))
    with pytest.raises(CommandError, match="still sees hk down") as refused:
        await commands.update_incident("c1", "resolved", WORDS, BY)
    assert "仍在故障" in refused.value.said(Words("zh"))
    assert service.current == Announced()
    await commands.update_incident("c1", "monitoring", WORDS, BY)
    await commands.update_incident("c2", "resolved", WORDS, BY)
    made = await commands.open_incident(WORDS, "minor", (), NOW, WORDS, BY)
    await commands.update_incident(made.id, "resolved", WORDS, BY)
    with pytest.raises(NotThere, match='no incident "c3"'):
        await commands.edit_incident(IncidentEdit("c3", WORDS, ""), BY)
    with pytest.raises(NotThere, match="there are: hk"):
        await commands.open_incident(WORDS, "minor", ("nowhere",), NOW, WORDS, BY)
    for _ in range(MOST_OPEN):
        await commands.open_incident(WORDS, "minor", ("hk",), NOW, Text("", ""), BY)
    with pytest.raises(CommandError, match="resolve some first"):
        await commands.open_incident(WORDS, "minor", ("hk",), NOW, WORDS, BY)


async def test_a_planned_maintenance_begins_once_and_ends_what_it_began(store: Store):
    scene = Scene(store)
    service = await scene.service()
    planned = await service.plan(("hk", "gone"), NOW + 60, NOW + 3600, WORDS, BY)
    assert (planned.status(NOW), planned.began_at, scene.wishes) == ("scheduled", None, {})
    scene.now = NOW + 61
    await service._begin_due()
    assert scene.wishes == {"hk": (Override.maintenance, NOW + 3600)}
    scene.wishes["hk"] = (Override.use, None)  # enabled by hand meanwhile
    await service._begin_due()
    restarted = await scene.service()
    await restarted._begin_due()
    assert scene.wishes == {"hk": (Override.use, None)}
    assert restarted.current.maintenances[0].began_at == NOW + 61


async def test_an_ended_maintenance_uses_its_mirrors_again_but_no_others(store: Store):
    scene = Scene(store)
    service = await scene.service()
    planned = await service.plan(("hk", "jp"), NOW - 1, NOW + 3600, WORDS, BY)
    assert planned.status(NOW) == "in_progress"
    scene.wishes["jp"] = (Override.drain, None)
    ended = await service.end(planned.id, BY)
    assert ended.status(NOW) == "completed"
    assert scene.wishes == {"hk": (Override.use, None), "jp": (Override.drain, None)}
    later = await service.plan(("hk",), NOW + 60, NOW + 90, WORDS, BY)
    assert (await service.end(later.id, BY)).status(NOW + 70) == "cancelled"
    scene.now = NOW + 70
    await service._begin_due()
    assert scene.wishes["hk"] == (Override.use, None)


async def test_a_maintenance_that_cannot_be_kept_is_tried_again(store: Store):
    scene = Scene(store, broken=True)
    service = await scene.service()
    await service.plan(("hk",), NOW + 1, NOW + 3600, WORDS, BY)
    scene.now = NOW + 2
    assert not await service._begin_due()
    scene.broken = False
    assert await service._begin_due()
    assert scene.wishes == {"hk": (Override.maintenance, NOW + 3600)}


async def test_two_instances_begin_one_maintenance_and_note_it_once(store: Store):
    scene = Scene(store)
    service = await scene.service()
    planned = await service.plan(("hk",), NOW + 60, NOW + 3600, WORDS, BY)

    def begin(session: Session) -> bool:
        return announcements.begin(session, planned.id, NOW + 60)

    assert [await store.decide(begin), await store.decide(begin)] == [True, False]
