"""The past on the status page, over real sockets: uptime, days, incidents, the feed."""

import re
from dataclasses import replace
from html import unescape
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from aiohttp import ClientSession

from dashboard.i18n.texts import Words
from dashboard.public.app import build_public_app
from dashboard.public.charts import HEIGHTS, day_bars, level
from dashboard.public.incidents import page_after
from monitor.common.languages import Text
from monitor.diagnosis.telling import what
from monitor.health.announcements import Announced, Maintenance
from monitor.health.incidents import Incident, Part
from monitor.health.past import Past
from monitor.health.uptime import Known
from tests.testkit.dashboard import BROWSER, INCIDENTS, NOW, FakeSources, past, serving

SNI = Text(what("sni_block_rst", "zh"), what("sni_block_rst", "en"))
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture
def sources() -> FakeSources:
    return FakeSources()


@pytest.fixture
async def client(sources):
    async with serving(build_public_app(sources, lambda: NOW)) as session:
        yield session


async def text(client: ClientSession, path: str, **headers: str) -> str:
    async with client.get(path, headers={**BROWSER, **headers}) as response:
        return await response.text()


async def get_json(client: ClientSession, path: str, status: int = 200) -> Any:
    async with client.get(path) as response:
        assert response.status == status
        return await response.json()


async def test_days_are_told_in_seconds_and_in_text(client):
    told = await get_json(client, "/api/v1/nodes/hk/days?n=2")
    assert (told["id"], told["timezone"]) == ("hk", "Asia/Shanghai")
    assert told["days"] == [
        {
            "day": "2026-11-20",
            "up_s": 85_700,
            "degraded_s": 0,
            "down_s": 600,
            "maintenance_s": 0,
            "unknown_s": 100,
            "percent": "99.30",
            "coverage_percent": "99.88",
        },
        {
            "day": "2026-11-21",
            "up_s": 86_400,
            "degraded_s": 0,
            "down_s": 0,
            "maintenance_s": 0,
            "unknown_s": 0,
            "percent": "100",
            "coverage_percent": "100",
        },
    ]
    whole = await get_json(client, "/api/v1/nodes/hk/days")
    assert whole["days"][0]["percent"] is None
    assert whole["days"][0]["unknown_s"] == 86_400
    assert (await get_json(client, "/api/v1/nodes/sg/days"))["days"] == []


@pytest.mark.parametrize("query", ["n=0", "n=91", "n=x", "n=-1", "n="])
async def test_a_bad_number_of_days_is_refused_with_a_sentence(client, query):
    told = await get_json(client, f"/api/v1/nodes/hk/days?{query}", 400)
    assert told["error"]["message"].startswith("n: expected")


async def test_a_node_without_history_has_no_percentage(client):
    node = await get_json(client, "/api/v1/nodes/sg")
    assert node["uptime"]["90d"] == {"percent": None, "coverage_percent": "0"}


async def test_incidents_are_told_newest_first_and_page_by_page(client):
    told = await get_json(client, "/api/v1/incidents?limit=2")
    assert [incident["status"] for incident in told["incidents"]] == ["open", "resolved"]
    assert told["incidents"][1] == {
        "id": "c0ffee000002",
        "status": "resolved",
        "manual": False,
        "impact": "critical",
        "verdict": "ip_unreachable",
        "cdn": "cloudflare",
        "started_at": "2026-11-18T09:00:00Z",
        "resolved_at": "2026-11-18T09:20:00Z",
        "updated_at": "2026-11-18T09:20:00Z",
        "title": {"zh": "", "en": ""},
        "updates": [],
        "nodes": [
            {
                "id": "hk",
                "name": "香港",
                "verdict": "ip_unreachable",
                "since": "2026-11-18T09:00:00Z",
                "until": "2026-11-18T09:15:00Z",
                "times": 2,
                "downtime_s": 0,
            },
            {
                "id": "gone",
                "name": "gone",
                "verdict": "connect_timeout",
                "since": "2026-11-18T09:01:00Z",
                "until": "2026-11-18T09:20:00Z",
                "times": 1,
                "downtime_s": 0,
            },
        ],
    }
    rest = await get_json(client, f"/api/v1/incidents?limit=2&after={told['next']}")
    assert [incident["id"] for incident in rest["incidents"]] == ["c0ffee000003"]
    assert rest["next"] is None
    for query in ("limit=0", "limit=201", "limit=x", "after=nothing"):
        await get_json(client, f"/api/v1/incidents?{query}", 400)


def test_an_incident_that_came_meanwhile_moves_no_page():
    rows: list[Any] = [Incident(str(n), "", "", "", "", n, n, n, ()) for n in range(5)]
    first = page_after(rows, "", 2)
    assert first is not None
    newer: list[Any] = [Incident("new", "", "", "", "", 9, 9, 9, ()), *rows]
    second = page_after(newer, first[1] or "", 2)
    assert second is not None
    assert [row.id for row in second[0]] == ["2", "3"]


async def test_statuspages_clients_find_what_they_read(client, sources):
    sources.dashboard_ = replace(sources.dashboard_, public_url="https://status.example.com/")
    told = await get_json(client, "/api/v2/incidents.json?lang=en")
    assert told["page"] == {
        "id": "mirrorgate",
        "name": "小鹿 API",
        "url": "https://status.example.com/",
        "time_zone": "Asia/Shanghai",
        "updated_at": "2026-11-21T08:59:57Z",
    }
    goes_on, ended, _ = told["incidents"]
    assert (goes_on["status"], goes_on["resolved_at"]) == ("investigating", None)
    assert goes_on["shortlink"] == "https://status.example.com/incidents/c0ffee000001"
    assert ended["name"] == "香港, gone: the address cannot be reached"
    assert (ended["status"], ended["impact"]) == ("resolved", "critical")
    course = ended["incident_updates"]
    assert [update["status"] for update in course] == [
        "resolved",
        "monitoring",
        "monitoring",
        "investigating",
        "investigating",
    ]
    assert course[-1]["body"] == "香港 is down: the address cannot be reached."
    assert len({update["id"] for update in course}) == len(course)
    assert all(update["incident_id"] == ended["id"] for update in course)


async def test_the_feed_can_be_subscribed_to(client, sources):
    async with client.get("/feed.atom?lang=zh") as response:
        assert response.content_type == "application/atom+xml"
        feed = ET.fromstring(await response.read())
    entries = feed.findall(f"{ATOM}entry")
    assert [entry.findtext(f"{ATOM}id") for entry in entries] == [
        f"urn:mirrorgate:incident:{incident.id}" for incident in INCIDENTS
    ]
    assert entries[0].findtext(f"{ATOM}title") == f"Singapore：{SNI[0]} (进行中)"
    assert feed.findtext(f"{ATOM}updated") == "2026-11-21T07:30:00Z"
    for entry in entries:
        for name in ("title", "id", "updated", "published", "content", "link"):
            assert entry.find(f"{ATOM}{name}") is not None, name


@pytest.mark.parametrize(
    ("lang", "state", "extent", "rose"),
    [
        ("en", "resolved", "all nodes", "香港 has recovered."),
        ("zh", "已恢复", "全部节点", "香港 已恢复。"),
    ],
)
async def test_an_incident_has_a_page_with_its_course(client, lang, state, extent, rose):
    page = await text(client, f"/incidents/c0ffee000002?lang={lang}")
    banner = page[page.index('class="banner') : page.index("</section>")]
    assert state in banner
    assert extent in page
    course = page[page.index('class="timeline"') : page.index("</ol>")]
    newest, oldest = course.index("2026-11-18T09:20:00Z"), course.rindex("2026-11-18T09:00:00Z")
    assert newest < course.index(rose) < oldest
    concerned = page[page.index('id="concerned"') :]
    assert f'<a href="/nodes/hk?lang={lang}">' in concerned
    assert "gone" in concerned
    assert "/nodes/gone" not in concerned


async def test_only_an_incident_that_goes_on_is_asked_for_again(client):
    assert "data-poll" in await text(client, "/incidents/c0ffee000001")
    assert "data-poll" not in await text(client, "/incidents/c0ffee000002")
    for path in ("/incidents/none", "/incidents/c0ffee000001x", "/maintenances/c0ffee000001"):
        async with client.get(path, headers=BROWSER) as response:
            assert response.status == 404


async def test_every_link_of_the_feed_leads_to_a_page_of_that_title(client, sources):
    plan = Maintenance("m1", Text("升级", "Upgrade"), ("hk",), 1.0, 2.0, 0.5, 0.5)
    sources.announced_ = Announced(maintenances=(plan,))
    feed = ET.fromstring(await text(client, "/feed.atom?lang=en"))
    entries = feed.findall(f"{ATOM}entry")
    assert len(entries) == len(INCIDENTS) + 1
    for entry in entries:
        title, link = entry.findtext(f"{ATOM}title"), entry.find(f"{ATOM}link")
        assert title
        assert link is not None
        async with client.get(f"{link.attrib['href']}?lang=en", headers=BROWSER) as response:
            assert response.status == 200
            assert title.rpartition(" (")[0] in unescape(await response.text())


async def test_the_id_in_the_feed_stays_when_an_incident_ends(client, sources):
    before = await text(client, "/feed.atom")
    ended = replace(INCIDENTS[0], resolved_at=NOW, updated_at=NOW)
    sources.past_ = replace(past(), incidents=(ended,))
    async with serving(build_public_app(sources, lambda: NOW)) as later:
        after = await text(later, "/feed.atom")
    name = "<id>urn:mirrorgate:incident:c0ffee000001</id>"
    assert name in before
    assert name in after
    assert "<updated>2026-11-21T09:00:00Z</updated>" in after


async def test_open_incidents_are_on_top_and_past_ones_below(client):
    page = await text(client, "/?lang=en")
    opened, nodes = page.index("Open incidents"), page.index('id="nodes"')
    ended = page.index("Incidents of the last 14 days")
    assert opened < page.index('id="c0ffee000001"') < nodes < ended
    assert ended < page.index('id="c0ffee000002"')
    assert "c0ffee000003" not in page
    assert "for 1 h" in page
    plain = await text(client, "/?lang=en", Accept="text/plain")
    assert "Open incidents" in plain
    assert f"Singapore: {SNI[1]}" in plain
    assert "99.30 %" in plain


async def test_without_incidents_the_page_says_so(client, sources):
    sources.past_ = Past()
    page = await text(client, "/?lang=en")
    assert "Open incidents" not in page
    assert "No incidents in the last 14 days." in page
    assert "No incident has been recorded." in await text(client, "/history?lang=en")


async def test_a_page_without_a_past_explains_what_is_empty(client, sources):
    sources.past_, sources.health = Past(), ()
    page = await text(client, "/?lang=en")
    assert "The first probes are on their way" in page
    assert page.count("Recording begins") == 5
    node = await text(client, "/nodes/hk?lang=en")
    assert "No probe has been made yet." in node
    assert "legend" not in node, "of a chart that is not there"


@pytest.mark.parametrize(
    ("lang", "months"), [("en", ["Nov 2026", "Sep 2026"]), ("zh", ["2026年11月", "2026年9月"])]
)
async def test_the_history_goes_month_by_month(client, lang, months):
    page = await text(client, f"/history?lang={lang}")
    found = re.findall(r'<h2 id="month-\d+">(.+?)</h2>', page)
    assert found == months
    for incident in INCIDENTS:
        assert f'id="{incident.id}"' in page


async def test_a_long_history_comes_page_by_page(client, sources):
    incident = INCIDENTS[1]
    many = tuple(replace(incident, id=f"{n:012x}", started_at=NOW - n * 3600) for n in range(120))
    sources.past_ = replace(past(), incidents=many)
    told, path = [], "/history?lang=en"
    while path:
        page = await text(client, path)
        told += re.findall(r'<li id="([0-9a-f]{12})"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert told == [incident.id for incident in many]
    async with client.get("/history?after=nonsense", headers=BROWSER) as response:
        assert response.status == 404


async def test_a_node_shows_its_days_and_its_incidents(client):
    page = await text(client, "/nodes/hk?lang=en")
    assert page.count('<path class="d-') == 3
    assert "The last 3 days: 1 with failures, 1 unknown" in page
    assert "Days with failures (1)" in page
    assert '<td class="number">99.88 %</td>' in page
    assert "c0ffee000002" in page
    assert "c0ffee000001" not in page
    assert 'class="days"' not in await text(client, "/nodes/sg?lang=en")


def test_a_day_is_as_bad_as_it_was():
    whole = 86_400_000
    cases = {
        "up": Known(up=whole, covered=whole, total=whole),
        "degraded": Known(up=whole - 1000, down=1000, covered=whole, total=whole),
        "down": Known(down=whole, covered=whole, total=whole),
        "maintenance": Known(maintenance=whole, covered=whole, total=whole),
        "unknown": Known(total=whole),
    }
    assert {name: level(known) for name, known in cases.items()} == {n: n for n in cases}
    assert len(set(HEIGHTS.values())) == len(HEIGHTS), "colour is never the only sign"


def test_bars_say_in_words_what_they_show():
    days = past().days["hk"]
    zh, en = day_bars(days, Words("zh")), day_bars(days, Words("en"))
    assert 'aria-label="最近 3 天：1 天有故障，1 天未知"' in zh
    assert 'aria-label="The last 3 days: 1 with failures, 1 unknown"' in en
    assert 'data-days="2026-11-21|,0,1440;99.30,10,1;"' in en
    assert day_bars((), Words("en")) == ""


async def test_a_name_in_an_incident_stays_text(sources):
    bad = Incident("i", "v", "<b>", "<i>", "minor", NOW, None, NOW, (Part("<u>", "<s>", NOW),))
    sources.past_ = Past(incidents=(bad,))
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        for path in ("/", "/history", "/feed.atom"):
            page = await text(client, path)
            assert "<u>" not in page
            assert "<s>" not in page
