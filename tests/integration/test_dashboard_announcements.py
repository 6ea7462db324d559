"""Incidents and planned maintenance: operators' API, and what visitors see of it."""

from dataclasses import replace
from html import unescape

import pytest

from dashboard.admin.app import build_admin_app
from dashboard.public.app import build_public_app
from monitor.common.languages import Text
from monitor.health.announcements import Announced, IncidentEdit, Maintenance, Update
from tests.testkit.dashboard import (
    BROWSER,
    INCIDENTS,
    NOW,
    FakeCommands,
    FakeSources,
    ask,
    serving,
    serving_on_unix_socket,
)

PLANNED = Maintenance("m1", Text("升级", ""), ("hk", "jp"), NOW + 60, NOW + 660, NOW - 9, NOW - 9)
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


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("incidents/c1", {"title": "x"}, 'title: expected {"zh"'),
        ("incidents/c1", {"title": {"zh": "x" * 121}}, "at most 120 characters"),
        ("incidents/c1", {"impact": "huge"}, "impact: expected one of minor, major, critical"),
        ("incidents/c1/updates", {"status": "scheduled", "text": {"en": "x"}}, "investigating"),
        ("incidents/m1/updates", {"status": "identified", "text": {"en": "x"}}, "in_progress"),
        ("incidents/c1/updates", {"status": "resolved", "text": {"en": " "}}, "in both"),
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
