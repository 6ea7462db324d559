"""The public listener over real sockets: pages, JSON, text, and what they never tell."""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Hashable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import jinja2
import pytest
from aiohttp import ClientSession, web
from yarl import URL

from dashboard.common.assets import THEME_SCRIPT, address
from dashboard.common.config import DashboardConfig
from dashboard.common.context import RENDERINGS
from dashboard.common.sources import Ejection, Waiting
from dashboard.common.templates import templates
from dashboard.public.app import build_public_app
from dashboard.public.badges import METRICS
from dashboard.public.pages import BANS_ON_FRONT
from dashboard.public.plain import width
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.diagnosis.evidence import Code
from monitor.health.past import Past
from monitor.health.snapshot import MirrorHealth, Override, State, VantageHealth
from tests.testkit.dashboard import (
    API_KEY,
    BROWSER,
    CLIENT,
    CONFIG_PROBLEM,
    DETAIL,
    HEALTH,
    MIRRORS,
    NOW,
    SHUT,
    V2,
    FakeSources,
    bans,
    serving,
)
from tests.testkit.mmdb import write_mmdb

PAGES = (
    "/",
    "/nodes/hk",
    "/nodes/jp",
    "/history",
    "/banned",
    "/docs",
    "/key",
    "/nowhere",
    "/nodes/nobody",
)
DATA = (
    "/api/v1/nodes",
    "/api/v1/nodes/hk",
    "/api/v1/nodes/sg",
    "/api/v1/nodes/nobody",
    "/api/v1/nodes/hk/days",
    "/api/v1/nodes/nobody/days",
    "/api/v1/incidents",
    "/api/v1/incidents?after=x",
    "/api/v1/openapi.json",
    *(f"/api/v2/{name}.json" for name in V2),
    "/badge.svg",
    "/badge.json",
    *(f"/badge/sg.{form}?metric={metric}" for form in ("svg", "json") for metric in METRICS),
    "/badge/nobody.svg",
    "/feed.atom",
    "/api/v1/bans",
    "/api/v1/bans?limit=x",
    "/api/v1/health",
    "/api/v1/nowhere",
    "/robots.txt",
    "/static/style.css",
)


@pytest.fixture
def sources() -> FakeSources:
    return FakeSources()


@pytest.fixture
def app(sources) -> web.Application:
    return build_public_app(sources, lambda: NOW)


@pytest.fixture
async def client(app):
    async with serving(app) as session:
        yield session


async def text(client: ClientSession, path: str, **headers: str) -> str:
    async with client.get(path, headers={**BROWSER, **headers}) as response:
        return await response.text()


async def get_json(client: ClientSession, path: str) -> Any:
    async with client.get(path) as response:
        return await response.json()


async def test_nodes_are_told_as_promised(client):
    told = await get_json(client, "/api/v1/nodes")
    assert told["generated_at"] == "2026-11-21T09:00:00Z"
    assert told["vantages"] == ["sh-1"]
    assert [node["id"] for node in told["nodes"]] == ["hk", "jp", "sg", "us-west", "de"]
    assert told["nodes"][0] == {
        "id": "hk",
        "name": "香港",
        "host": "api-hk.example.com",
        "region": "香港",
        "cdn": {"declared": True, "detected": "cloudflare"},
        "state": "up",
        "since": "2026-11-13T09:00:00Z",
        "verdict": "ok",
        "summary": {
            "zh": "正常：可以访问，API 有应答。请求会发往该镜像。",
            "en": "Works: it can be reached and the API answers. Requests go to this mirror.",
        },
        "held_until": None,
        "in_rotation": True,
        "ejection": None,
        "last_probe_at": "2026-11-21T08:59:48Z",
        "dns_verdict": "ok",
        "certificate_ends": "2026-12-21T09:00:00Z",
        "paths": [],
        "vantages": {
            "sh-1": {
                "state": "up",
                "verdict": "ok",
                "latency_ms": {"resolve": 3, "connect": 31, "tls": 64, "first_byte": 180},
            }
        },
        "uptime": {
            "24h": {"percent": "100", "coverage_percent": "100"},
            **{w: {"percent": "99.30", "coverage_percent": "99.88"} for w in ("7d", "30d", "90d")},
        },
    }
    assert await get_json(client, "/api/v1/nodes/hk") == told["nodes"][0]


async def test_a_node_that_works_from_elsewhere_only_is_told_as_such():
    there = [VantageHealth(name, State.up, "ok", lasts=True) for name in ("tokyo", "paris")]
    silent = VantageHealth("berlin", lasts=True)
    (sg,) = (health for health in HEALTH if health.id == "sg")
    mirrors = tuple(mirror for mirror in MIRRORS if mirror.id == "sg")
    sources = FakeSources(mirrors, (replace(sg, vantages=(*there, silent)),))
    in_english = "Works from tokyo, paris, not from sh-1."
    in_chinese = "从 tokyo、paris 可用，从 sh-1 不可用。"
    async with serving(build_public_app(sources, lambda: NOW)) as session:
        for page in ("/", "/nodes/sg"):
            assert in_english in await text(session, f"{page}?lang=en")
            assert in_chinese in await text(session, f"{page}?lang=zh")
        assert in_english in await text(session, "/?lang=en", **{"User-Agent": "curl/8"})
        told = await get_json(session, "/api/v1/nodes")
    assert told["vantages"] == ["sh-1", "tokyo", "paris", "berlin"]
    states = {name: each["state"] for name, each in told["nodes"][0]["vantages"].items()}
    assert states == {"sh-1": "down", "tokyo": "up", "paris": "up", "berlin": "unknown"}


@pytest.mark.parametrize(
    ("until", "in_chinese", "in_english"),
    [
        (NOW + 8, "没有及时响应 · 至 ", "no answer came in time · until "),
        (
            None,
            "没有及时响应 · 正以个别请求试探是否恢复",
            "single requests try whether it has recov",
        ),
    ],
)
async def test_a_mirror_whose_requests_fail_is_shown_out_of_rotation_and_why(
    sources, client, until, in_chinese, in_english
):
    sources.ejected["hk"] = Ejection("unanswered", NOW - 2, until, 3)
    told = await get_json(client, "/api/v1/nodes/hk")
    assert (told["in_rotation"], told["state"]) == (False, "up")
    assert told["ejection"] == {
        "cause": "unanswered",
        "since": "2026-11-21T08:59:58Z",
        "until": until and "2026-11-21T09:00:08Z",
        "count": 3,
    }
    for path in ("/nodes/hk", "/"):
        assert in_chinese in await text(client, f"{path}?lang=zh")
        assert in_english in await text(client, f"{path}?lang=en")


async def test_bans_are_told_as_promised_and_page_by_page(client):
    first = await get_json(client, "/api/v1/bans?limit=20")
    second = await get_json(client, f"/api/v1/bans?limit=20&after={first['next']}")
    assert [b["id"] for b in first["bans"] + second["bans"]] == [b.id for b in bans(30)]
    assert second["next"] is None
    assert first["bans"][0] == {
        "id": "b7k20000",
        "ip": "124.223.221.x",
        "location": "",
        "user_agent": "OpenAI/NodeJS/3.2.1",
        "status": "banned",
        "reason": "too_many_connections",
        "since": "2026-11-21T08:50:00Z",
        "until": "2026-11-21T10:00:00Z",
    }


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=-1", "limit=%C2%B2", "after=!"])
async def test_a_bad_page_of_bans_is_refused_with_a_sentence(client, query):
    async with client.get(f"/api/v1/bans?{query}") as response:
        assert response.status == 400
        assert (await response.json())["error"]["message"]


async def test_health_is_503_when_nothing_is_in_rotation(sources, client):
    async with client.get("/api/v1/health") as response:
        assert response.status == 200
        assert (await response.json())["status"] == "degraded"
    sources.health = tuple(replace(h, state=State.down) for h in HEALTH)
    async with (
        serving(build_public_app(sources, lambda: NOW)) as later,
        later.get("/api/v1/health") as response,
    ):
        assert response.status == 503
        assert (await response.json())["status"] == "unavailable"


@pytest.mark.parametrize("path", [path for path in DATA if path.startswith("/api/")])
async def test_the_json_can_be_read_from_any_page(client, path):
    async with client.get(path) as response:
        assert response.content_type == "application/json"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
        tag = response.headers["ETag"]
    async with client.get(path, headers={"If-None-Match": tag}) as again:
        assert again.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_feed_can_be_read_from_any_page(client):
    async with client.get("/feed.atom") as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/nodes/hk", "/history", "/banned", "/docs", "/robots.txt"])
async def test_pages_cannot_be_read_by_other_pages(client, path):
    async with client.get(path, headers=BROWSER) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


_FIELDS = {
    "Accept-Language": ("zh-CN", "en-GB"),
    "Accept": ("text/html", "text/plain"),
    "User-Agent": ("Mozilla/5.0", "curl/8"),
}


@pytest.mark.parametrize("status", [200, 304])
@pytest.mark.parametrize("path", [path for path in PAGES + DATA if path != "/key"])
async def test_caches_are_told_of_every_field_that_changes_an_answer(client, path, status):
    usual = {field: values[0] for field, values in _FIELDS.items()}
    for field, values in _FIELDS.items():
        told = []
        for value in values:
            async with client.get(path, headers={**usual, field: value}) as response:
                told.append(await response.text())
                tag, vary = response.headers["ETag"], response.headers.get("Vary", "")
            if status == 304:
                known = {**usual, field: value, "If-None-Match": tag}
                async with client.get(path, headers=known) as response:
                    vary = response.headers.get("Vary", "")
        if told[0] != told[1]:
            assert field in vary.split(", ")


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("path", PAGES + DATA)
async def test_nothing_public_tells_a_key_an_address_a_detail_or_a_bad_file(client, path, lang):
    joined = f"{path}{'&' if '?' in path else '?'}lang={lang}"
    for headers in (BROWSER, {"User-Agent": "curl/8"}):
        async with client.get(joined, headers=headers) as response:
            told = await response.text() + str(response.headers)
        for secret in (API_KEY, CLIENT, CONFIG_PROBLEM, DETAIL, "switched-off", "limits.ban"):
            assert secret not in told


async def test_the_canaries_are_where_they_could_be_told(sources):
    assert sources.mirrors()[0].api_key == API_KEY
    assert sources.bans().newest(1)[0].network == f"{CLIENT}/32"
    assert sources.config_problem() == CONFIG_PROBLEM
    assert DETAIL in [str(health.detail) for health in sources.snapshot().mirrors.values()]


@pytest.mark.parametrize("agent", ["Mozilla/5.0", "curl/8"])
@pytest.mark.parametrize("path", PAGES + DATA)
async def test_hosts_and_bans_are_hidden_everywhere_on_request(sources, client, path, agent):
    """In every format; only /docs names hosts of mirrors beside the pages of the nodes."""
    fields = {"User-Agent": agent}
    hidden = [urlsplit(mirror.url).netloc for mirror in MIRRORS]
    hidden += [path.address for health in HEALTH for path in health.paths]
    hidden += [ban.id for ban in sources.bans_]
    if path in ("/api/v1/nodes", "/docs") and agent != "curl/8":
        assert hidden[0] in await text(client, path, **fields)
    sources.dashboard_ = replace(sources.dashboard_, show_hosts=False, bans="off")
    async with serving(build_public_app(sources, lambda: NOW)) as later:
        told = await text(later, path, **fields)
    assert not [secret for secret in hidden if secret in told]


@pytest.mark.parametrize(
    ("language", "probably"), [("en", "probably blocked"), ("zh", "疑似在途中被封锁")]
)
async def test_a_path_in_a_fold_is_as_sure_of_its_verdict_as_its_page(client, language, probably):
    page = await text(client, f"/?lang={language}")
    row = page[page.index('id="node-sg"') : page.index('id="node-us-west"')]
    assert "203.0.113.7" in row
    assert probably not in row


async def test_a_node_tells_its_paths_and_what_is_known_of_them(sources, client):
    told = await get_json(client, "/api/v1/nodes/sg")
    blocked, good = told["paths"]
    assert blocked == {
        "hostname": "sg.example.net",
        "address": "203.0.113.7",
        "standing": "held",
        "usable": False,
        "verdict": "sni_block_rst",
        "level": "confirmed",
        "latency_ms": 41,
        "held_until": "2026-11-21T09:03:05Z",
        "evidence": [
            "With SNI sg.example.net, the connection is reset after 12 ms.",
            "After the wait: With SNI example.org, the server answers.",
        ],
    }
    assert (good["hostname"], good["usable"], good["verdict"]) == ("alt.example.net", True, "ok")
    page = await text(client, "/nodes/sg?lang=en")
    for shown in ("203.0.113.7", "alt.example.net", "confirmed", "left alone", "41 ms"):
        assert shown in page
    assert "connection is reset after 12 ms" in page
    assert "ends in 30 days" in await text(client, "/nodes/hk?lang=en")
    zh = await text(client, "/nodes/sg?lang=zh")
    for shown in ("已证实", "暂不使用", "SNI 为 sg.example.net 时，连接在 12 毫秒后被重置。"):
        assert shown in zh


LEFT_ALONE = {
    "en": (
        "the host name is blocked on the path",
        "TLS connections that carry this name (SNI) are reset; with another name",
        "Confirmed: compared repeatedly, with the same result.",
        "Because of this all its addresses are left alone for now",
        "Next try: 21 Nov 17:03.",
        "all addresses left alone until 21 Nov 17:03",
    ),
    "zh": (
        "域名已确认在途中被封锁",
        "SNI 为该域名的 TLS 连接被重置，换成其他域名则有应答。",
        "已确认：多次对比，结果一致。",
        "因此暂时不去连接其所有地址",
        "下次尝试：11月21日 17:03。",
        "所有地址暂不连接，至 11月21日 17:03",
    ),
}
"""What is wrong, its cause, how sure that is, what is done, until when, and that in short."""


@pytest.mark.parametrize("language", LEFT_ALONE)
async def test_a_node_that_is_left_alone_says_why_and_until_when(sources, client, language):
    what, cause, sure, done, next_try, short = LEFT_ALONE[language]
    for page in ("/", "/nodes/sg"):
        assert done not in await text(client, f"{page}?lang={language}")
    sources.quarantine = SHUT
    async with serving(build_public_app(sources, lambda: NOW)) as later:
        for page in ("/", "/nodes/sg"):
            told = await text(later, f"{page}?lang={language}")
            for said in (what, sure, done, next_try):
                assert said in told
        assert cause in told, "on the page of the node"
        assert short in await text(later, f"/?lang={language}", Accept="text/plain")
        node = await get_json(later, "/api/v1/nodes/sg")
    assert node["held_until"] == "2026-11-21T09:03:05Z"
    for said in (sure, done, "2026-11-21T09:03:05Z"):
        assert said in node["summary"][language]


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-1, "has ended"),
        (1.5, "ends in 1 day<"),
        (355_413, "valid for more than ten years"),
    ],
)
async def test_a_certificates_end_is_told_sensibly(sources, client, days, said):
    sources.health = (replace(HEALTH[0], tls_not_after=NOW + 86400 * days), *HEALTH[1:])
    assert said in await text(client, "/nodes/hk?lang=en")


async def test_paths_are_counted_but_not_named_when_hosts_are_hidden(sources, client):
    sources.dashboard_ = replace(sources.dashboard_, show_hosts=False)
    for path in ("/nodes/sg?lang=en", "/api/v1/nodes/sg", "/api/v1/nodes"):
        page = await text(client, path)
        for hidden in ("203.0.113", "198.51.100", "example.net", "our hello"):
            assert hidden not in page, path
    assert "no. 2" in await text(client, "/nodes/sg?lang=en")


async def test_where_a_banned_client_is_stands_beside_whose_data_says_so(sources, client, tmp_path):
    country = {"iso_code": "CN", "names": {"en": "China", "zh-CN": "中国"}}
    path = write_mmdb(tmp_path / "x.mmdb", {"124.0.0.0/8": {"country": country}}, "GeoLite2-City")
    sources.locations_.use(str(path))
    told = (await (await client.get("/api/v1/bans")).json())["bans"]
    assert {ban["location"] for ban in told if ban["ip"].startswith("124.")} == {"中国"}
    assert {ban["location"] for ban in told if not ban["ip"].startswith("124.")} == {""}
    for language, said in (("zh", "中国"), ("en", "China")):
        page = await (await client.get(f"/banned?lang={language}")).text()
        assert f">{said}</td>" in page
        assert '<a href="https://www.maxmind.com">GeoLite data by MaxMind</a>' in page
    text = await (await client.get("/", headers={"User-Agent": "curl/8"})).text()
    assert "GeoLite data by MaxMind: https://www.maxmind.com" in text
    sources.locations_.close()


async def test_the_list_of_banned_clients_can_be_switched_off(sources, client):
    sources.dashboard_ = replace(sources.dashboard_, bans="off")
    assert "124.223.221" not in await text(client, "/")
    assert "124.223.221" not in await text(client, "/", Accept="*/*")
    for path in ("/banned", "/api/v1/bans"):
        async with client.get(path) as response:
            assert response.status == 404


async def test_addresses_are_whole_when_the_operator_says_so(sources, client):
    sources.dashboard_ = replace(sources.dashboard_, bans="full")
    assert CLIENT in await text(client, "/banned")


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\x1b[2J\u202e"


class Markup(HTMLParser):
    """Collects the tags, the attributes and the ids of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


@pytest.mark.parametrize("path", ["/", "/nodes/evil", "/banned", "/docs", "/" + EVIL])
async def test_text_of_others_stays_text(path):
    mirror = MirrorConfig("evil", "https://e.example.com", name=EVIL, region=EVIL)
    health = MirrorHealth(
        "evil",
        State.up,
        NOW,
        EVIL,
        last_probe=NOW,
        cdn_detected=EVIL,
        detail=Code.as_written(text=EVIL),
    )
    ban = Ban("b1", "192.0.2.1/32", NOW, None, EVIL, "operator", user_agent=EVIL)
    config = DashboardConfig(title=EVIL, notice={"zh": EVIL, "en": EVIL}, contact=EVIL)
    fake = FakeSources((mirror,), (health,), (ban,), config)
    async with serving(build_public_app(fake, lambda: NOW)) as client:
        page = await text(client, path)
        terminal = await text(client, path, Accept="text/plain")
    markup = Markup(page)
    assert markup.tags.count("script") == 2  # ours
    assert not [name for name, _ in markup.attributes if name.startswith("on") or name == "style"]
    assert all(src == address("page.js") for name, src in markup.attributes if name == "src")
    assert "\x1b" not in terminal
    if path == "/":
        assert "<script>alert(1)</script>" in markup.words
        assert "49" not in markup.words.split()


@pytest.mark.parametrize("path", PAGES + DATA)
async def test_every_answer_carries_the_security_headers(client, path):
    async with client.get(path, headers=BROWSER) as response:
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self' data:;")
        script = base64.b64encode(hashlib.sha256(THEME_SCRIPT.encode()).digest()).decode()
        assert f"script-src 'self' 'sha256-{script}'; connect-src 'self'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "aiohttp" not in response.headers["Server"]


async def test_a_script_gets_text_and_a_browser_gets_a_page(client):
    for headers, kind in [
        (BROWSER, "text/html"),
        ({"User-Agent": "curl/8.5.0", "Accept": "*/*"}, "text/plain"),
        ({"User-Agent": "Wget/1.21", "Accept": "*/*"}, "text/plain"),
        ({"User-Agent": "Wget/1.21", "Accept": "text/html"}, "text/html"),
        ({"User-Agent": "curl/8.5.0", "Accept": "text/html"}, "text/html"),
        ({"User-Agent": "HTTPie/3", "Accept": "*/*"}, "text/plain"),
        ({"User-Agent": "Mozilla/5.0", "Accept": "application/json"}, "text/plain"),
        ({"User-Agent": "Mozilla/5.0", "Accept": "text/plain"}, "text/plain"),
        ({"User-Agent": "TelegramBot (like TwitterBot)", "Accept": "*/*"}, "text/html"),
        ({"User-Agent": "Slackbot-LinkExpanding 1.0", "Accept": "*/*"}, "text/html"),
        ({"User-Agent": "WhatsApp/2", "Accept": ""}, "text/html"),
        ({"User-Agent": "xh/0.22.2", "Accept": "*/*"}, "text/plain"),
    ]:
        async with client.get("/", headers=headers) as response:
            assert response.content_type == kind
            assert "User-Agent" in response.headers["Vary"]


async def test_the_text_page_says_the_same_as_the_page(client):
    told = await text(client, "/?lang=en", **{"User-Agent": "curl/8", "Accept": "*/*"})
    assert "Service available: 2 of 5 nodes in service" in told
    assert "✘ Down (Out of rotation)" in told
    assert "? Unknown" in told


@pytest.mark.parametrize(
    ("language", "head", "blocked", "slow", "old", "banned"),
    [
        (
            "en",
            "Diagnosis",
            "the host name is blocked on the path (sni_block_rst)",
            "the mirror, or the API behind it, fails or is overloaded (upstream_overloaded)",
            "last known: Up",
            "too many connections",
        ),
        (
            "zh",
            "诊断",
            "域名已确认在途中被封锁 (sni_block_rst)",
            "镜像或其后的 API 出错或过载 (upstream_overloaded)",
            "此前为：正常",
            "并发连接过多",
        ),
    ],
)
async def test_the_text_page_says_diagnoses_and_bans_in_words_below_one_another(
    client, language, head, blocked, slow, old, banned
):
    told = await text(client, f"/?lang={language}", **{"User-Agent": "curl/8", "Accept": "*/*"})
    lines = told.splitlines()
    places = {
        width(line.partition(said)[0])
        for said in (head, blocked, slow, old)
        for line in lines
        if line.endswith(said)
    }
    assert len(places) == 1, told
    assert all(said in told for said in (blocked, slow, old))
    assert banned in told
    assert "too_many_connections" not in told


async def test_languages_follow_the_query_then_the_browser(client):
    assert "服务可用" in await text(client, "/")
    assert "Service available" in await text(client, "/", **{"Accept-Language": "en-GB"})
    assert "服务可用" in await text(client, "/?lang=zh", **{"Accept-Language": "en-GB"})
    for terminal, said in (("en_US.UTF-8", "Service available"), ("zh_CN.UTF-8", "服务可用")):
        fields = {"User-Agent": "curl/8", "Accept": "*/*", "Accept-Language": terminal}
        assert said in await text(client, "/", **fields)
    english = await text(client, "/?lang=en")
    assert '<html lang="en">' in english
    assert 'href="/docs?lang=en"' in english


async def test_old_results_are_not_shown_as_news(sources, client):
    page = await text(client, "/?lang=en")
    row = page[page.index(">Frankfurt<") :]
    assert "Unknown" in row[: row.index("</tr>")]
    assert "last known: Up" in row[: row.index("</tr>")]
    sources.health = tuple(replace(h, last_probe=NOW - 3600, wish=Override.use) for h in HEALTH)
    async with serving(build_public_app(sources, lambda: NOW)) as later:
        told = await text(later, "/?lang=en")
        assert "State unknown: no probe results since 21 Nov 16:00" in told


async def test_refreshing_can_be_paused(client):
    assert '<meta http-equiv="refresh" content="30">' in await text(client, "/")
    assert "http-equiv" not in await text(client, "/?refresh=off")


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/docs/", "/docs"),
        ("/history/?lang=en&after=", "/history?lang=en&after="),
        ("/nodes/hk/", "/nodes/hk"),
        ("/api/v1/nodes/", "/api/v1/nodes"),
        ("/nowhere/", None),
        ("//evil.example/", None),
        ("//evil.example//", None),
    ],
)
async def test_a_slash_too_many_leads_to_the_page(client, path, leads_to):
    url = URL(f"{client._base_url.origin()}{path}", encoded=True)
    async with client.get(url, allow_redirects=False) as response:
        assert (response.status, response.headers.get("Location")) == (
            308 if leads_to else 404,
            leads_to,
        )
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_no_visitor_waits_for_a_template_to_be_compiled(sources, monkeypatch):
    templates.cache_clear()
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        monkeypatch.delattr(jinja2.Environment, "compile")
        for path in ("/", "/docs", "/history", "/nodes/hk", "/banned", "/incidents/c0ffee000002"):
            async with client.get(path, headers=BROWSER) as response:
                assert response.status == 200, path


async def test_errors_are_in_both_languages_and_in_the_readers_form(client):
    async with client.get("/nope", headers=BROWSER) as response:
        assert response.status == 404
        page = await response.text()
        assert "没有这个页面" in page
        assert "No such page" in page
        for place in ("/", "/docs", "/history"):
            assert f'<a href="{place}">' in page, "a way on"
    async with client.get("/nope", headers={"User-Agent": "curl/8"}) as response:
        assert (response.status, response.content_type) == (404, "text/plain")
    async with client.get("/api/nope", headers=BROWSER) as response:
        assert (response.status, response.content_type) == (404, "application/json")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_but_reading_is_possible(client, method):
    for path in ("/", "/api/v1/nodes"):
        async with client.request(method, path) as response:
            assert response.status == 405
            assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/", "/docs", "/api/v1/nodes", "/api/v1/bans"])
async def test_head_is_get_without_the_body(client, path):
    plainly = {**BROWSER, "Accept-Encoding": "identity"}
    async with client.head(path, headers=plainly) as head, client.get(path, headers=plainly) as got:
        assert head.status == 200
        assert await head.read() == b""
        assert head.headers["Content-Length"] == str(len(await got.read()))


@pytest.mark.parametrize("path", ["/", "/api/v1/nodes", "/api/v1/bans", "/static/style.css"])
async def test_an_unchanged_page_is_answered_304(client, path):
    async with client.get(path, headers=BROWSER) as first:
        tag = first.headers["ETag"]
        assert "max-age" in first.headers["Cache-Control"]
    async with client.get(path, headers={**BROWSER, "If-None-Match": tag}) as again:
        assert again.status == 304
        assert await again.read() == b""
        assert "Content-Security-Policy" in again.headers
    async with client.get(path, headers={**BROWSER, "If-None-Match": '"other"'}) as other:
        assert other.status == 200


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("br, gzip;q=0.5", "gzip"),
        ("GZip ; q=1", "gzip"),
        ("br", None),
        ("gzip;q=0, br", None),
        ("gzip; q=0.000", None),
        ("notgzip", None),
        ("*", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/v1/nodes", "/feed.atom", "/static/style.css"])
async def test_long_answers_are_compressed_for_clients_that_accept_it(
    client, path, accepted, encoding
):
    fields = {**BROWSER, "Accept-Encoding": accepted}
    async with client.get(path, headers=fields) as response:
        assert response.headers.get("Content-Encoding") == encoding
        assert "Accept-Encoding" in response.headers["Vary"]
        length = len(await response.read())  # as it is when read
        sent = int(response.headers["Content-Length"])
    assert (sent < length) is (encoding is not None)


async def test_the_tag_of_the_json_changes_with_the_facts_and_not_with_the_time(sources):
    clock = [NOW]
    async with serving(build_public_app(sources, lambda: clock[0])) as client:
        async with client.get("/api/v1/nodes") as first:
            tag = first.headers["ETag"]
        clock[0] += 5
        async with client.get("/api/v1/nodes") as later:
            assert later.headers["ETag"] == tag
            assert json.loads(await later.text())["generated_at"] == "2026-11-21T09:00:05Z"
        sources.health = (replace(HEALTH[0], state=State.down), *HEALTH[1:])
        clock[0] += 5
        async with client.get("/api/v1/nodes") as changed:
            assert changed.headers["ETag"] != tag


async def test_many_readers_cost_one_rendering_a_second(sources):
    clock = [NOW]
    async with serving(build_public_app(sources, lambda: clock[0])) as client:
        await text(client, "/")
        asked = sources.asked
        for _ in range(50):
            await text(client, "/")
        assert sources.asked == asked
        clock[0] += 1
        await text(client, "/")
        assert sources.asked > asked


@pytest.mark.parametrize("path", ["/banned", "/history", "/docs", "/nodes/hk", "/", "/api/v1/bans"])
async def test_a_page_is_made_once_whatever_is_written_into_its_address(
    app, client, path, monkeypatch
):
    renderings, keys = app[RENDERINGS], set[Hashable]()
    for door in ("get", "at_once"):
        monkeypatch.setattr(renderings, door, _noting(getattr(renderings, door), keys))
    async with client.get(path, headers=BROWSER) as response:
        tag = response.headers["ETag"]
    asked = set(keys)
    assert asked
    odd = ("x=1", "lang=", "lang=xx", "lang=zh-Hans", "refresh=1", "after=", f"y={'z' * 500}")
    for query in (*odd, "&".join(odd)):
        async with client.get(f"{path}?{query}", headers=BROWSER) as response:
            assert response.headers["ETag"] == tag
    assert keys == asked


def _noting(door: Callable[..., Any], keys: set[Hashable]) -> Callable[..., Any]:
    """The same, which notes what it is asked for."""

    def noting(key: Hashable, make: Any) -> Any:
        keys.add(key)
        return door(key, make)

    return noting


async def test_the_pages_of_banned_clients_lead_from_one_to_the_next(sources, client):
    sources.bans_ = tuple(
        Ban(f"x{i:03}", f"10.0.{i}.0/24", NOW - i, None, "x", "operator") for i in range(120)
    )
    told, path = [], "/banned?lang=en"
    while path:
        page = await text(client, path)
        told += re.findall(r">(x\d{3})</td>", page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
        assert "lang=en" in path or not path
    assert told == [f"x{i:03}" for i in range(120)]
    async with client.get("/banned?after=nonsense", headers=BROWSER) as response:
        assert response.status == 404


async def test_very_many_bans_are_not_looked_at_for_a_page(sources, client):
    class Few:
        """A list that is never read as a whole."""

        def __len__(self) -> int:
            return 10**9

        def on(self, network: str) -> None:
            return None

        def newest(self, most: int, after: object = None) -> list[Ban]:
            assert most <= 201
            return [Ban(f"x{i}", "10.0.0.0/24", NOW - i, None, "x", "me") for i in range(most)]

    sources.bans = Few
    for path in ("/", "/banned", "/api/v1/bans?limit=200", "/api/v1/health"):
        async with client.get(path, headers=BROWSER) as response:
            assert response.status == 200
            assert len(await response.read()) < 100_000


async def test_a_failing_source_tells_the_reader_nothing(client, sources, caplog):
    sources.dashboard_ = replace(sources.dashboard_, timezone="No/Where")
    async with client.get("/?key=sk-secret", headers=BROWSER) as response:
        assert response.status == 500
        assert "No/Where" not in await response.text()
    assert "GET / failed" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_pages_have_one_main_heading_captions_and_labels(client):
    for path in PAGES:
        page = await text(client, path)
        markup = Markup(page)
        assert markup.tags.count("h1") == 1
        assert markup.tags.count("main") == 1
        assert markup.tags.count("table") == markup.tags.count("caption")
        assert len(re.findall(r"<th(?: [^>]*)?>", page)) == len(re.findall(r"<th scope=", page))
        ids = [value for name, value in markup.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        labelled = [value for name, value in markup.attributes if name == "aria-labelledby"]
        assert set(labelled) <= set(ids)


async def test_a_short_probe_interval_does_not_make_the_page_flicker(sources):
    sources.health = tuple(replace(h, last_probe=NOW - 50) for h in HEALTH)
    app = build_public_app(sources, lambda: NOW, stale_after=lambda: 3.0)
    async with serving(app) as client:
        told = await get_json(client, "/api/v1/nodes")
    assert told["nodes"][0]["state"] == "up"


async def test_without_entrances_the_api_listener_is_the_address(sources, client):
    sources.dashboard_ = replace(sources.dashboard_, entrances=())
    assert "curl http://127.0.0.1:8080/v1/chat/completions" in await text(client, "/docs")


@pytest.mark.parametrize(("language", "word"), [("zh", "近似值"), ("en", "not exact")])
async def test_the_legacy_interface_is_documented_where_it_is_on(sources, client, language, word):
    assert "/pro/" not in await text(client, f"/docs?lang={'en' if language == 'zh' else 'zh'}")
    sources.legacy_days_ = 90
    told = await text(client, f"/docs?lang={language}")
    assert "/pro/chat/completions" in told
    assert word in told
    assert "90" in told


async def test_many_bans_cost_a_reader_no_more_than_the_page_he_reads(sources, monkeypatch):
    masked: list[str] = []

    def counting(network: str) -> str:
        masked.append(network)
        return "x"

    monkeypatch.setattr("dashboard.public.rows.masked_network", counting)
    sources.bans_ = bans(90) * 50
    async with serving(build_public_app(sources, lambda: NOW)) as client:
        await get_json(client, "/api/v1/bans?limit=20")
        assert len(masked) == 20
        await text(client, "/")
        assert len(masked) == 20 + BANS_ON_FRONT


BARE = {
    "nothing at all": FakeSources((), (), (), DashboardConfig(), past_=Past(), problem=""),
    "mirrors never probed": FakeSources(health=(), bans_=(), dashboard_=DashboardConfig()),
    "probed once, and failed": FakeSources(
        (MirrorConfig("hk", "http://127.0.0.1:9"),),
        (MirrorHealth("hk", State.unknown, NOW - 1, "connection_refused", last_probe=NOW),),
        (),
        DashboardConfig(),
    ),
    "no network of our own": FakeSources(
        (MirrorConfig("hk", "http://127.0.0.1:9"),),
        (MirrorHealth("hk", State.unknown, NOW - 9, "local_network_down", last_probe=NOW),),
        (),
        DashboardConfig(),
    ),
    "one that works": FakeSources(
        (MirrorConfig("hk", "http://127.0.0.1:9"),),
        (MirrorHealth("hk", State.up, NOW, "new_verdict", last_probe=NOW),),
        (),
        DashboardConfig(languages=("en",), bans="off"),
    ),
    "one down, one long unheard": FakeSources(
        (MirrorConfig("hk", "http://127.0.0.1:9"), MirrorConfig("jp", "http://127.0.0.1:9")),
        (
            MirrorHealth("hk", State.down, NOW, "connection_refused", last_probe=NOW),
            MirrorHealth("jp", State.up, NOW - 9e4, "ok", last_probe=NOW - 9e4),
        ),
        (),
        DashboardConfig(),
    ),
    "drained for good": FakeSources(
        (MirrorConfig("hk", "http://127.0.0.1:9"),),
        (MirrorHealth("hk", State.down, NOW, "dns_down", wish=Override.drain, last_probe=NOW),),
        (Ban("b", "192.0.2.0/24", NOW, None, "", "operator"),),
        DashboardConfig(languages=("en", "zh"), contact="", show_hosts=False),
    ),
}


@pytest.mark.parametrize("case", BARE)
@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
async def test_every_page_can_do_with_little(case, accept):
    sources = BARE[case]
    seconds = itertools.count(1.0)
    app = build_public_app(sources, lambda: NOW, monotonic=lambda: next(seconds))
    async with serving(app) as client:
        for path in ("/", "/banned", "/docs", *DATA, *[f"/nodes/{m.id}" for m in sources.mirrors_]):
            for lang in ("zh", "en", "xx"):
                joined = f"{path}{'&' if '?' in path else '?'}lang={lang}"
                async with client.get(joined, headers={"Accept": accept}) as response:
                    assert response.status in (200, 400, 404, 503), joined
                    assert await response.text()


@pytest.mark.parametrize(
    ("case", "banner"),
    [
        ("nothing at all", "No nodes are configured"),
        ("mirrors never probed", "State unknown: no probe results yet"),
        ("probed once, and failed", "State unknown: probing has not come to a conclusion yet"),
        ("no network of our own", "State unknown: the monitor itself seems to be offline"),
        ("one that works", "The node is working"),
        ("one down, one long unheard", "No node is known to work: 1 of 2 are down"),
        ("drained for good", "No node can serve at the moment"),
    ],
)
async def test_the_banner_says_what_is(case, banner):
    rescued = "failures of nodes were rescued"
    async with serving(build_public_app(BARE[case], lambda: NOW)) as client:
        assert (rescued in await text(client, "/?lang=en")) is (case == "one that works")
        assert banner in await text(client, "/?lang=en")
        assert banner in await text(client, "/?lang=en", Accept="text/plain")


@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
@pytest.mark.parametrize(
    ("language", "waiting", "said"),
    [
        ("zh", Waiting(3, 12.7), "请求较多，请稍候：3 个请求在排队，目前约需等待 12 秒"),
        ("en", Waiting(1, 0.2), "1 request is in the queue, which takes about 1 s now"),
        ("en", Waiting(240, 95.0), "240 requests are in the queue, which takes about 1 min now"),
    ],
)
async def test_the_page_says_how_many_requests_wait_and_how_long_that_takes(
    accept, language, waiting, said
):
    for sources, there in ((FakeSources(), False), (FakeSources(waiting_=waiting), True)):
        async with serving(build_public_app(sources, lambda: NOW)) as client:
            page = await text(client, f"/?lang={language}", Accept=accept)
            assert (said in page) is there
