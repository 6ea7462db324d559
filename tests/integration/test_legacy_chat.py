"""The legacy chat between raw clients and a raw mirror."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.forwarding.exchange import Exchange
from router.forwarding.local_handler import STAY
from router.process import control_questions, endpoints
from router.process.inner_request import InnerClient
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.legacy import (
    CHAT,
    EchoMirror,
    PretendControl,
    issue,
    message,
    plain,
    read,
    refusing,
    say,
)
from tests.testkit.legacy import answering as json_answer
from tests.testkit.raw_http import ScriptedMirror, answering
from tests.testkit.wait import wait_until_async

ON = {"legacy": True}


class Scene:
    """A data plane with legacy chat, its mirror and its control."""

    def __init__(self, plane: DataPlane, mirror: EchoMirror, control: PretendControl) -> None:
        self.plane = plane
        self.mirror = mirror
        self.control = control


@asynccontextmanager
async def scenery(
    clock: ManualClock | None = None, table: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[Scene]:
    mirror, control = EchoMirror(), PretendControl(clock if clock else None)
    times: dict[str, Any] = {} if clock is None else {"clock": clock, "wheel": clock.wheel}
    async with ScriptedMirror(mirror.script) as scripted:
        tables = [scripted.table(**(table or {}))]
        async with DataPlane(tables, ON, more, questions=control.questions, **times) as plane:
            yield Scene(plane, mirror, control)


@pytest.fixture
async def here() -> AsyncIterator[Scene]:
    async with scenery() as scene:
        yield scene


async def test_the_answer_is_as_the_sites_documented_it(here: Scene) -> None:
    answer = await here.plane.ask(message("你好"))
    expected = '{"code": 200, "message": "执行成功", "data": "echo 你好", "context": "new"}'
    assert (answer.status, answer.body.decode()) == (200, expected)
    assert answer["content-type"] == "application/json; charset=utf-8"
    asked = here.mirror.asked[0]
    assert asked == {
        "model": "gpt-3.5-turbo",
        "messages": [{"role": "user", "content": "你好"}],
    }
    assert b"\r\nauthorization: Bearer sk-own\r\n" in here.mirror.heads[0]


async def test_it_says_that_there_is_something_newer(here: Scene) -> None:
    for request in (message("hello"), message("")):
        answer = await here.plane.ask(request)
        assert answer["deprecation"] == "@1796083200"
        assert answer["sunset"] == "Fri, 31 Dec 2027 00:00:00 GMT"
        assert answer["link"] == '</v1/chat/completions>; rel="successor-version"'
        assert "x-request-id" in answer or "x-mirrorgate-request-id" in answer


async def test_a_session_remembers_and_is_nobody_elses(here: Scene) -> None:
    await say(here.plane, "one")
    assert (await say(here.plane, "two"))["context"] == "kept"
    assert (await say(here.plane, "other session", session="t"))["context"] == "new"
    assert (await say(here.plane, "other key", key="sk-other"))["context"] == "new"
    assert here.mirror.said == [
        ["one"],
        ["one", "echo one", "two"],
        ["other session"],
        ["other key"],
    ]
    roles = [m["role"] for m in here.mirror.asked[1]["messages"]]
    assert roles == ["user", "assistant", "user"]


async def test_key_and_session_are_not_told_to_control_in_clear(here: Scene) -> None:
    await say(here.plane, "one", session="my-session", key="sk-secret")
    told = repr([m for m in here.control.heard if m["type"] == "session?"])
    assert told
    assert "my-session" not in told
    assert "sk-secret" not in told


async def test_half_an_hour_later_the_context_is_gone() -> None:
    clock = ManualClock(running=True)
    async with scenery(clock) as here:
        await say(here.plane, "one")
        clock.advance(1799)
        assert (await say(here.plane, "two"))["context"] == "kept"
        clock.advance(1800)
        assert (await say(here.plane, "three"))["context"] == "new"


async def test_messages_of_one_session_wait_for_each_other(here: Scene) -> None:
    here.mirror.held["one"] = asyncio.Event()
    first = await here.plane.send(message("one"))
    await wait_until_async(lambda: here.mirror.said == [["one"]])
    second = await here.plane.send(message("two"))
    await wait_until_async(lambda: sum(m["type"] == "session?" for m in here.control.heard) == 2)
    assert (await say(here.plane, "elsewhere", session="t"))["data"] == "echo elsewhere"
    assert here.mirror.said == [["one"], ["elsewhere"]]
    here.mirror.held["one"].set()
    assert read(await first.response())["data"] == "echo one"
    assert read(await second.response())["data"] == "echo two"
    assert here.mirror.said[-1] == ["one", "echo one", "two"]


async def test_too_many_messages_of_one_session_are_refused(here: Scene) -> None:
    here.mirror.held["0"] = asyncio.Event()
    clients = [await here.plane.send(message("0"))]
    await wait_until_async(lambda: here.mirror.said == [["0"]])
    clients += [await here.plane.send(message(str(at))) for at in range(1, 17)]
    await wait_until_async(lambda: sum(m["type"] == "session?" for m in here.control.heard) == 17)
    answer = await here.plane.ask(message("one too many"))
    assert (answer.status, answer["retry-after"]) == (429, "5")
    assert read(answer)["message"].startswith("请求过于频繁，请稍后再试。 Other messages")
    here.mirror.held["0"].set()
    answers = [read(await client.response()) for client in clients]
    assert {answer["data"] for answer in answers} == {f"echo {at}" for at in range(17)}
    assert len(here.mirror.said[-1]) == 2 * 16 + 1


async def test_a_client_that_leaves_cancels_its_question_and_gives_the_session_back(
    here: Scene,
) -> None:
    here.mirror.held["long"] = asyncio.Event()
    client = await here.plane.send(message("long"))
    await wait_until_async(lambda: here.plane.in_flight == 1)
    await client.close()
    await wait_until_async(lambda: here.plane.in_flight == 0, 5, "the question to be taken back")
    assert here.plane.finished[-1].outcome == "client_abort"
    assert here.plane.context.limits.held == 0
    assert (await say(here.plane, "next"))["context"] == "new", "what failed is not remembered"


async def test_a_client_that_leaves_while_it_waits_holds_nothing_up(here: Scene) -> None:
    here.mirror.held["one"] = asyncio.Event()
    first = await here.plane.send(message("one"))
    await wait_until_async(lambda: here.mirror.said == [["one"]])
    second = await here.plane.send(message("two"))
    await wait_until_async(lambda: sum(m["type"] == "session?" for m in here.control.heard) == 2)
    await second.close()
    await wait_until_async(lambda: any(m["type"] == "session!" for m in here.control.heard))
    here.mirror.held["one"].set()
    await first.response()
    assert (await say(here.plane, "three"))["data"] == "echo three"
    assert here.mirror.said == [["one"], ["one", "echo one", "three"]]


async def test_another_mirror_answers_where_one_fails() -> None:
    mirror, control = EchoMirror(), PretendControl()
    broken = answering(refusing("500 Internal Server Error", "broken"))
    async with ScriptedMirror(broken) as bad, ScriptedMirror(mirror.script, "b") as good:
        router = {**ON, "balance": {"policy": "priority"}}
        tables = [bad.table(priority=1), good.table(priority=2)]
        async with DataPlane(tables, router, questions=control.questions) as plane:
            answer = await plane.ask(message("hello"))
            assert read(answer)["data"] == "echo hello"
            assert (answer["x-mirrorgate-mirror"], answer["x-mirrorgate-attempts"]) == ("b", "2")


@pytest.mark.parametrize(
    ("instead", "status", "text"),
    [
        (refusing("401 Unauthorized", "Wrong key."), 401, "密钥无效。 Wrong key."),
        (
            refusing("429 Too Many Requests", "No money.", "insufficient_quota"),
            429,
            "额度已用完。 No money.",
        ),
        (refusing("400 Bad Request", "Bad."), 400, "请求无效。 Bad."),
        (
            json_answer({"error": {"message": None}}, "400 Bad Request"),
            400,
            "请求无效。 The mirror answered 400.",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
            b'{"choices":[]}',
            502,
            "镜像出错。 The mirror's answer has no text. Try again.",
        ),
    ],
)
async def test_refusals_of_a_mirror_are_translated_to_the_legacy_shape(
    here: Scene, instead: bytes, status: int, text: str
) -> None:
    await say(here.plane, "one")
    here.mirror.instead.append(instead)
    answer = await here.plane.ask(message("two"))
    assert answer.status == status
    assert read(answer) == {"code": status, "message": text, "data": None}
    if status == 429:
        answer = await here.plane.ask(message("three"))  # the mirror is left alone for a moment
        assert (answer.status, read(answer)["message"][:7]) == (429, "额度已用完。 ")
    else:
        await say(here.plane, "three")
        assert here.mirror.said[-1] == ["one", "echo one", "three"]


async def test_an_answer_that_breaks_off_is_an_error(here: Scene) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 60)
        await writer.drain()

    control = PretendControl()
    async with ScriptedMirror(script) as mirror:
        async with DataPlane([mirror.table()], ON, questions=control.questions) as plane:
            answer = await plane.ask(message("hello"))
            assert answer.status == 502
            assert read(answer)["message"].startswith("镜像出错。 ")


async def test_too_long_a_context_is_halved(here: Scene) -> None:
    for text in ("one", "two", "three", "four"):
        await say(here.plane, text)
    too_long = refusing("400 Bad Request", "Too long.", "context_length_exceeded")
    here.mirror.instead.append(too_long)
    assert (await say(here.plane, "five"))["context"] == "kept"
    assert here.mirror.said[-1] == ["three", "echo three", "four", "echo four", "five"]
    await say(here.plane, "six")
    assert here.mirror.said[-1][0] == "three"


async def test_the_oldest_turns_are_left_out_of_a_small_window() -> None:
    async with scenery(legacy={"window": 100}) as here:
        for text in ("one", "two", "three", "four"):
            await say(here.plane, text * 10)
        kept = here.mirror.said[-1]
        assert kept[-1] == "four" * 10
        assert "one" * 10 not in kept
        assert len(kept) in (3, 5)


async def test_an_issued_key_is_charged_and_the_endpoint_has_a_name_of_its_own() -> None:
    async with scenery(table={"api_key": "sk-mirror", "client_keys": []}) as here:
        key = issue(here.plane)
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        told = {"choices": [{"message": {"content": "hi"}}], "usage": usage}
        here.mirror.instead.append(json_answer(told))
        assert (await say(here.plane, "hello", key=key))["data"] == "hi"
        charged = here.plane.context.metering.uses.due(float("inf"))
        assert charged is not None
        (row,) = charged["rows"]
        assert (row[0], row[3], row[4], row[5], row[7]) == ("k1", "usage", 1, 7, 3)
        assert b"Bearer sk-mirror" in here.mirror.heads[-1]
        assert key.encode() not in here.mirror.heads[-1]
        ends = [(end.endpoint, end.status, end.mirror) for end in here.plane.finished]
        assert ends == [("legacy_chat", 200, "a")]


async def test_an_issued_key_is_one_owner_however_it_is_spelled() -> None:
    async with scenery(table={"api_key": "sk-mirror", "client_keys": []}) as here:
        key = issue(here.plane)
        for spelled in (key, f"{key}/1", f"2{key}", f"%6D{key[1:]}"):
            await say(here.plane, "hello", key=spelled)
        asked = [m for m in here.control.heard if m["type"] == "session?"]
        assert len({m["owner"] for m in asked}) == len({m["session"] for m in asked}) == 1


async def test_limits_and_unknown_keys_are_told_in_the_old_shape() -> None:
    one = {"connections": 1, "requests_per_second": 0}
    async with scenery(limits=one, table={"api_key": "sk-mirror"}) as here:
        here.mirror.held["long"] = asyncio.Event()
        first = await here.plane.send(message("long"))
        await wait_until_async(lambda: here.plane.in_flight == 1)
        answer = await here.plane.ask(message("hello", session="t"))
        assert answer.status == 429
        assert read(answer)["message"].startswith("同时进行的请求过多，请稍后再试。 ")
        assert int(answer["retry-after"]) >= 1
        here.mirror.held["long"].set()
        await first.response()
        key = issue(here.plane)
        here.plane.context.keys.remove(["k1"])
        answer = await here.plane.ask(message("hello", key=key))
        assert answer.status == 401
        assert key not in answer.body.decode()


async def test_malformed_legacy_requests_are_counted_and_have_an_id(here: Scene) -> None:
    answer = await here.plane.ask(message(""))
    assert (answer.status, read(answer)["data"]) == (400, None)
    assert answer["x-request-id"] == answer["x-mirrorgate-request-id"]
    end = here.plane.finished[-1]
    assert (end.endpoint, end.status, end.target) == ("legacy_chat", 400, CHAT.encode())
    answer = await here.plane.ask(plain(CHAT))
    assert (answer.status, answer["allow"]) == (405, "POST, OPTIONS")
    large = message("x" * (30 << 10))
    assert (await here.plane.ask(large)).status == 413
    in_pieces = (
        plain(CHAT, "Transfer-Encoding: chunked", method="POST")
        + b"8000\r\n"
        + b"x" * 0x8000
        + b"\r\n0\r\n\r\n"
    )
    assert (await here.plane.ask(in_pieces)).status == 413
    escaped = json.dumps({"apiKey": "k", "sessionId": "s", "content": "😀" * 1000}).encode()
    fields = ("Content-Type: application/json", f"Content-Length: {len(escaped)}")
    assert (await here.plane.ask(plain(CHAT, *fields, method="POST") + escaped)).status == 200


async def test_an_unreadable_body_is_refused_in_the_legacy_shape(
    here: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(endpoints, "_LONGEST_BODY", 0.1)
    chunked = plain(CHAT, "Transfer-Encoding: chunked", method="POST")
    for request in (chunked + b"zz\r\nsk-own", message("hello")[:-5]):
        answer = await here.plane.ask(request)
        assert (answer.status, read(answer)["message"][:7]) == (408, "请求超时。 T")
    for coding in ("gzip", "br", "gzip, identity"):
        answer = await here.plane.ask(message("hi", "s", "k", f"Content-Encoding: {coding}"))
        assert (answer.status, read(answer)["data"]) == (415, None)
    assert not here.mirror.asked
    assert not caplog.records


async def test_long_fields_and_expect_are_accepted_as_on_other_paths(here: Scene) -> None:
    for field in ("X-Long: " + "x" * 12_000, "Expect: the-best", "Content-Encoding: identity"):
        assert (await here.plane.ask(message("hello", "s", "sk-own", field))).status == 200
    client = await here.plane.send(message("hello", "s", "sk-own", "Expect: 100-continue"))
    assert (await client.head())[0] == 100
    assert (await client.response()).status == 200


async def test_received_bytes_are_counted_not_the_declared_length(here: Scene) -> None:
    promise = plain(CHAT, "Content-Length: 999999999999", method="PUT")
    assert (await here.plane.ask(promise)).status == 405
    assert here.plane.finished[-1].received == 0


async def test_a_client_that_leaves_with_pipelined_requests_cancels_its_question(
    here: Scene,
) -> None:
    here.mirror.held["long"] = asyncio.Event()
    client = await here.plane.send(message("long") + 40 * plain("/healthz"))
    await wait_until_async(lambda: here.plane.in_flight == 1)
    await client.send(10_000 * plain("/healthz"))
    client.reset()
    await wait_until_async(lambda: here.plane.in_flight == 0, 5, "the question to be taken back")


async def test_a_request_that_waits_for_a_session_has_one_of_its_clients_places() -> None:
    async with scenery(limits={"connections": 2, "requests_per_second": 0}) as here:
        here.mirror.held["long"] = asyncio.Event()
        clients = [await here.plane.send(message("long"))]
        await wait_until_async(lambda: here.plane.in_flight == 1)
        clients.append(await here.plane.send(message("two")))
        await wait_until_async(lambda: here.plane.context.limits.held == 2)
        answer = await here.plane.ask(message("three"))
        assert (answer.status, "retry-after" in answer) == (429, True)
        assert read(answer)["message"].startswith("同时进行的请求过多，请稍后再试。 ")
        here.mirror.held["long"].set()
        assert [read(await client.response())["code"] for client in clients] == [200, 200]
        await wait_until_async(lambda: here.plane.context.limits.held == 0)
        assert (await say(here.plane, "four"))["context"] == "kept"


async def test_where_keys_are_counted_waiting_counts_by_key() -> None:
    limits = {"connections": 2, "requests_per_second": 0, "by": "key"}
    async with scenery(table={"api_key": "sk-mirror"}, limits=limits) as here:
        one, other = issue(here.plane), issue(here.plane, "k2")
        here.mirror.held["long"] = asyncio.Event()
        clients = [await here.plane.send(message("long", key=one)) for _ in range(2)]
        await wait_until_async(lambda: here.plane.context.limits.held == 2)
        answer = await here.plane.ask(message("three", key=one))
        assert (answer.status, read(answer)["message"][:7]) == (429, "同时进行的请求")
        await say(here.plane, "of another key", key=other)
        here.mirror.held["long"].set()
        assert [read(await client.response())["code"] for client in clients] == [200, 200]


async def test_an_answer_may_take_long() -> None:
    clock = ManualClock(running=True)
    async with scenery(clock) as here:
        here.mirror.held["long"] = asyncio.Event()
        client = await here.plane.send(message("long"))
        await wait_until_async(lambda: here.plane.in_flight == 1)
        clock.advance(3 * STAY)
        here.mirror.held["long"].set()
        assert read(await client.response())["data"] == "echo long"


async def test_a_client_that_does_not_read_the_answer_is_cut_as_elsewhere() -> None:
    clock = ManualClock(running=True)
    async with scenery(clock) as here:
        large = {"choices": [{"message": {"content": "x" * 3_900_000}}]}
        here.mirror.instead.append(json_answer(large))
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", here.plane.port))
            client.send(message("hello"))
            crowd = here.plane.context.connections
            await wait_until_async(lambda: len(here.plane.finished) == 1)
            await wait_until_async(lambda: [door.vacant for door in crowd.all()] == [True])
            clock.advance(here.plane.context.timeouts.write_stall + 1)
            await wait_until_async(lambda: not crowd)


async def test_a_worker_that_stops_finishes_the_answer(here: Scene) -> None:
    here.mirror.held["long"] = asyncio.Event()
    client = await here.plane.send(message("long"))
    await wait_until_async(lambda: here.plane.in_flight == 1)
    here.plane.context.drain()
    assert not here.plane.context.emptied.is_set()
    here.mirror.held["long"].set()
    assert read(await client.response())["data"] == "echo long"
    await client.close()
    await wait_until_async(here.plane.context.emptied.is_set)


async def test_a_ban_ends_what_a_mirror_is_asked_for(here: Scene) -> None:
    here.mirror.held["long"] = asyncio.Event()
    client = await here.plane.send(message("long"))
    await wait_until_async(lambda: here.mirror.said == [["long"]])
    here.plane.context.ban([("127.0.0.1/32", None, "b" * 12, "too greedy")])
    assert await client.at_end()
    await wait_until_async(lambda: here.plane.in_flight == 0)
    for request in (message("again"), plain("/pro/balance?apiKey=sk-own")):
        answer = await here.plane.ask(request)
        assert answer.status == 403
        assert read(answer)["message"].startswith("此地址已被封禁。 ")
    assert (await here.plane.ask(plain("/pro/other"))).error["code"] == "client_banned"
    assert len(here.mirror.heads) == 1


async def test_without_control_messages_are_answered_without_context(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await say(here.plane, "one")
    monkeypatch.setattr(control_questions, "FIRST_REPLY", 0.01)
    here.control.silent = True
    assert (await say(here.plane, "two"))["context"] == "new"
    here.control.silent = False
    monkeypatch.undo()
    assert (await say(here.plane, "three"))["context"] == "kept"
    assert here.mirror.said[1:] == [["two"], ["one", "echo one", "three"]]


async def test_before_control_was_heard_there_is_no_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control_questions, "FIRST_REPLY", 0.01)
    mirror = EchoMirror()
    async with (
        ScriptedMirror(mirror.script) as scripted,
        DataPlane([scripted.table()], ON) as plane,
    ):
        assert (await say(plane, "one"))["context"] == "new"
        assert (await say(plane, "two"))["context"] == "new"


async def test_pages_of_an_origin_may_read_it_if_it_is_allowed() -> None:
    mirror, app = EchoMirror(), "https://app.example"
    settings = {**ON, "cors_origins": [app]}
    async with (
        ScriptedMirror(mirror.script) as scripted,
        DataPlane([scripted.table()], settings) as plane,
    ):
        answer = await plane.ask(message("hi", "s", "sk-own", f"Origin: {app}"))
        assert answer["access-control-allow-origin"] == app
        asks = "Access-Control-Request-Method: POST"
        for origin, allowed in ((app, True), ("https://evil.example", False)):
            preflight = plain(CHAT, f"Origin: {origin}", asks, method="OPTIONS")
            answer = await plane.ask(preflight)
            assert answer.status == 204
            assert ("access-control-allow-origin" in answer) is allowed


async def test_a_reload_switches_it_on_and_changes_its_settings() -> None:
    mirror = EchoMirror()
    async with ScriptedMirror(mirror.script) as scripted, DataPlane([scripted.table()]) as plane:
        assert (await plane.ask(message("hello"))).status == 404
        plane.router, plane.more = ON, {"legacy": {"model": "gpt-4o", "content": 5}}
        plane.context.configure(plane.config([scripted.table()]), plane.context.snapshot)
        await say(plane, "hello")
        assert mirror.asked[-1]["model"] == "gpt-4o"
        assert (await plane.ask(message("123456"))).status == 400


async def test_switched_off_there_is_nothing() -> None:
    mirror = EchoMirror()
    async with ScriptedMirror(mirror.script) as scripted, DataPlane([scripted.table()]) as plane:
        answer = await plane.ask(message("hello"))
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        assert (await plane.ask(plain("/pro/balance?apiKey=sk-own"))).status == 404
        assert not mirror.asked


async def test_nothing_is_left_of_an_answered_message(here: Scene) -> None:
    await say(here.plane, "warm")
    gc.collect()
    gc.disable()
    try:
        for at in range(5):
            await say(here.plane, str(at))
        await wait_until_async(
            lambda: sum(isinstance(each, Exchange | InnerClient) for each in gc.get_objects()) <= 2,
            what="all but the last to be gone, which the mirror's kept connection knows",
        )
    finally:
        gc.enable()
