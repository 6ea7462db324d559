"""The operators' desk over HTTP: who gets in, what each attack meets, and what the forms do."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import ClientResponse, ClientSession
from yarl import URL

from dashboard.admin import desk, sign_in
from dashboard.admin.actions import TWICE_WITHIN
from dashboard.admin.app import build_admin_app
from dashboard.admin.desk import TABS
from dashboard.admin.passwords import hashed
from dashboard.admin.sessions import IDLE
from dashboard.admin.sign_in_delay import FREE, LONGEST
from dashboard.common.config import AdminConfig, DashboardConfig
from dashboard.common.printable import printable_lines
from dashboard.common.sources import CommandError
from dashboard.public.app import build_public_app
from monitor.common.audit import Actor
from monitor.common.config import MirrorConfig
from monitor.common.languages import Text
from monitor.health.announcements import (
    Announced,
    IncidentEdit,
    Maintenance,
    ManualIncident,
    Update,
)
from monitor.health.snapshot import Override
from tests.testkit.clock import ManualClock
from tests.testkit.dashboard import (
    API_KEY,
    EXPLAINED,
    INCIDENTS,
    MIRRORS,
    NOW,
    SHUT,
    FakeCommands,
    FakeSources,
    ask,
    serving,
    serving_at,
)
from tests.testkit.hostile_texts import PAYLOADS, hostile

PASSWORD = "correct horse battery"
HASH = hashed(PASSWORD)
ME = Actor("operator", "127.0.0.1")
PAGES = ("", *TABS[1:], "nodes/hk", "keys/k1")


class Browser:
    """A browser without script: keeps its cookie, says where forms are from, follows redirects."""

    def __init__(self, client: ClientSession) -> None:
        self.client = client
        self.cookies: dict[str, str] = {}
        self.csrf = ""
        self.said = ""

    @property
    def origin(self) -> str:
        return str(self.client._base_url).rstrip("/")

    def headers(self, **more: str) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Accept-Language": "en", **({"Cookie": cookies} if cookies else {}), **more}

    def take(self, response: ClientResponse) -> None:
        """Keep its cookies; aiohttp would take none from an address."""
        for name, morsel in response.cookies.items():
            self.cookies[name] = morsel.value

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.client.get(path, headers=self.headers(**headers)) as response:
            text = await response.text()
        found = re.search(r'name="csrf" value="([^"]+)"', text)
        self.csrf = found[1] if found else ""
        return response.status, text

    async def post(
        self, path: str, fields: Any, headers: Mapping[str, str] | None = None
    ) -> ClientResponse:
        usual = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        sent = self.headers(**(usual if headers is None or "Cookie" in headers else {}))
        sent |= headers or {}
        posted = self.client.post(path, data=fields, headers=sent, allow_redirects=False)
        async with posted as response:
            self.said = await response.text()
            self.take(response)
        return response

    async def sign_in(self, password: str = PASSWORD, **headers: str) -> ClientResponse:
        usual = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        return await self.post(sign_in.ADDRESS, {"password": password}, {**usual, **headers})

    async def do(self, action: str, **fields: Any) -> str:
        """Post a form of the desk and confirm it; the outcome that the next page tells."""
        if not self.csrf:
            await self.get("/admin/nodes")
        sent = {"csrf": self.csrf, "back": "/admin/nodes", **fields}
        answer = await self.post(f"/admin/do/{action}", sent)
        if answer.status == 200:
            answer = await self.post(f"/admin/do/{action}", {**sent, "sure": "yes"})
        assert (answer.status, answer.headers["Location"]) == (303, "/admin/nodes"), self.said
        _, text = await self.get("/admin/nodes")
        found = re.search(r'<div class="flash[^>]*>.*?<p>(.*?)</p>', text, re.DOTALL)
        assert found is not None
        return found[1]


@pytest.fixture
def commands() -> FakeCommands:
    return FakeCommands()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@asynccontextmanager
async def browsing(
    commands: FakeCommands, clock: ManualClock, sources: FakeSources | None = None
) -> AsyncIterator[Browser]:
    sources = sources or FakeSources(admin_=AdminConfig(password_hash=HASH))
    app = build_admin_app(sources, commands, trusted=False, clock=lambda: NOW, monotonic=clock)
    async with serving(app) as client:
        yield Browser(client)


@pytest.fixture
async def browser(commands, clock):
    async with browsing(commands, clock) as browser:
        yield browser


@pytest.fixture
async def operator(browser):
    """A browser that has signed in."""
    answer = await browser.sign_in()
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/")
    return browser


def changes(commands: FakeCommands) -> list[Any]:
    """The commands that change something, as they were told."""
    reading = ("status", "explain", "trace", "audit", "keys", "note", "recent", "transitions")
    return [what for what in commands.told if what[0] not in (*reading, "configuration")]


# Getting in


async def test_nothing_is_there_without_a_password_but_how_to_set_one(commands, clock):
    async with browsing(commands, clock, FakeSources()) as browser:
        for path in ("/admin/", "/admin/nodes", "/admin/sign-in", "/admin/do/reload"):
            status, text = await browser.get(path)
            assert status == 403
            assert "mirrorgate hash-password" in text
        assert (await browser.sign_in()).status == 403
    assert commands.told == []


async def test_a_visitor_who_has_not_signed_in_sees_the_form_and_nothing_else(browser, commands):
    for page in PAGES:
        status, text = await browser.get(f"/admin/{page}")
        assert status == 200
        assert 'type="password"' in text
        assert not any(mirror.host in text for mirror in MIRRORS)
    assert (await browser.post("/admin/do/reload", {})).status == 403
    assert 'type="password"' in browser.said
    assert commands.told == []


async def test_signing_in_leads_to_the_page_that_was_wanted_and_is_noted(browser, commands):
    answer = await browser.post(sign_in.ADDRESS, {"password": PASSWORD, "next": "/admin/keys"})
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/keys")
    for page in PAGES:
        status, text = await browser.get(f"/admin/{page}")
        assert (status, 'type="password"' in text) == (200, False), page
    assert ("note", ME, "sign in") in commands.told
    assert HASH not in text


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/admin/",
        "/admin//evil.example",
        "/admin/\\evil.example",
        "/admin/../../v1",
        "/admin/x?y=1",
        "/admin/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/other",
        "/admin/do/reload",
        "/admin/do",
        "/admin/sign-out",
        "/admin/sign-in",
    ],
)
async def test_it_never_leads_anywhere_else(browser, wanted):
    answer = await browser.post(sign_in.ADDRESS, {"password": PASSWORD, "next": wanted})
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/")
    assert len(answer.headers.getall("Set-Cookie")) == 1


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", "x" * 5000, "\0"])
async def test_anything_else_is_not_the_password(browser, commands, password):
    assert (await browser.sign_in(password)).status == 403
    assert "Set-Cookie" not in (await browser.sign_in(password)).headers
    assert ("note", ME, "sign-in refused (1 in a row)") in commands.told
    assert password == "" or password not in browser.said


# Brute force


async def test_guessing_is_slowed_down_and_the_right_password_has_to_wait_too(
    browser, commands, clock
):
    for _ in range(FREE):
        assert (await browser.sign_in("guess")).status == 403
    answer = await browser.sign_in()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    clock.advance(1)
    assert (await browser.sign_in("guess")).status == 403
    clock.advance(LONGEST)
    assert (await browser.sign_in()).status == 303
    notes = [what[2] for what in commands.told if what[0] == "note"]
    assert notes == [*(f"sign-in refused ({n} in a row)" for n in (1, 2, 4)), "sign in"]


async def test_guesses_at_the_same_moment_are_no_way_around(browser):
    statuses = await asyncio.gather(*(browser.sign_in("guess") for _ in range(20)))
    assert [each.status for each in statuses].count(403) == FREE


async def test_a_trusted_proxys_clients_are_slowed_down_one_by_one(commands, clock):
    sources = FakeSources(admin_=AdminConfig(password_hash=HASH))
    plain = sources.visitor
    sources.visitor = lambda address, fields: plain("127.0.0.9", fields)  # type: ignore[method-assign]
    async with browsing(commands, clock, sources) as browser:
        for _ in range(FREE):
            await browser.sign_in("guess", x="192.0.2.1")
        assert (await browser.sign_in(x="192.0.2.1")).status == 429
        assert (await browser.sign_in(x="192.0.2.2")).status == 303
    assert ("note", Actor("operator", "192.0.2.2"), "sign in") in commands.told


# Sessions


async def test_a_cookie_that_was_planted_is_never_a_session(browser):
    planted = {"Cookie": "mirrorgate=planted-by-somebody"}
    answer = await browser.post(sign_in.ADDRESS, {"password": PASSWORD}, planted)
    given = answer.cookies["mirrorgate"]
    assert given.value not in ("", "planted-by-somebody")
    assert (given["httponly"], given["samesite"], given["path"]) == (True, "Strict", "/admin")
    async with browser.client.get("/admin/", headers=planted, allow_redirects=False) as response:
        assert response.status == 303


async def test_signing_in_again_ends_the_session_before(browser):
    first = (await browser.sign_in()).cookies["mirrorgate"].value
    second = (await browser.sign_in()).cookies["mirrorgate"].value
    assert first != second
    for token, status in ((first, 303), (second, 200)):
        headers = {"Cookie": f"mirrorgate={token}"}
        async with browser.client.get(
            "/admin/", headers=headers, allow_redirects=False
        ) as response:
            assert response.status == status


async def test_signing_out_ends_it_wherever_the_token_is(operator, commands):
    await operator.get("/admin/")
    token = operator.cookies["mirrorgate"]
    answer = await operator.post("/admin/sign-out", {"csrf": operator.csrf})
    assert (answer.status, answer.cookies["mirrorgate"]["max-age"]) == (303, "0")
    async with operator.client.get(
        "/admin/", headers={"Cookie": f"mirrorgate={token}"}, allow_redirects=False
    ) as response:
        assert response.status == 303
    assert ("note", ME, "sign out") in commands.told


async def test_a_page_that_keeps_itself_current_does_not_keep_the_session(operator, clock):
    clock.advance(IDLE - 1)
    assert 'type="password"' not in (await operator.get("/admin/", **{"X-Desk-Live": "1"}))[1]
    clock.advance(2)
    assert 'type="password"' in (await operator.get("/admin/"))[1]


async def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_alone(commands, clock):
    sources = FakeSources(admin_=AdminConfig(password_hash=HASH))
    plain = sources.visitor
    async with browsing(commands, clock, sources) as browser:
        stranger = await browser.sign_in(**{"X-Forwarded-Proto": "https"})
        assert "secure" not in stranger.headers["Set-Cookie"].lower()
        sources.visitor = lambda address, fields: plain("127.0.0.9", fields)  # type: ignore[method-assign]
        answer = await browser.sign_in(**{"X-Forwarded-Proto": "https"})
        assert re.match(
            r"__Secure-mirrorgate=[^;]{43}; HttpOnly; Path=/admin; SameSite=Strict; Secure",
            answer.headers["Set-Cookie"],
        )


WORDS = '结束 <b>"soon"</b> & more'
UPDATE = {"about": "c1", "status": "identified", "text_zh": WORDS, "back": "/admin/incidents"}


def all_hidden(page: str) -> list[tuple[str, str]]:
    """The hidden fields of a page, unescaped."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return [(name, unescape(value)) for name, value in found]


def hidden(page: str) -> dict[str, str]:
    """The same by name; of several of one name, the last."""
    return dict(all_hidden(page))


async def signed_out_while_typing(browser: Browser, clock: ManualClock, **fields: str) -> None:
    """Post a form after its session ended, mistype the password, and sign in again."""
    await browser.sign_in()
    await browser.get("/admin/incidents")
    clock.advance(IDLE + 1)
    sent = {"csrf": browser.csrf, "sure": "yes", **UPDATE, **fields}
    assert (await browser.post("/admin/do/update-incident", sent)).status == 403
    for password, status in (("mistyped", 403), (PASSWORD, 303)):
        carried = hidden(browser.said)
        assert browser.csrf not in carried.values()
        answer = await browser.post(sign_in.ADDRESS, {**carried, "password": password})
        assert answer.status == status
    assert answer.headers["Location"] == "/admin/incidents"


async def test_a_typed_form_outlives_the_session_and_can_be_sent_again(browser, commands, clock):
    await signed_out_while_typing(browser, clock)
    _, page = await browser.get("/admin/incidents")
    assert "was not sent" in page
    assert changes(commands) == []
    form = page[page.index('action="/admin/do/update-incident"') :]
    fields = hidden(form[: form.index("</form>")])
    assert fields == {"csrf": browser.csrf, **UPDATE}
    assert (await browser.post("/admin/do/update-incident", fields)).status == 303
    said = Text(WORDS, "")
    assert changes(commands) == [("update_incident", "c1", "identified", said, ME)]
    assert "was not sent" not in (await browser.get("/admin/incidents"))[1]


async def test_a_form_that_is_too_long_to_be_kept_is_told_as_lost(browser, commands, clock):
    await signed_out_while_typing(browser, clock, text_en="x" * 48_001, password="typed here")
    _, page = await browser.get("/admin/incidents")
    assert "could not be kept" in page
    assert "xxx" not in page
    assert changes(commands) == []


async def test_hostile_texts_that_outlive_a_session_stay_texts(browser):
    texts = [*PAYLOADS, "长" * 1000 + "\r\n" + "😀" * 100, "\0\x1b[2J\u202e"]
    fields = [("mirrors", text) for text in texts]
    await browser.post("/admin/do/plan", [*fields, ("back", PAYLOADS[0])])
    carried = all_hidden(browser.said)
    assert [value for name, value in carried if name == "unsent:mirrors"] == list(
        map(printable_lines, texts)
    )
    assert ("next", "/admin/") in carried
    assert not [text for text in PAYLOADS if text in browser.said]
    answer = await browser.post(sign_in.ADDRESS, [*carried, ("password", PASSWORD)])
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/")
    _, page = await browser.get("/admin/")
    assert not [text for text in PAYLOADS if text in page]
    form = page[page.index('action="/admin/do/plan"') :]
    offered = all_hidden(form[: form.index("</form>")])
    assert [value for name, value in offered if name == "mirrors"] == list(
        map(printable_lines, texts)
    )


@pytest.mark.parametrize(
    "body",
    [
        b"text_zh=%ff%fe%00&status=%c3",
        b"&".join(b"mirrors=%d" % number for number in range(499)),
        b"text_en=" + b"%e9%95%bf" * 7000,
    ],
)
async def test_sign_in_works_after_any_form_posted_without_a_session(browser, body):
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": browser.origin}
    assert (await browser.post("/admin/do/plan", body, kind)).status == 403
    carried = all_hidden(browser.said)
    answer = await browser.post(sign_in.ADDRESS, [*carried, ("password", PASSWORD)])
    assert answer.status == 303


async def test_no_secret_and_no_foreign_field_is_carried(browser):
    fields = {"password": "canary-1", "csrf": "canary-2", "x": "canary-3", "sure": "canary-4"}
    await browser.post("/admin/do/create-key", {**fields, "name": "学生"})
    assert "canary" not in browser.said
    assert hidden(browser.said)["unsent:name"] == "学生"


async def test_a_form_of_the_session_before_is_offered_again(operator, commands):
    await operator.get("/admin/incidents")
    before = operator.csrf
    await operator.sign_in()
    answer = await operator.post("/admin/do/update-incident", {"csrf": before, **UPDATE})
    assert answer.status == 403
    fields = hidden(operator.said[operator.said.index('action="/admin/do/update-incident"') :])
    assert changes(commands) == []
    assert (await operator.post("/admin/do/update-incident", fields)).status == 303
    assert len(changes(commands)) == 1


# Forms of other pages


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": ""},
    ],
)
async def test_a_form_of_another_page_does_nothing(operator, commands, headers):
    await operator.get("/admin/nodes")
    fields = {"csrf": operator.csrf, "mirror": "hk", "wish": "drain", "sure": "yes"}
    answer = await operator.post("/admin/do/wish", fields, headers)
    assert answer.status == 403
    assert (await operator.post(sign_in.ADDRESS, {"password": PASSWORD}, headers)).status == 403
    assert changes(commands) == []


async def test_a_form_without_the_token_of_its_session_does_nothing(operator, commands):
    fields = {"mirror": "hk", "wish": "drain", "sure": "yes"}
    for token in ({}, {"csrf": ""}, {"csrf": "x" * 43}):
        assert (await operator.post("/admin/do/wish", {**fields, **token})).status == 403
    for path in ("/admin/sign-out", "/admin/sign-out-others"):
        assert (await operator.post(path, {})).status == 403
    assert changes(commands) == []


async def test_only_forms_change_anything(operator, commands):
    await operator.get("/admin/nodes")
    wish = {"csrf": operator.csrf, "mirror": "hk", "wish": "drain", "sure": "yes"}
    assert (await operator.get(f"/admin/do/wish?{urlencode(wish)}"))[0] == 405
    headers = {"Content-Type": "text/plain", "Origin": operator.origin}
    assert (await operator.post("/admin/do/wish", "mirror=hk&wish=drain", headers)).status == 405
    async with operator.client.post(
        "/admin/do/wish", json=wish, headers=operator.headers(Origin=operator.origin)
    ) as response:
        assert response.status == 405
    assert changes(commands) == []


@pytest.mark.parametrize(
    ("body", "charset", "status"),
    [
        (b"password=%ff%fe&next=%00", "utf-8", 403),
        (b"password=x", "no-such-charset", 403),
        (b"\xff\xfe\x00=&&&;", "utf-16", 403),
        (b"&".join(b"a=1" for _ in range(5000)), "utf-8", 400),
        (b"password=" + b"x" * 70_000, "utf-8", 413),
    ],
)
async def test_a_malformed_form_is_refused_without_a_word_in_the_log(
    browser, caplog, body, charset, status
):
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    headers = {"Content-Type": kind, "Origin": browser.origin}
    assert (await browser.post(sign_in.ADDRESS, body, headers)).status == status
    assert caplog.text == ""


# Frames, caches, names, paths, headers


async def test_every_page_forbids_frames_caches_foreign_content_and_inline_script(operator):
    for path in (*(f"/admin/{page}" for page in PAGES), "/admin/nowhere", "/admin/sign-in"):
        async with operator.client.get(
            path, headers=operator.headers(), allow_redirects=False
        ) as response:
            headers = response.headers
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


async def test_a_name_that_was_pointed_at_this_machine_is_not_answered(operator, commands):
    for path in ("/admin/", "/admin/nodes", "/static/style.css", "/admin/static/admin.css"):
        status, text = await operator.get(path, Host="rebound.example.com")
        assert status == 403
        assert "admin.hosts" in text
    assert changes(commands) == []


async def test_a_name_of_the_configuration_is_answered(commands, clock):
    config = AdminConfig(password_hash=HASH, hosts=("desk.example.com",))
    async with browsing(commands, clock, FakeSources(admin_=config)) as browser:
        assert (await browser.get("/admin/sign-in", Host="desk.example.com:8443"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/admin/static/../app.py",
        "/admin/static/%2e%2e/admin.css",
        "/admin/static/..%2f..%2fadmin%2fapp.py",
        "/admin/static/%2fetc%2fpasswd",
        "/admin/static//etc/passwd",
        "/static/admin/admin.css",
        "/static/..%2fadmin%2fadmin.css",
        "/admin/nodes/..%2f..%2fetc%2fpasswd",
        "/admin/keys/%00",
        "/admin/nodes/hk/../../../metrics",
    ],
)
async def test_no_path_leads_out_of_the_desk(operator, path):
    url = URL(f"{operator.origin}{path}", encoded=True)
    async with operator.client.get(url, headers=operator.headers()) as response:
        text = await response.text()
    assert response.status in (404, 200)
    assert "root:" not in text
    assert "import" not in text
    assert response.status == 404 or "mirrorgate" in text


async def test_no_field_of_a_form_makes_a_header(operator):
    await operator.get("/admin/nodes")
    fields = {"csrf": operator.csrf, "mirror": "hk", "wish": "use"}
    for back in ("/admin/x\r\nX-Evil: 1", "/admin/x\nSet-Cookie: a=b", "https://evil.example"):
        answer = await operator.post("/admin/do/wish", {**fields, "back": back})
        assert (answer.status, answer.headers["Location"]) == (303, "/admin/")
        assert "X-Evil" not in answer.headers
    for query in ("lang=%0d%0aX-Evil:1", "after=%0d%0a", "before=%0d%0a", "id=%0d%0aX-Evil:%201"):
        url = URL(f"{operator.origin}/admin/requests?{query}", encoded=True)
        async with operator.client.get(url, headers=operator.headers()) as response:
            assert "X-Evil" not in response.headers


# The public listener


async def test_the_public_listener_has_nothing_of_the_desk():
    admin = build_admin_app(FakeSources(), FakeCommands(), trusted=False)
    commands = build_admin_app(FakeSources(), FakeCommands(), trusted=True)
    paths = {
        (method.method, resource.canonical.replace("{id}", "hk").replace("{name}", "admin.css"))
        for app in (admin, commands)
        for resource in app.router.resources()
        for method in resource
        if resource.canonical != "/static/{name}"
    }
    assert len(paths) > 50
    tried = {*paths, ("GET", "/admin"), ("GET", "/admin/static/desk.js"), ("GET", "/%2Fadmin/")}
    tried |= {(method, path.replace("/admin", "/%61dmin", 1)) for method, path in paths}
    tried |= {("GET", f"/static/{name}") for name in ("admin.css", "desk.js", "admin", "admin/x")}
    unlimited = DashboardConfig(requests_per_second=0, total_requests_per_second=0)
    public = build_public_app(FakeSources(dashboard_=unlimited))
    async with serving_at(public) as origin, ClientSession() as client:
        for method, path in sorted(tried):
            url = URL(f"{origin}{path}", encoded=True)
            async with client.request(method, url, allow_redirects=False) as response:
                text = await response.text()
            assert response.status in (404, 405), (method, path)
            assert "desk" not in text


# What the forms do


async def test_forms_reach_the_commands_after_a_question_and_say_what_was_done(operator, commands):
    assert "hk gets no new requests" in await operator.do("wish", mirror="hk", wish="drain")
    await operator.do("wish", mirror="hk", wish="maintenance", **{"for": "2h"})
    await operator.do("wish", mirror="hk", wish="use")
    await operator.do("probe", mirror="hk")
    await operator.do("ban", network="198.51.100.7", reason="noise", **{"for": "1d"})
    await operator.do("unban", network="198.51.100.0/24")
    await operator.do("unban", network="all")
    await operator.do("allow", network="203.0.113.0/24", **{"for": "1h"})
    await operator.do("edit-incident", incident="c1", title_zh="断电", impact="major")
    await operator.do("update-incident", about="c1", status="identified", text_en="Found")
    await operator.do("plan", mirrors="hk", starts_at="2026-11-21T18:00", **{"for": "1h"})
    await operator.do("end-maintenance", maintenance="m1")
    await operator.do("top-up-key", key="k1", quota="12.50")
    await operator.do("revoke-key", key="k1")
    await operator.do("reload")
    assert changes(commands) == [
        ("override", "hk", Override.drain, None, ME),
        ("override", "hk", Override.maintenance, NOW + 7200, ME),
        ("override", "hk", Override.use, None, ME),
        ("inspect", "hk", ME),
        ("ban", "198.51.100.7/32", 86400.0, "noise", ME),
        ("unban", "198.51.100.0/24", ME),
        ("unban", None, ME),
        ("allow", "203.0.113.0/24", 3600.0, ME),
        ("edit_incident", IncidentEdit("c1", Text("断电", ""), "major"), ME),
        ("update_incident", "c1", "identified", Text("", "Found"), ME),
        ("plan_maintenance", ("hk",), NOW + 3600, NOW + 7200, Text("", ""), ME),
        ("end_maintenance", "m1", ME),
        ("top_up_key", "k1", 12_500_000_000, None, ME),
        ("revoke_key", "k1", ME),
        ("reload", ME),
    ]


@pytest.mark.parametrize(
    ("action", "fields", "warning"),
    [
        ("wish", {"mirror": "hk", "wish": "drain"}, "running ones go on"),
        ("ban", {"network": "127.0.0.1"}, "Your own address is in it"),
        ("ban", {"network": "10.0.0.0/8"}, "It has 16,777,216 addresses"),
        ("unban", {"network": "all"}, "Lift all 30 bans?"),
        ("create-key", {"name": "x"}, "can spend all"),
        ("revoke-key", {"key": "k1"}, "cannot be taken back"),
        ("probe", {"mirror": "sg"}, "may prolong the block"),
        ("reload", {}, "limits.connections"),
    ],
)
async def test_harmful_actions_need_a_confirmation(operator, commands, action, fields, warning):
    await operator.get("/admin/nodes")
    answer = await operator.post(f"/admin/do/{action}", {"csrf": operator.csrf, **fields})
    assert answer.status == 200
    assert warning in operator.said
    assert changes(commands) == []


async def test_taking_the_last_mirror_out_says_what_that_means(commands, clock):
    sources = FakeSources(mirrors_=MIRRORS[:1], admin_=AdminConfig(password_hash=HASH))
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        await browser.get("/admin/nodes")
        fields = {"csrf": browser.csrf, "mirror": "hk", "wish": "drain"}
        await browser.post("/admin/do/wish", fields)
        assert "every request will be refused (503)" in browser.said
        fields = {"csrf": browser.csrf, "mirrors": "hk", "for": "1h"}
        await browser.post("/admin/do/plan", fields)
        assert "every request will be refused (503)" in browser.said


async def test_open_incidents_stand_before_newer_ones_that_are_over(commands, clock):
    over = replace(INCIDENTS[1], id="0ver00000001", started_at=NOW - 60, resolved_at=NOW - 30)
    past = replace(FakeSources().past_, incidents=(over, *INCIDENTS))
    sources = FakeSources(past_=past, admin_=AdminConfig(password_hash=HASH))
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        _, page = await browser.get("/admin/incidents?lang=en")
    assert re.findall(r'<span class="tag">(open|resolved)</span>', page)[:2] == ["open", "resolved"]


@pytest.mark.parametrize(
    ("public_url", "listen", "expected"),
    [
        ("https://status.example.com", "127.0.0.1:8081", "https://status.example.com"),
        ("", "0.0.0.0:9081", "http://127.0.0.1:9081/"),
        ("", "", None),
    ],
)
async def test_the_desk_links_to_the_status_page(commands, clock, public_url, listen, expected):
    dashboard = replace(FakeSources().dashboard_, public_url=public_url, listen=listen)
    sources = FakeSources(dashboard_=dashboard, admin_=AdminConfig(password_hash=HASH))
    async with browsing(commands, clock, sources) as browser:
        _, page = await browser.get("/admin/?lang=en")
        assert "Status page" not in page, "who has not signed in is told nothing"
        await browser.sign_in()
        _, page = await browser.get("/admin/?lang=en")
    found = re.search(r'<a href="([^"]+)">Status page</a>', page)
    assert (found and found[1]) == expected


async def test_reasons_against_a_mirror_are_told_in_chinese(operator, monkeypatch):
    monkeypatch.setitem(EXPLAINED, "why_not", "rate limited")
    _, page = await operator.get("/admin/nodes/hk?lang=zh")
    assert "否：镜像要求暂停（429）" in page
    assert "已移出" in page
    assert "rate limited" not in page


async def test_one_of_many_nodes_is_found_by_what_the_page_says_of_it(commands, clock):
    more = tuple(MirrorConfig(f"m{n}", f"https://m{n}.example.com") for n in range(60))
    admin = AdminConfig(password_hash=HASH)
    async with browsing(
        commands, clock, FakeSources(mirrors_=(*MIRRORS, *more), admin_=admin)
    ) as browser:
        await browser.sign_in()
        for wanted, found in (
            ("", ["hk", "m59"]),
            ("M17.EXAMPLE", ["m17"]),
            ("degraded", ["jp"]),
            ("新加坡", ["sg"]),
            ("<script>", []),
        ):
            _, page = await browser.get(f"/admin/nodes?{urlencode({'find': wanted})}")
            shown = re.findall(r'<h2><a href="/admin/nodes/([^"]+)"', page)
            assert set(found) <= set(shown)
            assert not wanted or shown == found
        assert "No node fits" in page
        assert 'value="&lt;script&gt;"' in page


async def test_an_incident_is_opened_by_hand(operator, commands):
    fields = {"title_zh": "答复有误", "impact": "major", "started_at": "2026-11-21T16:00"}
    told = await operator.do("open-incident", **fields, mirrors="hk", text_en="Looking")
    assert told == "The incident was opened."
    title, text = Text("答复有误", ""), Text("", "Looking")
    assert changes(commands) == [("open_incident", title, "major", ("hk",), NOW - 3600, text, ME)]


async def test_a_button_that_is_clicked_twice_does_it_once(operator, commands, clock):
    await operator.get("/admin/keys")
    fields = {"csrf": operator.csrf, "back": "/admin/keys", "name": "x", "quota": "10"}
    both = (operator.post("/admin/do/create-key", fields) for _ in range(2))
    assert [each.status for each in await asyncio.gather(*both)] == [303, 303]
    assert len(changes(commands)) == 1
    assert "mg-" in (await operator.get("/admin/keys"))[1]
    clock.advance(TWICE_WITHIN)
    await operator.post("/admin/do/create-key", fields)
    assert len(changes(commands)) == 2


async def test_an_operator_is_asked_before_he_writes_over_anothers_words(commands, clock):
    sources = FakeSources(admin_=AdminConfig(password_hash=HASH))
    its_id = INCIDENTS[1].id
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        _, page = await browser.get("/admin/incidents")
        seen = re.search(rf'name="about" value="{its_id}"><[^>]*name="seen" value="([^"]*)"', page)
        assert seen is not None
        told = Update(4, its_id, NOW, "identified", Text("", "Power <cut>"))
        edit = IncidentEdit(its_id, Text("", "Title <of another>"), "")
        sources.announced_ = Announced({its_id: edit}, {its_id: (told,)})
        fields = {"csrf": browser.csrf, "seen": seen[1], "back": "/admin/incidents"}
        update = {"about": its_id, "status": "monitoring", "text_en": "Mine"}
        for action, more in (
            ("update-incident", update),
            ("edit-incident", {"incident": its_id, "title_en": "Mine"}),
        ):
            answer = await browser.post(f"/admin/do/{action}", {**fields, **more})
            assert answer.status == 200
            assert "Another operator has changed this" in browser.said
            assert "Power &lt;cut&gt;" in browser.said
            assert "Title &lt;of another&gt;" in browser.said
            assert len(changes(commands)) == (action == "edit-incident")
            answer = await browser.post(f"/admin/do/{action}", {**hidden(browser.said), **more})
            assert answer.status == 303
        assert len(changes(commands)) == 2


async def test_a_removed_mirror_is_marked_and_what_the_monitor_sees_is_not_offered_as_resolved(
    commands, clock
):
    plan = Maintenance("m1", Text("", ""), ("hk", "left"), NOW + 60, NOW + 660, NOW, NOW)
    opened = ManualIncident("0p", Text("", "Wrong"), "major", ("left",), NOW - 60, NOW)
    sources = FakeSources(
        admin_=AdminConfig(password_hash=HASH),
        announced_=Announced(maintenances=(plan,), manual=(opened,)),
    )
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        _, page = await browser.get("/admin/incidents")
    assert "hk, left (removed)" in page
    forms = {
        about: '<option value="resolved"' in form
        for about, form in re.findall(r'name="about" value="(\w+)">(.*?)</form>', page, re.DOTALL)
    }
    assert forms["0p"]
    assert forms[INCIDENTS[1].id]
    assert not forms[INCIDENTS[0].id]


async def test_a_new_key_is_shown_once(operator):
    key = "mg-" + "x" * 48
    await operator.get("/admin/keys")
    fields = {"csrf": operator.csrf, "back": "/admin/keys", "name": "学生", "quota": "10"}
    assert (await operator.post("/admin/do/create-key", fields)).status == 303
    assert key not in operator.said
    live = {"X-Desk-Live": "1"}
    for page, headers in (("", live), ("audit", {}), ("keys", live), ("nowhere", {})):
        assert key not in (await operator.get(f"/admin/{page}", **headers))[1]
    assert key in (await operator.get("/admin/keys"))[1]
    assert key not in (await operator.get("/admin/keys"))[1]


@pytest.mark.parametrize(
    ("action", "fields", "said"),
    [
        ("wish", {"mirror": "nowhere", "wish": "drain"}, 'no mirror "nowhere"; there are: hk'),
        ("wish", {"mirror": "hk", "wish": "explode"}, "Action: expected one of"),
        ("wish", {"mirror": "hk", "wish": "drain", "for": "soon"}, "expected a duration such as"),
        ("ban", {"network": "everybody"}, "Address or network: expected an address"),
        ("ban", {"network": "0.0.0.0/0"}, "wider than /8"),
        ("create-key", {"name": "x", "quota": "much"}, "Quota: expected"),
        ("create-key", {"name": "x", "tokens": "-1"}, "Token quota: expected a whole number"),
        ("create-key", {"name": ""}, "Name: expected a name of 1 to 100"),
        ("top-up-key", {"key": "k1"}, "expected quota, tokens, or both"),
        ("plan", {"for": "1h"}, "choose at least one"),
        ("plan", {"mirrors": "hk", "for": "1h", "starts_at": "later"}, "expected a day and a time"),
        ("update-incident", {"about": "c", "status": "gone", "text_en": "x"}, "Status: expected"),
        ("revoke-key", {"key": "k9"}, "there is no key"),
    ],
)
async def test_a_bad_form_is_told_and_changes_nothing(operator, commands, action, fields, said):
    assert said in (await operator.do(action, **fields)).replace("&#34;", '"')
    assert changes(commands) == []


@pytest.mark.parametrize(
    ("action", "fields", "said"),
    [
        ("wish", {"mirror": "nowhere", "wish": "drain"}, "没有节点“nowhere”；现有：hk"),
        ("wish", {"mirror": "hk", "wish": "maintenance", "for": "9999999d"}, "时长：时长须大于 0"),
        ("ban", {"network": "everybody"}, "地址或网段：请填写地址或网段"),
        ("ban", {"network": "192.0.2.1", "reason": "x" * 201}, "原因：最多 200 个字符，现有 201"),
        ("create-key", {"name": "密" * 5000}, "名称：名称应为 1 到 100 个可见字符"),
        ("create-key", {"name": "x", "quota": "much"}, "额度：请填写金额"),
        ("plan", {"mirrors": "hk", "for": "31d"}, "时长：时长必填，且不超过 30 天"),
        ("plan", {"mirrors": "hk", "for": "1h", "title_zh": "长" * 121}, "标题：最多 120 个字符"),
        ("edit-incident", {"incident": "c1", "title_en": "x" * 5000}, "标题：最多 120 个字符"),
        (
            "update-incident",
            {"about": "c1", "status": "identified", "text_en": "x" * 5000},
            "进展：最多 2000 个字符，现有 5000 个",
        ),
        ("revoke-key", {"key": "k9"}, "没有密钥“k9”"),
    ],
)
async def test_faults_are_told_in_chinese_with_the_names_that_the_page_uses(
    operator, commands, action, fields, said
):
    await operator.get("/admin/nodes?lang=zh")
    assert said in await operator.do(action, **fields)
    assert changes(commands) == []


async def test_authors_and_refusals_are_told_in_chinese_too(commands, clock):
    sources = FakeSources(admin_=AdminConfig(password_hash=HASH))
    sources.bans_ = [replace(sources.bans_[0], by="automatic")]
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        _, bans = await browser.get("/admin/bans?lang=zh")
        assert ("自动" in bans, "automatic" in bans) == (True, False)
        await browser.post("/admin/do/reload", {"csrf": "of another"})
        assert "这个表单属于另一个会话" in browser.said


@pytest.mark.parametrize(
    ("typed", "begins"),
    [
        ("2026-12-01T10:00", "2026-12-01T10:00:00+08:00"),
        ("2026-12-01T10:00+08:00", "2026-12-01T10:00:00+08:00"),
        ("2026-12-01T10:00-05:00", "2026-12-01T23:00:00+08:00"),
        ("2026-12-01T10:00Z", "2026-12-01T18:00:00+08:00"),
    ],
)
async def test_a_time_is_the_desks_own_unless_it_names_its_offset(
    operator, commands, typed, begins
):
    await operator.do("plan", mirrors="hk", starts_at=typed, **{"for": "1h"})
    ((_, _, begin, end, *_),) = changes(commands)
    assert (begin, end - begin) == (datetime.fromisoformat(begins).timestamp(), 3600.0)


async def test_a_refused_form_keeps_what_was_typed(operator):
    await operator.get("/admin/bans")
    fields = {"csrf": operator.csrf, "back": "/admin/bans", "network": "198.51.100.300"}
    await operator.post("/admin/do/ban", fields)
    assert 'value="198.51.100.300"' in (await operator.get("/admin/bans"))[1]


@pytest.mark.parametrize(
    ("language", "done", "next_try", "short"),
    [
        (
            "en",
            "Because of this all its addresses are left alone for now",
            "Next try: 21 Nov 17:03.",
            "the host name is blocked on the path · all addresses left alone until 21 Nov 17:03",
        ),
        (
            "zh",
            "因此暂时不去连接其所有地址",
            "下次尝试：11月21日 17:03。",
            "域名已确认在途中被封锁 · 所有地址暂不连接，至 11月21日 17:03",
        ),
    ],
)
async def test_the_desk_says_until_when_a_mirror_is_left_alone(
    commands, clock, language, done, next_try, short
):
    sources = FakeSources(admin_=AdminConfig(password_hash=HASH), quarantine=SHUT)
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        _, page = await browser.get(f"/admin/nodes/sg?lang={language}")
        _, nodes = await browser.get(f"/admin/nodes?lang={language}")
    assert done in page
    assert next_try in page
    assert short in nodes


# Hostile text, secrets, and a store that does not answer


async def test_hostile_text_is_shown_as_text_on_every_page(commands, clock):
    sources = hostile(FakeSources(admin_=AdminConfig(password_hash=HASH)), commands)
    async with browsing(commands, clock, sources) as browser:
        await browser.sign_in()
        for page in PAGES:
            _, text = await browser.get(f"/admin/{page}")
            for payload in PAYLOADS:
                assert payload not in text, (page, payload)
            tags = re.sub('"[^"]*"', '""', text)
            assert not re.search(r"<(?!time|img src=\"\"|svg)[^>]*\son\w+\s*=", tags), page
        await browser.get("/admin/bans")
        assert "&lt;script&gt;" in (await browser.get("/admin/bans"))[1]
        assert "&lt;script&gt;" in (await browser.get("/admin/keys"))[1]
        assert "&lt;script&gt;" in (await browser.get("/admin/incidents"))[1]
        assert "&lt;script&gt;" in (await browser.get("/admin/nodes/sg"))[1]


async def test_no_secret_is_on_any_page(operator):
    for page in PAGES:
        _, text = await operator.get(f"/admin/{page}")
        assert API_KEY not in text
        assert HASH not in text


@pytest.mark.parametrize("trouble", ["gone", "slow"])
async def test_pages_keep_working_while_the_store_does_not(
    operator, commands, monkeypatch, trouble
):
    monkeypatch.setattr(desk, "STORE_PATIENCE", 0.05)
    for page in PAGES:
        await operator.get(f"/admin/{page}")

    async def fails(*_: Any) -> Any:
        if trouble == "slow":
            await asyncio.Event().wait()
        raise CommandError("store", reason="the store failed: database is locked")

    for name in ("audit", "keys", "transitions"):
        monkeypatch.setattr(commands, name, fails)
    for page, known in (("audit", "change 9"), ("keys", "学生"), ("nodes/hk", "sni_block")):
        status, text = await operator.get(f"/admin/{page}")
        assert status == 200
        assert "This is as of" in text
        assert known in text or page == "nodes/hk"
    for page in ("", "nodes", "bans", "incidents", "configuration"):
        assert (await operator.get(f"/admin/{page}"))[0] == 200
    status, text = await operator.get("/admin/nodes/jp")
    assert "nothing was read from it before" in text


async def test_a_decision_that_cannot_be_kept_is_told_as_such(operator, commands):
    commands.fault = CommandError("store", reason="the store failed: database is locked")
    assert "database is locked" in await operator.do("wish", mirror="hk", wish="use")


async def test_tcp_still_has_no_json_commands(operator, commands):
    for method, path in (("POST", "/api/admin/reload"), ("GET", "/api/admin/status")):
        assert (await ask(operator.client, method, path))[0] == 404
    assert INCIDENTS
