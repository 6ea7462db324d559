"""The public APIs as readers use them: the description, Statuspage's form, badges, the feed."""

import asyncio
import re
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import feedparser
import jsonschema
import pytest
from aiohttp import ClientSession

from dashboard.public.app import build_public_app
from dashboard.public.badges import COLOURS, width
from monitor.common.languages import Text
from monitor.health.announcements import Announced, IncidentEdit, Maintenance, Update
from monitor.health.past import Past
from monitor.health.snapshot import Override, State
from tests.testkit.dashboard import BROWSER, HEALTH, NOW, V2, FakeSources, serving, serving_at

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SVG = "{http://www.w3.org/2000/svg}"
READ = {
    "/api/v1/nodes": ["/api/v1/nodes"],
    "/api/v1/nodes/{id}": [f"/api/v1/nodes/{id}" for id in ("hk", "jp", "sg", "us-west", "nobody")],
    "/api/v1/nodes/{id}/days": [
        *(f"/api/v1/nodes/{id}/days" for id in ("hk", "de", "nobody")),
        "/api/v1/nodes/hk/days?n=2",
        "/api/v1/nodes/hk/days?n=91",
        "/api/v1/nodes/hk/days?n=",
    ],
    "/api/v1/incidents": [
        "/api/v1/incidents",
        "/api/v1/incidents?limit=1",
        "/api/v1/incidents?limit=",
        "/api/v1/incidents?after=x",
    ],
    "/api/v1/maintenances": [
        "/api/v1/maintenances",
        "/api/v1/maintenances?limit=1",
        "/api/v1/maintenances?limit=0",
        "/api/v1/maintenances?after=x",
    ],
    "/api/v1/bans": ["/api/v1/bans", "/api/v1/bans?limit=3", "/api/v1/bans?limit=0"],
    "/api/v1/health": ["/api/v1/health"],
    **{f"/api/v2/{name}.json": [f"/api/v2/{name}.json?lang=en"] for name in V2},
    "/badge/{id}.json": [
        *(
            f"/badge/hk.json?metric={metric}"
            for metric in ("state", "uptime", "latency", "nothing")
        ),
        "/badge/nobody.json",
    ],
}
"""By the path of the description: what is read of it."""


@pytest.fixture
def sources() -> FakeSources:
    fake = FakeSources()
    fake.dashboard_ = replace(
        fake.dashboard_, requests_per_second=0, public_url="https://status.example.com/"
    )
    return fake


@pytest.fixture
async def client(sources):
    async with serving(build_public_app(sources, lambda: NOW)) as session:
        yield session


async def get(client: ClientSession, path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        return response.status, await response.json()


def strict(schema: Any) -> Any:
    """The same, where an object may have no field that is not described."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: strict(value) for key, value in schema.items()}
    if "properties" in inside:
        inside.setdefault("additionalProperties", False)
    return inside


@pytest.mark.parametrize("state", [*State, None])
async def test_every_answer_is_as_described_and_has_nothing_else(sources, client, state):
    """`state`: of all nodes; None: a different one for each."""
    if state is not None:
        sources.health = tuple(
            replace(health, state=state, last_probe=NOW - 1, wish=Override.use) for health in HEALTH
        )
    _, described = await get(client, "/api/v1/openapi.json")
    described = strict(deepcopy(described))
    for path, addresses in READ.items():
        for address in addresses:
            status, told = await get(client, address)
            answer = described["paths"][path]["get"]["responses"][str(status)]
            schema = answer["content"]["application/json"]["schema"]
            whole = {**schema, "components": described["components"]}
            jsonschema.Draft202012Validator(
                whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
            ).validate(told)


async def test_every_address_for_programs_is_described(sources):
    app = build_public_app(sources, lambda: NOW)
    served = {
        resource.canonical
        for resource in app.router.resources()
        if resource.canonical.startswith(("/api/", "/badge/"))
    }
    async with serving(app) as client:
        _, described = await get(client, "/api/v1/openapi.json")
    assert served - set(described["paths"]) == {"/api/v1/openapi.json"}
    assert set(described["paths"]) <= served
    assert described["servers"] == [{"url": "https://status.example.com"}]


async def test_a_tester_of_apis_finds_no_answer_against_the_description(sources, tmp_path):
    """Schemathesis asks for what is described and for what is not, 300 times; a cursor that nobody
    gave out is refused, which it cannot know."""
    async with serving_at(build_public_app(sources, lambda: NOW)) as url:
        process = await asyncio.create_subprocess_exec(
            str(SCHEMATHESIS),
            "run",
            f"{url}/api/v1/openapi.json",
            "--url",
            url,
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--phases", "coverage,fuzzing", "--max-examples", "15", "--seed", "1", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, printed.decode()
    assert re.search(r"Operations: +17 selected / 17 total", printed.decode())


async def test_scripts_of_other_pages_may_read_every_interface(client):
    for path in ("/api/v1/nodes", "/api/v2/summary.json", "/badge/hk.svg", "/badge.json"):
        async with client.get(path) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
        asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
        async with client.options(path, headers=asking) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    async with client.options("/") as response:
        assert response.status == 405


# Statuspage


async def test_statuspages_summary_tells_every_node_and_what_goes_on(client):
    _, told = await get(client, "/api/v2/summary.json?lang=en")
    assert list(told) == ["page", "components", "incidents", "scheduled_maintenances", "status"]
    assert {c["id"]: c["status"] for c in told["components"]} == {
        "hk": "operational",
        "jp": "degraded_performance",
        "sg": "major_outage",
        "us-west": "under_maintenance",
        "de": "operational",
    }
    assert told["components"][-1]["description"] == "Unknown, last known: Up"
    assert told["status"]["indicator"] == "minor"
    assert "2 of 5 nodes" in told["status"]["description"]
    assert [incident["id"] for incident in told["incidents"]] == ["c0ffee000001"]
    (maintained,) = told["scheduled_maintenances"]
    assert (maintained["status"], maintained["scheduled_until"]) == (
        "in_progress",
        "2026-11-21T10:00:00Z",
    )
    assert [component["id"] for component in maintained["components"]] == ["us-west"]


@pytest.mark.parametrize(
    ("states", "indicator"),
    [
        (["up"] * 5, "none"),
        (["up", "degraded", "up", "up", "up"], "minor"),
        (["up", "down", "up", "up", "up"], "minor"),
        (["up", "maintenance", "up", "up", "up"], "maintenance"),
        (["down"] * 5, "critical"),
    ],
)
async def test_statuspages_indicator_follows_the_nodes(sources, client, states, indicator):
    sources.health = tuple(
        replace(
            health,
            state=State(state),
            last_probe=NOW - 1,
            wish=Override.use,
            verdict="ok" if state == "up" else "connect_timeout",
        )
        for health, state in zip(HEALTH, states, strict=True)
    )
    _, told = await get(client, "/api/v2/status.json")
    assert told["status"]["indicator"] == indicator


async def test_statuspages_lists_agree_with_its_summary(client):
    told = {name: (await get(client, f"/api/v2/{name}.json"))[1] for name in V2}
    summary = told["summary"]
    assert all(document["page"] == summary["page"] for document in told.values())
    assert told["components"]["components"] == summary["components"]
    assert told["incidents/unresolved"]["incidents"] == summary["incidents"]
    assert len(told["incidents"]["incidents"]) == 3
    active = told["scheduled-maintenances/active"]["scheduled_maintenances"]
    assert active == summary["scheduled_maintenances"]
    assert told["scheduled-maintenances/upcoming"]["scheduled_maintenances"] == []


# What operators announce

EVIL = "<script>alert(1)</script>\x1b[2J"
MOVING = Text("", f"We move to Tokyo. {EVIL}")
LOOKING = Text("正在排查", "Looking into it")
ANNOUNCED = Announced(
    {"c0ffee000001": IncidentEdit("c0ffee000001", Text("新加坡线路被干扰", ""), "major")},
    {
        "c0ffee000001": (
            Update(
                2, "c0ffee000001", NOW - 60, "identified", Text("", f"We move to Tokyo. {EVIL}")
            ),
            Update(
                1, "c0ffee000001", NOW - 3600, "investigating", Text("正在排查", "Looking into it")
            ),
        ),
        "m1": (Update(3, "m1", NOW - 30, "scheduled", Text("将提前通知", "We will say when")),),
    },
    (
        Maintenance(
            "m1", Text("升级", "Upgrade"), ("hk",), NOW + 3600, NOW + 7200, NOW - 90, NOW - 90
        ),
        Maintenance("m2", Text("换线", ""), ("us-west",), NOW - 60, NOW + 60, NOW - 90, NOW - 90),
        Maintenance("m3", Text("", "Done"), ("jp",), NOW - 900, NOW - 600, NOW - 999, NOW - 999),
        Maintenance(
            "m4", Text("", "No"), ("jp",), NOW + 9, NOW + 99, NOW - 99, NOW - 9, None, NOW - 9
        ),
    ),
)


@pytest.fixture
async def announced(sources):
    sources.announced_ = ANNOUNCED
    async with serving(build_public_app(sources, lambda: NOW)) as session:
        yield session


async def test_operators_words_on_an_incident_are_told_in_every_form(announced):
    _, told = await get(announced, "/api/v2/incidents/unresolved.json?lang=en")
    (incident,) = told["incidents"]
    assert (incident["name"], incident["status"]) == ("新加坡线路被干扰", "identified")
    assert (incident["impact"], incident["updated_at"]) == ("major", "2026-11-21T08:59:00Z")
    bodies = [update["body"] for update in incident["incident_updates"]]
    assert bodies[0].startswith("We move to Tokyo.")
    assert bodies[1] == "Looking into it"
    assert "\x1b" not in bodies[0]
    _, told = await get(announced, "/api/v1/incidents")
    first = told["incidents"][0]
    assert first["title"] == {"zh": "新加坡线路被干扰", "en": ""}
    assert first["updates"][1] == {
        "at": "2026-11-21T08:00:00Z",
        "status": "investigating",
        "text": {"zh": "正在排查", "en": "Looking into it"},
    }
    async with announced.get("/feed.atom?lang=zh") as response:
        read = feedparser.parse(await response.read())
    (entry,) = [each for each in read.entries if each.id.endswith(":c0ffee000001")]
    assert entry.title == "新加坡线路被干扰 (进行中)"
    assert "正在排查" in entry.content[0].value
    for path in ("/", "/history", "/nodes/sg"):
        async with announced.get(f"{path}?lang=zh", headers=BROWSER) as response:
            page = await response.text()
        assert "新加坡线路被干扰" in page, path
        assert "正在排查" in page, path
        assert EVIL not in page, path


@pytest.mark.parametrize(
    ("said", "told"), [("identified", "identified"), ("resolved", "monitoring")]
)
async def test_an_open_incident_is_not_called_resolved_by_its_last_update(sources, said, told):
    message = Update(1, "c0ffee000001", NOW, said, LOOKING)
    sources.announced_ = Announced(updates={"c0ffee000001": (message,)})
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        _, answer = await get(client, "/api/v2/incidents/unresolved.json")
    assert [incident["status"] for incident in answer["incidents"]] == [told]


async def test_planned_maintenance_is_told_as_statuspage_tells_it(announced):
    told = {
        name: {
            each["id"]: each["status"]
            for each in (await get(announced, f"/api/v2/{name}.json?lang=en"))[1][
                "scheduled_maintenances"
            ]
        }
        for name in ("summary", *(name for name in V2 if name.startswith("scheduled")))
    }
    assert told == {
        "summary": {"m1": "scheduled", "m2": "in_progress"},
        "scheduled-maintenances": {"m1": "scheduled", "m2": "in_progress", "m3": "completed"},
        "scheduled-maintenances/active": {"m2": "in_progress"},
        "scheduled-maintenances/upcoming": {"m1": "scheduled"},
    }
    _, upcoming = await get(announced, "/api/v2/scheduled-maintenances/upcoming.json?lang=en")
    (planned,) = upcoming["scheduled_maintenances"]
    assert planned["name"] == "Upgrade"
    assert planned["scheduled_for"] == "2026-11-21T10:00:00Z"
    assert [component["id"] for component in planned["components"]] == ["hk"]
    assert planned["incident_updates"][0]["body"] == "We will say when"


@pytest.mark.parametrize(
    ("language", "named"),
    [("en", "香港, 日本 东京: Maintenance"), ("zh", "香港、日本 东京：维护")],
)
async def test_a_maintenance_without_a_title_is_named_after_its_nodes(sources, language, named):
    nameless = Maintenance("m1", Text("", ""), ("hk", "jp"), NOW + 60, NOW + 660, NOW - 9, NOW - 9)
    sources.announced_ = Announced(maintenances=(nameless,))
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        _, summary = await get(client, f"/api/v2/summary.json?lang={language}")
        async with client.get(f"/feed.atom?lang={language}") as response:
            read = feedparser.parse(await response.read())
    (plan,) = [each for each in summary["scheduled_maintenances"] if each["id"] == "m1"]
    assert plan["name"] == named
    assert plan["incident_updates"][-1]["body"] == named
    assert any(entry.id == "urn:mirrorgate:maintenance:m1" for entry in read.entries)


async def test_maintenances_are_told_with_their_words_and_their_end(announced):
    _, told = await get(announced, "/api/v1/maintenances?limit=3")
    assert [(each["id"], each["status"], each["ended_at"]) for each in told["maintenances"]] == [
        ("m1", "scheduled", None),
        ("m2", "in_progress", None),
        ("m3", "completed", "2026-11-21T08:50:00Z"),
    ]
    first = told["maintenances"][0]
    assert first["title"] == {"zh": "升级", "en": "Upgrade"}
    assert (first["starts_at"], first["ends_at"]) == (
        "2026-11-21T10:00:00Z",
        "2026-11-21T11:00:00Z",
    )
    assert first["nodes"] == [{"id": "hk", "name": "香港"}]
    assert first["updates"][0]["text"]["en"] == "We will say when"
    _, rest = await get(announced, f"/api/v1/maintenances?after={told['next']}")
    assert [(each["id"], each["status"]) for each in rest["maintenances"]] == [("m4", "cancelled")]
    assert rest["next"] is None


async def test_a_feed_reader_hears_of_maintenance_and_of_its_end(announced):
    async with announced.get("/feed.atom?lang=en") as response:
        read = feedparser.parse(await response.read())
    plans = {e.id.rpartition(":")[2]: e for e in read.entries if "maintenance" in e.id}
    assert {id: entry.title for id, entry in plans.items()} == {
        "m1": "香港: Upgrade (planned)",
        "m2": "美西: 换线 (under way)",
        "m3": "日本 东京: Done (completed)",
        "m4": "日本 东京: No (called off)",
    }
    said = plans["m1"].content[0].value
    assert "2026-11-21T10:00:00Z to 2026-11-21T11:00:00Z" in said
    assert "We will say when" in said
    assert "The maintenance has begun." in plans["m2"].content[0].value
    assert plans["m3"].updated_parsed[:5] == (2026, 11, 21, 8, 50)
    published = [entry.published_parsed for entry in read.entries]
    assert published == sorted(published, reverse=True)


async def test_operators_words_are_in_the_text_page(announced):
    async with announced.get("/?lang=en", headers={"User-Agent": "curl/8"}) as response:
        lines = (await response.text()).splitlines()
    begin = lines.index("Open incidents")
    told = lines[begin : lines.index("", begin)]
    assert "新加坡线路被干扰" in told[1]
    assert "We move to Tokyo." in told[2]
    assert told[3].endswith("Looking into it")
    assert any(line.endswith("We will say when") for line in lines)


async def test_announcements_match_the_description(sources, announced):
    await test_every_answer_is_as_described_and_has_nothing_else(sources, announced, None)


# Badges


@pytest.mark.parametrize(
    ("query", "label", "message", "tone"),
    [
        ("", "香港", "Up", "up"),
        ("&metric=uptime", "香港 · 30 days", "99.30 %", "degraded"),
        ("&metric=uptime&window=24h", "香港 · 24 hours", "100 %", "up"),
        ("&metric=latency", "香港 · Latency", "278 ms", "up"),
    ],
)
async def test_a_badge_says_the_same_as_a_picture_and_for_shields(
    client, query, label, message, tone
):
    async with client.get(f"/badge/hk.svg?lang=en{query}") as response:
        assert (response.status, response.content_type) == (200, "image/svg+xml")
        drawn = ET.fromstring(await response.text())
    assert drawn.get("aria-label") == f"{label}: {message}"
    assert [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")] == [
        label,
        message,
    ]
    assert float(drawn.get("width", 0)) > width(label) + width(message)
    _, told = await get(client, f"/badge/hk.json?lang=en{query}")
    assert told == {
        "schemaVersion": 1,
        "label": label,
        "message": message,
        "color": COLOURS[tone],
        "isError": False,
        "cacheSeconds": 300,
    }


async def test_a_badge_of_the_whole_says_what_the_page_says(client):
    _, told = await get(client, "/badge.json?lang=en")
    assert (told["label"], told["color"]) == ("小鹿 API", COLOURS["degraded"])
    assert told["message"] == "Service available: 2 of 5 nodes in service"


async def test_the_language_of_a_badge_is_in_its_address_alone(client):
    english = {"Accept-Language": "en"}
    async with client.get("/badge/hk.svg", headers=english) as response:
        assert "Vary" not in response.headers
        assert ">正常<" in await response.text()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/badge/nobody", 404), ("/badge/off", 404), ("/badge/hk", 400)],
)
async def test_a_badge_that_cannot_be_drawn_is_a_picture_all_the_same(client, path, status):
    async with client.get(f"{path}.svg?metric=x") as response:
        assert response.status == status
        assert str(status) in "".join(ET.fromstring(await response.text()).itertext())
    assert (await get(client, f"{path}.json?metric=x"))[0] == status


async def test_hostile_names_stay_text_in_badges_and_the_feed(sources, client):
    evil = "</text><script>alert(1)</script>\"'&\x1b\u202e"
    sources.mirrors_ = (replace(sources.mirrors_[0], name=evil),)
    for path in ("/badge/hk.svg", "/badge.svg", "/feed.atom"):
        async with client.get(path) as response:
            told = await response.text()
        assert not [tag.tag for tag in ET.fromstring(told).iter() if "script" in str(tag.tag)]
        assert not {"\x1b", "\u202e"} & set(told)


# The feed


async def test_a_feed_reader_takes_the_feed(client):
    async with client.get("/feed.atom?lang=en") as response:
        read = feedparser.parse(await response.read())
    assert (read.bozo, read.version) == (False, "atom10")
    assert read.feed.title == "Incidents and maintenance of 小鹿 API"
    assert [entry.id.rpartition(":")[2] for entry in read.entries] == [
        "c0ffee000001",
        "c0ffee000002",
        "c0ffee000003",
    ]
    assert read.entries[1].updated_parsed[:5] == (2026, 11, 18, 9, 20)
    assert read.entries[1].link == "https://status.example.com/incidents/c0ffee000002"
    assert "is down" in read.entries[1].content[0].value


async def test_a_feed_without_incidents_is_one(sources, client):
    sources.past_ = Past()
    async with client.get("/feed.atom") as response:
        read = feedparser.parse(await response.read())
    assert (read.bozo, read.entries) == (False, [])
