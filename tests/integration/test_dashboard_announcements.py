"""Incidents and planned maintenance: operators' API, and what visitors see of it."""

import asyncio
import json
from dataclasses import replace
from html import unescape

import pytest

from dashboard.admin.app import build_admin_app
from dashboard.common.sources import NotThere
from dashboard.public.app import build_public_app
from monitor.common.languages import Text
from monitor.health.announcements import (
    Announced,
    IncidentEdit,
    Maintenance,
    ManualIncident,
    Update,
)
from monitor.health.incidents import Part
from monitor.health.past import Past
from monitor.health.snapshot import Override, State
from tests.testkit.dashboard import (
    BROWSER,
    HEALTH,
    INCIDENTS,
    NOW,
    FakeCommands,
    FakeSources,
    ask,
    serving,
    serving_on_unix_socket,
)

PLANNED = Maintenance("m1", Text("升级", ""), ("hk", "jp"), NOW + 60, NOW + 660, NOW - 9, NOW - 9)
OPENED = {"title": {"en": "x"}, "impact": "minor"}
SOON = "2026-11-21T10:00:00+01:00"
"""One hour less than `NOW` by the clock, and the same moment."""


@pytest.fixture
def commands() -> FakeCommands:
    return FakeCommands()


@pytest.fixture
async def socket(commands, tmp_path):
    known = Announced(
        {INCIDENTS[0].id: IncidentEdit(INCIDENTS[0].id, Text("断电", "Power cut"), "major")},
        {"m1": (Update(3, "m1", NOW - 3, "scheduled", Text("", "Soon")),)},
        (PLANNED,),
    )
    app = build_admin_app(FakeSources(announced_=known), commands, trusted=True, clock=lambda: NOW)
    async with serving_on_unix_socket(app, tmp_path / "admin.sock") as client:
        yield client


async def test_incidents_are_told_with_what_operators_said_of_them(socket):
    status, told = await ask(socket, "GET", "/api/admin/incidents?limit=2")
    assert status == 200
    edited, other = told["incidents"]
    assert (edited["title"], edited["edited_impact"]) == (
        {"zh": "断电", "en": "Power cut"},
        "major",
    )
    assert (other["title"], other["updates"]) == (None, [])
    (planned,) = told["maintenances"]
    assert (planned["status"], planned["mirrors"]) == ("scheduled", ["hk", "jp"])
    assert planned["updates"][0]["text"] == {"zh": "", "en": "Soon"}


async def test_changes_reach_the_commands_clean(socket, commands):
    words = {"zh": "断\u202e电", "en": "  Power\ncut\x00 "}
    body: dict[str, object] = {"title": words, "impact": "major"}
    assert (await ask(socket, "POST", "/api/admin/incidents/c1", json=body))[0] == 200
    body = {"status": "identified", "text": words}
    assert (await ask(socket, "POST", "/api/admin/incidents/c1/updates", json=body))[0] == 201
    body = {"mirrors": ["hk", "hk"], "for": 60}
    status, told = await ask(socket, "POST", "/api/admin/maintenances", json=body)
    assert (status, told["status"]) == (201, "in_progress")
    assert (await ask(socket, "DELETE", "/api/admin/maintenances/m1"))[0] == 200
    clean = Text("断电", "Power\ncut")
    assert [what[:-1] for what in commands.told] == [
        ("edit_incident", IncidentEdit("c1", clean, "major")),
        ("update_incident", "c1", "identified", clean),
        ("plan_maintenance", ("hk",), NOW, NOW + 60, Text("", "")),
        ("end_maintenance", "m1"),
    ]


async def test_an_incident_is_opened_with_what_no_probe_sees(socket, commands):
    body: dict[str, object] = {
        "title": {"zh": "答复有误\u202e", "en": "Wrong answers"},
        "impact": "major",
        "mirrors": ["hk", "hk"],
        "started_at": "2026-11-21T16:00:00+08:00",
        "text": {"zh": "", "en": "Looking"},
    }
    status, told = await ask(socket, "POST", "/api/admin/incidents", json=body)
    assert (status, told["id"], told["mirrors"]) == (201, "0pened", ["hk"])
    assert (await ask(socket, "POST", "/api/admin/incidents", json=OPENED))[0] == 201
    title, text = Text("答复有误", "Wrong answers"), Text("", "Looking")
    assert [what[:-1] for what in commands.told] == [
        ("open_incident", title, "major", ("hk",), NOW - 3600, text),
        ("open_incident", Text("", "x"), "minor", (), NOW, Text("", "")),
    ]


WRONG = ManualIncident(
    "0pened", Text("答复有误", "Wrong answers"), "critical", ("sg", "off"), NOW - 3600, NOW - 60
)
LOOKING = Update(7, "0pened", NOW - 60, "identified", Text("正在排查", "Looking into it"))
ALL_UP = tuple(replace(each, state=State.up, verdict="ok", wish=Override.use) for each in HEALTH)


async def shown_of(opened: ManualIncident, *messages: Update) -> dict[str, str]:
    """Every form of the status page, while all nodes are up and this incident was opened."""
    known = Announced(updates={opened.id: messages}, manual=(opened,))
    health = tuple(replace(each, last_probe=NOW - 1) for each in ALL_UP)
    sources = FakeSources(announced_=known, health=health, past_=Past())
    forms = {"page": "/", "text": "/", "node": "/nodes/sg", "history": "/history"}
    forms |= {"feed": "/feed.atom", "v1": "/api/v1/incidents", "v2": "/api/v2/summary.json"}
    forms |= {"badge": "/badge.json", "all": "/api/v2/incidents.json"}
    told = {}
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        for form, path in forms.items():
            accept = {"Accept": "text/plain" if form == "text" else "text/html"}
            async with client.get(f"{path}?lang=en", headers=accept) as answer:
                told[form] = await answer.text()
    return told


async def test_an_opened_incident_is_told_in_every_form_and_counts_in_no_uptime():
    told = await shown_of(WRONG, LOOKING)
    for form in ("page", "text", "node", "history", "feed", "v1", "v2", "all"):
        assert "Wrong answers" in told[form], form
    for form in ("page", "text", "v2", "badge"):
        assert "An incident is being worked on" in told[form], form
    for form in ("page", "node", "history", "feed", "v1", "v2"):
        assert "Looking into it" in told[form], form
    v1, v2 = json.loads(told["v1"])["incidents"][0], json.loads(told["v2"])
    assert (v1["manual"], v1["status"], v1["verdict"]) == (True, "open", "")
    assert [node["downtime_s"] for node in v1["nodes"]] == [None, None]
    assert v2["status"]["indicator"] == "critical"
    (incident,) = v2["incidents"]
    assert (incident["status"], incident["impact"]) == ("identified", "critical")
    assert [each["id"] for each in incident["components"]] == ["sg"]
    assert {each["status"] for each in v2["components"]} == {"operational"}


async def test_text_of_strangers_in_a_fault_is_cleaned(socket, commands):
    commands.fault = NotThere("no_mirror_of_id", mirror="\ud800\x1b[2J" + "x" * 5000, known="hk")
    body = {**OPENED, "mirrors": ["\ud800"]}
    status, told = await ask(socket, "POST", "/api/admin/incidents", json=body)
    assert status == 404
    assert len(told["error"]["message"]) < 1100
    assert "\x1b" not in told["error"]["message"]


async def test_opened_and_drafted_incidents_are_told_by_when_they_began():
    opened = replace(WRONG, started_at=NOW - 86400)
    sources = FakeSources(announced_=Announced(manual=(opened,)))
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        _, told = await ask(client, "GET", "/api/v1/incidents")
    ids = [each["id"] for each in told["incidents"]]
    assert ids == [INCIDENTS[0].id, opened.id, *(each.id for each in INCIDENTS[1:])]


async def test_a_resolved_one_is_over_in_every_form():
    ended = replace(WRONG, resolved_at=NOW - 5)
    said = Update(8, "0pened", NOW - 5, "resolved", Text("", "Fixed"))
    told = await shown_of(ended, said, LOOKING)
    for form in ("page", "text", "v2", "badge"):
        assert "An incident is being worked on" not in told[form], form
    assert json.loads(told["v1"])["incidents"][0]["status"] == "resolved"
    assert "Wrong answers (resolved)" in told["feed"]
    assert json.loads(told["v2"])["incidents"] == []
    (incident,) = json.loads(told["all"])["incidents"]
    assert (incident["status"], incident["incident_updates"][0]["body"]) == ("resolved", "Fixed")


async def test_a_mirror_that_went_down_again_is_told_after_a_message_that_it_was_resolved():
    part = Part("sg", "sni_block_rst", NOW - 5400, None, 2, fell_at=NOW - 60)
    again = replace(INCIDENTS[0], parts=(part,))
    said = Update(1, again.id, NOW - 90, "resolved", Text("", "All well"))
    sources = FakeSources(
        past_=Past(incidents=(again,)), announced_=Announced(updates={again.id: (said,)})
    )
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        _, told = await ask(client, "GET", "/api/v2/incidents/unresolved.json")
    (incident,) = told["incidents"]
    course = [each["status"] for each in incident["incident_updates"]]
    assert (incident["status"], course[:2]) == ("investigating", ["investigating", "resolved"])


@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
async def test_planned_maintenance_names_a_mirror_that_was_removed(accept):
    plan = replace(PLANNED, title=Text("", ""), mirrors=("left",))
    sources = FakeSources(announced_=Announced(maintenances=(plan,)))
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        for language, name in (("en", "left (removed)"), ("zh", "left（已移除）")):
            headers = {"Accept": accept}
            async with client.get(f"/?lang={language}", headers=headers) as answer:
                assert name in await answer.text()
        _, v1 = await ask(client, "GET", "/api/v1/maintenances")
        _, told = await ask(client, "GET", "/api/v2/scheduled-maintenances.json?lang=en")
    assert v1["maintenances"][0]["nodes"] == [{"id": "left", "name": "left"}]
    assert told["scheduled_maintenances"][-1]["name"].startswith("left (removed)")


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("incidents/c1", {"title": "x"}, 'title: expected {"zh"'),
        ("incidents/c1", {"title": {"zh": "x" * 121}}, "at most 120 characters"),
        ("incidents/c1", {"impact": "huge"}, "impact: expected one of minor, major, critical"),
        ("incidents/c1/updates", {"status": "scheduled", "text": {"en": "x"}}, "investigating"),
        ("incidents/m1/updates", {"status": "identified", "text": {"en": "x"}}, "in_progress"),
        ("incidents/c1/updates", {"status": "resolved", "text": {"en": " "}}, "in both"),
        ("incidents", {"impact": "minor"}, "title: write it in Chinese, in English or in both"),
        ("incidents", {"title": {"en": "x"}}, "impact: expected one of minor, major, critical"),
        ("incidents", {**OPENED, "started_at": "2026-11-21T09:00:01Z"}, "of the last 30 days"),
        ("incidents", {**OPENED, "started_at": "2026-10-21T09:00:00Z"}, "of the last 30 days"),
        ("incidents", {**OPENED, "started_at": "10:00"}, "started_at: expected a moment such as"),
        ("incidents", {**OPENED, "mirrors": "hk"}, "mirrors: choose at least one"),
        ("incidents", {**OPENED, "title": {"zh": "x" * 5000}}, "at most 120 characters, got 5000"),
        (
            "incidents",
            {**OPENED, "text": {"zh": "x" * 2001}},
            "text: expected text of at most 2000",
        ),
        ("maintenances", {"mirrors": [], "for": 9}, "choose at least one"),
        ("maintenances", {"mirrors": ["hk"]}, "at most 30 days"),
        ("maintenances", {"mirrors": ["hk"], "for": 31 * 86400}, "at most 30 days"),
        ("maintenances", {"mirrors": ["hk"], "for": 9, "starts_at": SOON}, "still to come"),
        ("maintenances", {"mirrors": ["hk"], "for": 9, "starts_at": "soon"}, "starts_at: expected"),
    ],
)
async def test_a_bad_input_says_what_is_wrong_and_changes_nothing(
    socket, commands, path, body, said
):
    status, told = await ask(socket, "POST", f"/api/admin/{path}", json=body)
    assert status == 400
    assert said in told["error"]["message"]
    assert commands.told == []


@pytest.mark.parametrize(
    ("language", "title", "words", "running"),
    [
        ("en", "Planned maintenance", "Moving &lt;b&gt;", "under way"),
        ("zh", "预约维护", "搬家", "进行中"),
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
async def test_visitors_see_what_is_planned_and_what_is_under_way(
    language: str, title: str, words: str, running: str, accept: str
) -> None:
    later = Maintenance("m2", Text("搬家", "Moving <b>"), ("hk",), NOW + 60, NOW + 90, NOW, NOW)
    under_way = replace(later, id="m3", title=Text("现在", "Now"), starts_at=NOW - 60)
    over = replace(later, id="m4", title=Text("从前", "Before"), starts_at=1.0, ends_at=2.0)
    off = replace(later, id="m5", title=Text("取消", "Off"), ended_at=NOW)
    told = {"m2": (Update(1, "m2", NOW, "scheduled", Text("请稍候", "Please wait")),)}
    sources = FakeSources(announced_=Announced({}, told, (off, later, under_way, over)))
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        async with client.get(f"/?lang={language}", headers={"Accept": accept}) as answer:
            page = await answer.text()
    begin = page.index(title)
    now = page.index("Now" if language == "en" else "现在", begin)
    soon = page.index(words if accept == "text/html" else unescape(words), begin)
    assert begin < now < soon
    for gone in ("Before", "从前", "Off", "取消"):
        assert gone not in page
    if accept == "text/html":
        assert running in page[begin:soon]
        assert ("请稍候" if language == "zh" else "Please wait") in page


async def test_open_pages_are_told_of_maintenance_when_it_is_planned_begins_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dashboard.public.live.LOOK_EVERY", 0.001)
    clock, sources = [NOW], FakeSources()
    app = build_public_app(sources, lambda: clock[0])
    plan = Maintenance("m2", Text("搬家", "Moving"), ("hk",), NOW + 60, NOW + 90, NOW, NOW)
    async with serving(app) as client, client.get("/?lang=en", headers=BROWSER) as page:
        assert 'id="maintenances"' in await page.text(), "there is a place for it"
        async with client.get("/events?lang=en") as events:

            async def part() -> str:
                async with asyncio.timeout(20):
                    while not (line := await events.content.readline()).startswith(b"data"):
                        pass
                told = json.loads(line.removeprefix(b"data: "))["parts"]
                assert list(told) == ["maintenances"]
                return str(told["maintenances"])

            await events.content.readline()
            sources.announced_ = Announced({}, {}, (plan,))
            planned = await part()
            assert ("Moving" in planned, "under way" in planned) == (True, False)
            clock[0] = NOW + 61
            assert "under way" in await part()
            clock[0] = NOW + 91
            assert "Moving" not in await part()


async def test_words_in_the_other_language_say_which_it_is() -> None:
    mine = INCIDENTS[0].id
    plan = replace(PLANNED, id="m2", title=Text("搬家", "Moving"))
    told = {mine: (Update(1, mine, NOW, "identified", Text("排查中", "")),)}
    edit = IncidentEdit(mine, Text("断电", ""), "major")
    announced = Announced({mine: edit}, told, (PLANNED, plan))
    app = build_public_app(FakeSources(announced_=announced), lambda: NOW)
    async with serving(app) as client:
        pages = {}
        for language in ("en", "zh"):
            async with client.get(f"/?lang={language}", headers=BROWSER) as answer:
                pages[language] = await answer.text()
    english = pages["en"]
    for said in ("断电</strong>", "升级</strong>", "排查中</span>"):
        before = english[: english.index(said)]
        assert 'lang="zh-' in before[before.rindex("<") :], said
    before = english[: english.index("Moving</strong>")]
    assert "lang" not in before[before.rindex("<") :]
    assert pages["zh"].count("<strong lang") == 0
