"""`/docs` and `/key` over real sockets: what they say, and what they never say."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

import router
from dashboard.common.config import EntranceConfig
from dashboard.common.sources import Offer, Terms
from dashboard.guide.examples import PLACEHOLDER, model_for
from dashboard.guide.failures import FAILURES
from dashboard.public.app import build_public_app
from monitor.common.keys import KeyAccount, KeyRecord, Spent
from tests.testkit.dashboard import API_KEY, BROWSER, MIRRORS, NOW, FakeSources, serving

KEY = "mg-canary-of-an-issued-key-0123456789"
NAME = "canary-of-a-name"
PUBLIC = "https://status.example.com"


def account(**more: Any) -> KeyAccount:
    record = KeyRecord(
        id="kcanary",
        name=NAME,
        digest="00" * 16,
        created_at=NOW - 60,
        created_by="alice",
        expires_at=NOW + 3 * 86400,
        revoked_at=None,
        revoked_by="",
        rate=5.0,
        models=("gpt-4o*",),
        quota=10 * 10**9,
        quota_tokens=None,
    )
    return KeyAccount(replace(record, **more), Spent(2_500_000_000, 1_234_567))


@pytest.fixture
def sources() -> FakeSources:
    fake = FakeSources(keys_={KEY: account()})
    fake.dashboard_ = replace(fake.dashboard_, requests_per_second=0)
    return fake


@pytest.fixture
def app(sources) -> web.Application:
    return build_public_app(sources, lambda: NOW, monotonic=lambda: 0.0)


@pytest.fixture
async def client(app):
    async with serving(app) as session:
        yield session


async def page(client: ClientSession, path: str) -> str:
    async with client.get(path, headers=BROWSER) as response:
        assert response.status == 200
        return await response.text()


async def ask(client: ClientSession, key: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Send the form; the status, the page, and its fields."""
    async with client.post(
        "/key?lang=en", data={"key": key}, headers={**BROWSER, **headers}
    ) as response:
        return response.status, await response.text(), dict(response.headers)


# /docs


async def test_the_entrances_mirrors_models_prices_and_limits_of_the_place_are_filled_in(
    sources, client
):
    sources.terms_ = Terms(connections=7, requests_per_second=3.5, burst=9, max_body=3 << 20)
    told = await page(client, "/docs?lang=en")
    for shown in (
        "https://api.example.com/v1",
        "https://api-direct.example.com/v1",
        "api-hk.example.com",
        "7 requests and streams",
        "3.5 requests a second, and 9 at once",
        "up to 3 MiB",
        "ops@example.com",
        "list price, 2026-11",
        "gpt-4o-mini",
        "10.00",
    ):
        assert shown in told, shown
    assert "/pro/balance" not in told
    sources.legacy_days_ = 90
    async with serving(build_public_app(sources, lambda: NOW)) as later:
        assert "last 90 days" in await page(later, "/docs?lang=en")


@pytest.mark.parametrize(
    ("callers", "said", "unsaid"),
    [
        (("own",), "A key of your own", "A key issued here"),
        (("issued",), "A key issued here", "A key of your own"),
        (("anonymous",), "Without a key", "A key issued here"),
    ],
)
async def test_the_kinds_of_keys_are_those_that_are_let_in(sources, client, callers, said, unsaid):
    sources.terms_ = Terms(callers=callers)
    told = await page(client, "/docs?lang=en")
    assert f"<h3>{said}</h3>" in told
    assert f"<h3>{unsaid}</h3>" not in told
    async with client.get("/key", headers=BROWSER) as response:
        assert response.status == (200 if "issued" in callers else 404)


async def test_only_mirrors_that_are_sent_callers_keys_are_named_with_what_they_take(
    sources, client
):
    sources.mirrors_ = (
        replace(MIRRORS[0], client_keys=("sk-*",)),
        replace(MIRRORS[1], client_keys=()),
    )
    told = await page(client, "/docs?lang=en")
    assert "keys such as sk-*" in told
    assert "api-jp.example.com" not in told


async def test_every_error_of_the_router_is_explained():
    """The codes are read from the source, so that a new one cannot be forgotten; left out are those
    of parameters, and one that only the operator himself can meet."""
    codes: set[str] = set()
    for file in Path(router.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem":
                codes |= {str(a.value) for a in node.args[1:2] if isinstance(a, ast.Constant)}
    explained = {failure.code for failure in FAILURES}
    assert codes - explained <= {"invalid_date", "integer_above_max_value", "host_not_allowed"}
    assert {"401", "403", "404", "408", "413", "429", "502", "503", "504", ""} <= {
        failure.status for failure in FAILURES
    }


@pytest.mark.parametrize(
    ("public", "entrances", "shown"),
    [
        (PUBLIC, (), PLACEHOLDER),
        ("", (), "http://127.0.0.1:8080/v1"),
        ("http://localhost:8081", (), "http://127.0.0.1:8080/v1"),
        (PUBLIC, (EntranceConfig("https://gate.example/v1"),), "https://gate.example/v1"),
    ],
)
async def test_a_public_page_names_no_loopback_address_as_the_base_url(
    sources, client, public, entrances, shown
):
    sources.dashboard_ = replace(sources.dashboard_, public_url=public, entrances=entrances)
    told = await page(client, "/docs?lang=en")
    assert f"curl {shown}/chat/completions" in told
    for path in ("/docs", "/"):
        text = await page(client, path)
        async with client.get(path, headers={"User-Agent": "curl/8"}) as response:
            text += await response.text()
        assert ("127.0.0.1:8080" in text) == shown.startswith("http://127"), path


async def test_rare_errors_are_folded_and_all_are_there(client):
    told = await page(client, "/docs?lang=en")
    fold = told.index('<details class="folded" id="rare-errors">')
    for failure in FAILURES:
        assert (told.index(f"<code>{failure.code}</code>", told.index('id="errors"')) < fold) is (
            failure.common
        ), failure.code


@pytest.mark.parametrize(("path", "current"), [("/", "/"), ("/docs", "/docs"), ("/key", None)])
async def test_the_navigation_marks_the_page_that_is_read(client, path, current):
    told = await page(client, path)
    marked = re.findall(r'<a href="([^"]*)" aria-current="page">', told)
    assert marked == ([current] if current else [])


def test_the_model_of_the_examples_is_one_that_can_be_asked_for():
    assert model_for([]) == "gpt-4o-mini"
    assert model_for(["gpt-4o", "gpt-4o-mini"]) == "gpt-4o-mini"
    assert model_for(["dall-e-3", "gpt-3.5-turbo", "whisper-1"]) == "gpt-3.5-turbo"
    assert model_for(["deepseek-chat"]) == "deepseek-chat"


async def test_names_that_mirrors_give_their_models_stay_text(sources, client):
    evil = "<img src=x onerror=alert(1)>\x1b[2J"
    sources.offers_ = (Offer(evil), Offer("gpt-4o", "1.00", note=evil))
    told = await page(client, "/docs")
    assert "<img" not in told
    assert "\x1b" not in told
    assert "&lt;img src=x" in told


async def test_ten_thousand_models_are_counted_and_not_all_shown(sources, client):
    sources.offers_ = tuple(Offer(f"model-{number:05}") for number in range(10_000))
    told = await page(client, "/docs?lang=en")
    assert "9800 more" in told
    assert "model-00200" not in told


async def test_docs_can_be_read_without_script(client):
    """Each tab is a radio button before its label and its panel, one of each group checked."""
    told = await page(client, "/docs")
    radio = r'<input type="radio" name="([a-z]+)" id="(tab-[a-z0-9-]+)"( checked)?>'
    groups = re.findall(radio, told)
    names = {name for name, _, _ in groups}
    assert {name for name, _, checked in groups if checked} == names >= {"chat", "stream"}
    assert all(f'<label for="{target}">' in told for _, target, _ in groups)


# /key


async def test_the_key_page_shows_the_balance_of_a_key(client):
    status, told, fields = await ask(client, f" {KEY}\n")
    assert status == 200
    for shown in ("7.50 of 10.00", "no limit", "2.50, 1,234,567 tokens", "gpt-4o*", "24 Nov"):
        assert shown in told, shown
    assert 'aria-label="75 %"' in told
    assert fields["Cache-Control"] == "no-store"
    assert "ETag" not in fields


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"revoked_at": NOW - 1}, "Is revoked"),
        ({"expires_at": NOW - 1}, "Has expired"),
        ({"quota": 10**9}, "Is used up"),
        ({"quota": None, "expires_at": None, "models": (), "rate": 0.0}, "May be used"),
    ],
)
async def test_the_state_of_a_key_is_told(sources, client, more, state):
    sources.keys_ = {KEY: account(**more)}
    _, told, _ = await ask(client, KEY)
    assert state in told


async def test_neither_page_field_nor_log_has_the_key_or_what_is_the_operators(client, app, caplog):
    caplog.set_level(0)
    for key in (KEY, f"{KEY}x", API_KEY):
        for agent in (BROWSER["User-Agent"], "curl/8"):
            _, told, fields = await ask(client, key, **{"User-Agent": agent})
            for secret in (KEY, API_KEY, NAME, "kcanary", "alice", "00" * 16):
                assert secret not in told + str(fields)
    assert KEY not in await page(client, "/key") + caplog.text


async def test_every_text_that_is_no_key_of_ours_gets_one_answer(client):
    keys = ("", " ", "mg-", "sk-proj-1", f"{KEY[:-1]}X", "x" * 900, "密钥")
    bodies = [f"key={key}".encode() for key in keys]
    told = set()
    for body in (*bodies, b"key=%00%FF\xff", b"", b"nothing=1"):
        async with client.post("/key", data=body, headers=FORM) as response:
            told.add((response.status, await response.text()))
    assert [status for status, _ in told] == [200]


FORM = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/x"])
async def test_other_forms_are_not_read(client, kind):
    part = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n'
    body, fields = part + KEY.encode() + b"\r\n--x--\r\n", {**BROWSER, "Content-Type": kind}
    async with client.post("/key?lang=en", data=body, headers=fields) as response:
        assert "This is no key" in await response.text()


async def test_a_long_body_is_no_key(client):
    async with client.post("/key?lang=en", data=b"key=" + b"x" * 100_000, headers=FORM) as response:
        assert (response.status, "This is no key" in await response.text()) == (200, True)


async def test_a_visitor_may_look_ten_times_and_then_slowly(client):
    for _ in range(10):
        assert (await ask(client, KEY))[0] == 200
    status, told, fields = await ask(client, KEY)
    assert (status, fields["Retry-After"]) == (429, "10")
    assert "7.50" not in told
    assert "Try again in 10 s" in told
    assert await page(client, "/docs"), "other pages are not limited by it"


async def test_a_key_in_the_address_is_not_looked_at(client):
    told = await page(client, f"/key?key={KEY}&lang=en")
    assert KEY not in told
    assert "7.50" not in told


async def test_a_terminal_gets_lines(client):
    _, told, fields = await ask(client, KEY, **{"User-Agent": "curl/8", "Accept": "*/*"})
    assert fields["Content-Type"].startswith("text/plain")
    assert told.splitlines()[:2] == ["May be used", "Amount left: 7.50 of 10.00"]
