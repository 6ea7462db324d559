"""Texts of others stay texts, in every format that the public reads."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from dashboard.common.assets import address
from dashboard.common.config import DashboardConfig, EntranceConfig, LinkConfig
from dashboard.public.app import build_public_app
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.languages import Text
from monitor.diagnosis.evidence import Code
from monitor.health.announcements import Announced, Maintenance, ManualIncident, Update
from monitor.health.incidents import Incident, Part
from monitor.health.past import Past
from monitor.health.snapshot import MirrorHealth, PathHealth, Standing, State, VantageHealth
from tests.cases.hostile_texts import HOSTILE_TEXTS
from tests.testkit.dashboard import BROWSER, NOW, FakeSources, serving

PAGES = ("/", "/nodes/bad", "/history", "/banned", "/docs", "/banned/me")
DATA = ("/api/v1/nodes", "/api/v1/incidents", "/api/v1/bans", "/api/v2/incidents.json")
OURS = {"script", "svg", "path", "rect", "circle"}
CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069]")


class Tags(HTMLParser):
    """The tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def sources_saying(text: str) -> FakeSources:
    """Everything that others can name says this."""
    evidence = (Code.as_written(text=text),)
    path = PathHealth(
        "bad.example.com", "192.0.2.1", Standing.held, verdict=text, evidence=evidence
    )
    health = MirrorHealth(
        "bad",
        State.down,
        NOW - 60,
        text,
        last_probe=NOW,
        cdn_detected=text,
        detail=Code.as_written(text=text),
        evidence=evidence,
        paths=(path,),
        vantages=(VantageHealth(text, State.up, text, at=NOW, lasts=True),),
    )
    parts = (Part("bad", text, NOW - 60), Part("gone", text, NOW - 60, NOW, 3))
    incident = Incident("i1", "v", text, text, "minor", NOW - 60, None, NOW, parts)
    return FakeSources(
        (MirrorConfig("bad", "https://bad.example.com", name=text, region=text),),
        (health,),
        (Ban("b1", "127.0.0.1/32", NOW, None, text, "operator", user_agent=text),),
        DashboardConfig(
            title=text,
            notice={"zh": text, "en": text},
            contact=text,
            entrances=(EntranceConfig("https://api.example.com/v1", text),),
            links=(LinkConfig(text, "https://example.com/"),),
        ),
        past_=Past(incidents=(incident,)),
        announced_=Announced(
            updates={"0p": (Update(1, "0p", NOW, "identified", Text(text, text)),)},
            maintenances=(Maintenance("m", Text("", ""), (text,), NOW + 9, NOW + 99, NOW, NOW),),
            manual=(ManualIncident("0p", Text(text, text), "major", (text,), NOW - 60, NOW),),
        ),
        banned_visitors=("127.0.0.1",),
    )


@pytest.mark.parametrize("number", range(len(HOSTILE_TEXTS)))
async def test_a_hostile_text_is_shown_and_does_nothing(number):
    text = HOSTILE_TEXTS[number]
    harmless = [(tag, set(fields)) for tag, fields in await tags_of("harmless")]
    told = await tags_of(text)
    assert [(tag, set(fields)) for tag, fields in told] == harmless
    for _, fields in told:
        for name, value in fields.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("href", "src", "action"):
                assert not (value or "").lower().lstrip().startswith(("javascript:", "//"))
            if name == "src":
                assert value == address("page.js")


async def tags_of(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """The tags of every page; on the way, its text is looked at, and all other formats."""
    sources, found = sources_saying(text), []
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        for path in PAGES:
            async with client.get(f"{path}?lang=en", headers=BROWSER) as response:
                assert response.status == 200
                assert "owned" not in str(response.headers)
                page = await response.text()
            assert not CONTROLS.search(page), path
            found += Tags(page).found
        for path in DATA:
            async with client.get(path) as response:
                assert response.content_type == "application/json"
                raw = await response.text()
            assert isinstance(json.loads(raw), dict)
            assert not CONTROLS.search(raw)
        async with client.get("/feed.atom") as response:
            ET.fromstring(await response.text())
        async with client.get("/", headers={"User-Agent": "curl/8"}) as response:
            assert response.content_type == "text/plain"
            assert not CONTROLS.search(await response.text())
        async with client.get("/events?lang=en&v=old") as response:
            await response.content.readuntil(b"\n\n")
            assert await response.content.readuntil(b"\n\n") == b"event: reload\ndata: {}\n\n"
    return found


async def test_hidden_hosts_do_not_appear_in_live_updates():
    sources = sources_saying("x")
    sources.dashboard_ = replace(sources.dashboard_, show_hosts=False, bans="off")
    clock = [NOW]
    app = build_public_app(sources, lambda: clock[0])
    async with serving(app) as client, client.get("/events?lang=en") as response:
        await response.content.readuntil(b"\n\n")
        sources.health = (replace(sources.health[0], state=State.up, verdict="ok"),)
        clock[0] += 1
        told = (await response.content.readuntil(b"\n\n")).decode()
    assert told.startswith("event: parts\ndata: {")
    parts = json.loads(told.partition("data: ")[2])["parts"]
    assert {"banner", "node-bad"} <= parts.keys()
    for hidden in ("bad.example.com", "192.0.2.1", "127.0.0.1"):
        assert hidden not in told


async def test_a_banned_visitor_is_told_and_nobody_else():
    sources = sources_saying("too_many_connections")
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        async with client.get("/?lang=en", headers=BROWSER) as response:
            page = await response.text()
            assert response.headers["Cache-Control"] == "no-store"
        assert "Your address is banned (id b1)" in page
        async with client.get("/banned/me?lang=en", headers=BROWSER) as response:
            mine = await response.text()
            assert response.headers["Cache-Control"] == "no-store"
        for shown in ("127.0.0.1 is banned", "b1", "limit parallel requests"):
            assert shown in mine
        sources.banned_visitors = ()
        for path in ("/?lang=en", "/banned/me?lang=en"):
            async with client.get(path, headers=BROWSER) as response:
                assert "is banned" not in await response.text()
