"""A mirror's own key that is refused, and recovers: an outage here, and no guess of the caller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from router.admission.credentials import new_key
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import each_loop, run_on
from tests.testkit.raw_http import OK, RawClient, ScriptedMirror, answering, get, post

KEY = new_key("mg-")
LENDS = {"api_key": "sk-mirror", "client_keys": ["sk-*"]}
CALLERS = {"callers": ["issued", "anonymous", "own"], "cors_origins": []}


def up(name: str, refused: bool = False, models: tuple[str, ...] = ()) -> MirrorHealth:
    """A mirror that is up, as a probe has just found it."""
    return MirrorHealth(name, State.up, key_refused=refused, models=models, last_probe=1.0)


def learn(plane: DataPlane, *mirrors: MirrorHealth) -> None:
    """Give the plane a new snapshot."""
    plane.context.learn(HealthSnapshot(1, 1.0, "test", {mirror.id: mirror for mirror in mirrors}))


def refuse(plane: DataPlane, *names: str) -> None:
    """Tell the plane which mirrors are up but refuse their own key; all others are up."""
    found = [up(upstream.id, upstream.id in names) for upstream in plane.context.upstreams]
    learn(plane, *found)


def issue(plane: DataPlane, expires_at: float | None = None) -> None:
    """Let the plane know the key."""
    ring = plane.context.keys
    ring.season("01" * 32)
    ring.extend([("k1", ring.digest(KEY.encode()).hex(), expires_at, 0.0, "", None, None)])


def with_key(key: str) -> bytes:
    """A chat request with this key, or without any."""
    field = f"Authorization: Bearer {key}\r\n" if key else ""
    asked = post().replace(b"Authorization: Bearer sk-x\r\n", field.encode())
    return asked.replace(b"Host: test", b"Host: localhost")


def violations(plane: DataPlane) -> list[str]:
    """Return the violations, which can lead to a ban."""
    return [alert.rule for alert in plane.context.alerts.take()]


@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
async def test_callers_get_503_and_no_violation_while_every_mirror_refuses_its_key(
    key: str,
) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            refuse(plane, "a")
            answer = await plane.ask(with_key(key))
            assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
            assert int(answer["retry-after"]) > 0
            assert violations(plane) == []
            assert (await plane.ask(with_key("sk-x"))).status == 200, "callers' keys still go there"


@pytest.mark.parametrize(
    "tables",
    [
        pytest.param([{"client_keys": ["*"]}], id="no mirror has a key to lend"),
        pytest.param([{**LENDS, "enabled": False}, {}], id="the one that has is disabled"),
    ],
)
async def test_a_good_issued_key_that_no_mirror_serves_is_no_violation(
    tables: list[dict[str, Any]],
) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        given = [mirror.table() | {"id": f"m{at}"} | table for at, table in enumerate(tables)]
        async with DataPlane(given, CALLERS) as plane:
            issue(plane)
            answer = await plane.ask(with_key(KEY))
            assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
            assert violations(plane) == []


async def test_an_expired_key_is_refused_and_is_no_guess() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            issue(plane, expires_at=1.0)
            answer = await plane.ask(with_key(KEY))
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert violations(plane) == []


async def test_a_key_of_the_callers_own_that_no_mirror_understands_is_a_violation() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            refuse(plane, "a")
            answer = await plane.ask(with_key("other-x"))
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert violations(plane) == ["invalid_api_key"]


async def test_an_own_key_is_good_though_the_only_mirror_that_takes_it_is_disabled() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        tables = [
            mirror.table(client_keys=["ak-*"]),
            {**mirror.table(client_keys=["sk-*"], enabled=False), "id": "b"},
        ]
        async with DataPlane(tables, CALLERS) as plane:
            answer = await plane.ask(with_key("sk-x"))
            assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
            assert violations(plane) == []


@pytest.mark.parametrize("key", ["sk-x", KEY], ids=["own", "issued"])
async def test_a_path_that_no_mirror_of_the_key_serves_is_no_fault_of_the_key(key: str) -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(**LENDS, paths=["/v1/embeddings/"])], CALLERS) as plane:
            issue(plane)
            answer = await plane.ask(with_key(key))
            assert (answer.status, answer.error["code"]) == (404, "unknown_url")
            assert violations(plane) == []


async def _mirrors_of(client: RawClient, requests: Iterable[bytes]) -> list[str]:
    found = []
    for request in requests:
        await client.send(request)
        answer = await client.response()
        found.append(answer["x-mirrorgate-mirror"] if answer.status == 200 else str(answer.status))
    return found


@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
async def test_a_kept_connection_follows_what_becomes_of_a_mirrors_key(key: str) -> None:
    async with ScriptedMirror(answering(OK)) as one, ScriptedMirror(answering(OK), "b") as other:
        async with DataPlane([one.table(**LENDS), other.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            client = await plane.connect()
            for refused, asked in (("b", "a"), ("a", "b"), ("b", "a")):
                refuse(plane, refused)
                assert await _mirrors_of(client, [with_key(key)] * 4) == [asked] * 4
            refuse(plane, "a", "b")
            assert await _mirrors_of(client, [with_key(key)]) == ["503"]
            refuse(plane, "a")
            assert await _mirrors_of(client, [with_key(key)] * 2) == ["b", "b"]


async def test_a_kept_connection_follows_which_models_a_mirror_lacks() -> None:
    body = b'{"model": "x"}'
    asked = post(body=body).replace(b"sk-x", KEY.encode())

    async with ScriptedMirror(answering(OK)) as one, ScriptedMirror(answering(OK), "b") as other:
        async with DataPlane([one.table(**LENDS), other.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            client = await plane.connect()
            for has, lacks in (("a", "b"), ("b", "a")):
                learn(plane, up(has, models=("x", "y")), up(lacks, models=("y",)))
                assert await _mirrors_of(client, [asked] * 3) == [has] * 3


async def test_a_kept_connection_follows_new_settings() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            client = await plane.connect()
            assert await _mirrors_of(client, [get(), get()]) == ["a", "a"]
            plane.context.configure(
                plane.config([mirror.table(client_keys=["ak-*"])]), plane.context.snapshot
            )
            assert await _mirrors_of(client, [get()]) == ["401"]


async def test_a_kept_connection_of_a_proxy_follows_where_it_names_the_client() -> None:
    asked = get("/v1/models", "X-Forwarded-For: 203.0.113.7", "CF-Connecting-IP: 203.0.113.8")
    async with ScriptedMirror(answering(OK)) as mirror:
        settings = {"trusted_proxies": ["private"], "client_ip_header": "x-forwarded-for"}
        async with DataPlane([mirror.table()], settings) as plane:
            client = await plane.connect()
            assert await _mirrors_of(client, [asked, asked]) == ["a", "a"]
            plane.router = settings | {"client_ip_header": "cf-connecting-ip"}
            plane.context.configure(plane.config([mirror.table()]), plane.context.snapshot)
            assert await _mirrors_of(client, [asked, asked]) == ["a", "a"]
            named = [end.client for end in plane.finished]
            assert named == ["203.0.113.7"] * 2 + ["203.0.113.8"] * 2


def _saying(status: int) -> bytes:
    body = b'{"error": {"message": "no", "code": "invalid_api_key"}}'
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
async def test_an_outage_is_told_as_soon_as_every_mirror_has_refused_its_key(
    key: str, status: int
) -> None:
    refusing = answering(_saying(status))
    async with ScriptedMirror(refusing) as one, ScriptedMirror(refusing, "b") as other:
        async with DataPlane([one.table(**LENDS), other.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            answer = await plane.ask(with_key(key))
            assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
            assert int(answer["retry-after"]) > 0
            assert sorted(plane.refused) == ["a", "b"], "control hears of both keys"
            assert violations(plane) == []


async def test_a_mirror_that_fails_in_another_way_makes_it_no_outage_of_keys() -> None:
    refusing, broken = answering(_saying(401)), answering(_saying(500))
    async with ScriptedMirror(refusing) as one, ScriptedMirror(broken, "b") as other:
        async with DataPlane([one.table(**LENDS), other.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            answer = await plane.ask(with_key(KEY))
            assert answer.status in (500, 502)
            assert plane.refused in ([], ["a"])


async def test_a_refused_key_of_the_callers_own_is_not_told_as_a_mirrors() -> None:
    async with ScriptedMirror(answering(_saying(401))) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            assert (await plane.ask(with_key("sk-x"))).status == 401
            assert plane.refused == []


def _unpaid(status: int, code: str, kind: str = "requests") -> bytes:
    body = b'{"error": {"message": "no", "type": "%b", "code": "%b"}}' % (
        kind.encode(),
        code.encode(),
    )
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _events(code: str) -> bytes:
    event = b'data: {"error": {"message": "no", "type": "x", "code": "%b"}}\n\n' % code.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(event)}"
    return head.encode() + b"\r\n\r\n" + event


OUT_OF_QUOTA = [
    pytest.param(_unpaid(429, "insufficient_quota"), id="429 by code"),
    pytest.param(_unpaid(429, "", "insufficient_quota"), id="429 by type"),
    pytest.param(_unpaid(429, "credit_balance_exhausted"), id="429, no credit"),
    pytest.param(_unpaid(429, "billing_hard_limit_reached"), id="429, hard limit"),
    pytest.param(_unpaid(400, "billing_hard_limit_reached"), id="400, as of images"),
    pytest.param(_unpaid(403, "insufficient_user_quota"), id="403"),
    pytest.param(_unpaid(402, "payment"), id="402"),
    pytest.param(_unpaid(404, "account_deactivated"), id="404, deactivated"),
    pytest.param(_unpaid(400, "INSUFFICIENT_BALANCE"), id="400, balance"),
    pytest.param(_unpaid(429, "pre_consume_token_quota_failed"), id="429, New API"),
    pytest.param(_unpaid(200, "insufficient_quota"), id="200 with an error"),
    pytest.param(_events("insufficient_quota"), id="an event"),
]


async def _passed_over(key: str, answer: bytes) -> None:
    async with ScriptedMirror(answering(answer)) as one, ScriptedMirror(answering(OK), "b") as two:
        tables = [one.table(**LENDS, priority=0), {**two.table(**LENDS), "priority": 1}]
        async with DataPlane(tables, {**CALLERS, "balance": {"policy": "priority"}}) as plane:
            issue(plane)
            client = await plane.connect()
            assert await _mirrors_of(client, [with_key(key)]) == ["b"]
            assert plane.refused == ["a"], "control is to check this key"


@each_loop
@pytest.mark.parametrize("answer", OUT_OF_QUOTA)
@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
def test_a_mirror_whose_own_key_is_out_of_quota_is_passed_over(
    key: str, answer: bytes, loop_name: str
) -> None:
    run_on(loop_name, _passed_over(key, answer))


@pytest.mark.parametrize("answer", OUT_OF_QUOTA)
@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
async def test_an_outage_is_told_while_every_mirrors_own_key_is_out_of_quota(
    key: str, answer: bytes
) -> None:
    async with ScriptedMirror(answering(answer)) as one, ScriptedMirror(answering(answer)) as two:
        tables = [one.table(**LENDS), {**two.table(**LENDS), "id": "b"}]
        async with DataPlane(tables, CALLERS) as plane:
            issue(plane)
            for _ in range(3):
                told = await plane.ask(with_key(key))
                assert (told.status, told.error["code"]) == (503, "no_mirror_available")
                assert int(told["retry-after"]) > 0
            assert set(plane.refused) == {"a", "b"}
            assert violations(plane) == []


async def test_a_key_out_of_quota_is_not_lent_for_a_while_but_callers_keys_pass() -> None:
    asked: list[tuple[bytes, bytes]] = []
    refusing = answering(_unpaid(429, "insufficient_quota"), asked)
    async with ScriptedMirror(refusing) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            for _ in range(3):
                assert (await plane.ask(with_key(KEY))).status == 503
            assert len(asked) == 1, "it is not asked with its own key again at once"
            told = await plane.ask(with_key("sk-x"))
            assert (told.status, told.error["code"]) == (429, "insufficient_quota")
            assert len(asked) == 2
            assert plane.refused == ["a"], "a caller's own quota is no word on the mirror's key"
            assert violations(plane) == []


async def test_a_rate_limit_of_a_mirrors_own_key_is_still_a_rate_limit() -> None:
    limiting = answering(_unpaid(429, "rate_limit_exceeded"))
    async with ScriptedMirror(limiting) as mirror:
        async with DataPlane([mirror.table(**LENDS)], CALLERS) as plane:
            issue(plane)
            told = await plane.ask(with_key(KEY))
            assert (told.status, told.error["code"]) == (429, "upstream_rate_limited")
            assert plane.refused == []
