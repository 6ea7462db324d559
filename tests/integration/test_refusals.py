"""A mirror's own 4xx: another mirror is asked, and such requests keep away for a while."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from router.balancing.refusals import FIRST_WAIT, MOST_KEYS
from tests.integration.test_key_outages import CALLERS, KEY, issue, violations, with_key
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import (
    OK,
    SWITCHED,
    UPGRADE,
    Response,
    Script,
    ScriptedMirror,
    get,
    post,
    read_request,
)

BODY = b'{"model": "gpt-4o", "messages": []}'
FIRST = {"balance": {"policy": "priority"}}
Seen = dict[str, list[bytes]]


def saying(
    status: int, code: str = "", message: str = "no", *fields: str, kind: str = "x"
) -> bytes:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": kind, "code": code or None}
    return raw(status, json.dumps({"error": error}).encode(), "application/json", *fields)


def raw(status: int, body: bytes, media: str, *fields: str) -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {media}", f"Content-Length: {len(body)}"]
    return ("\r\n".join([*lines, *fields]) + "\r\n\r\n").encode() + body


NO_KEY = saying(401, "invalid_api_key")
NO_MODEL = saying(404, "model_not_found")
NO_PATH = raw(404, b"404 page not found", "text/plain")
ONE_API = saying(503, "model_not_found", "no available channel for model gpt-4o")

REFUSALS = [
    pytest.param(NO_KEY, id="401"),
    pytest.param(saying(402, "payment_required"), id="402"),
    pytest.param(saying(403, "unsupported_country_region_territory"), id="403, region"),
    pytest.param(saying(403, "insufficient_user_quota"), id="403, quota"),
    pytest.param(saying(400, "billing_hard_limit_reached"), id="400, quota"),
    pytest.param(NO_MODEL, id="404, model"),
    pytest.param(saying(400, "model_not_found"), id="400, model"),
    pytest.param(saying(404, message="The model `gpt-4o` does not exist."), id="404, vLLM"),
    pytest.param(ONE_API, id="503, One API"),
    pytest.param(saying(200, "model_not_found"), id="200, model"),
    pytest.param(NO_PATH, id="404, text"),
    pytest.param(raw(404, b"<html>not here</html>", "text/html"), id="404, page"),
    pytest.param(raw(404, b'{"detail": "Not Found"}', "application/json"), id="404, FastAPI"),
    pytest.param(saying(404, message="Invalid URL (POST /v1/x)", kind="y"), id="404, URL"),
    pytest.param(raw(405, b"", "text/plain"), id="405"),
    pytest.param(raw(501, b"", "text/plain"), id="501"),
    pytest.param(
        raw(404, gzip.compress(NO_MODEL.partition(b"\r\n\r\n")[2]), "application/json",
            "Content-Encoding: gzip"),
        id="404, model, compressed",
    ),
]  # fmt: skip


@asynccontextmanager
async def mirrors(
    answers: Mapping[str, bytes | Script], time: ManualClock | None = None, **more: Any
) -> AsyncIterator[tuple[DataPlane, Seen]]:
    """A plane that asks mirrors in the order of their names, and what each of them was asked."""
    seen: Seen = {name: [] for name in answers}
    callers = more.pop("callers", {})
    async with AsyncExitStack() as stack:
        tables = []
        for place, (name, answer) in enumerate(answers.items()):
            script = _noting(answer, seen[name])
            mirror = await stack.enter_async_context(ScriptedMirror(script, name))
            tables.append(mirror.table(priority=place, **more))
        clocks: dict[str, Any] = {"wheel": time.wheel, "clock": time} if time else {}
        yield (
            await stack.enter_async_context(DataPlane(tables, {**FIRST, **callers}, **clocks)),
            seen,
        )


def _noting(answer: bytes | Script, seen: list[bytes]) -> Script:
    if callable(answer):
        return answer

    async def script(reader, writer) -> None:
        while True:
            head, _ = await read_request(reader)
            seen.append(head)
            writer.write(answer)
            await writer.drain()

    return script


def counts(seen: Seen) -> list[int]:
    return [len(requests) for requests in seen.values()]


def chat(key: str = "sk-x", body: bytes = BODY) -> bytes:
    return post(body=body).replace(b"sk-x", key.encode())


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_of_one_mirror_is_another_ones_to_answer_and_is_learnt(
    refusal: bytes,
) -> None:
    async with mirrors({"a": refusal, "b": OK, "c": OK}) as (plane, seen):
        told = [await plane.ask(chat()) for _ in range(4)]
        assert [answer.status for answer in told] == [200] * 4
        assert [answer["x-mirrorgate-mirror"] for answer in told] == ["b"] * 4
        assert counts(seen) == [1, 4, 0], "asked once, then left alone"
        assert plane.in_flight == 0
        assert plane.suspected == [], "it says nothing about the mirror's health"


async def test_images_and_stored_responses_are_not_done_by_who_refuses_the_key() -> None:
    async with mirrors({"a": NO_KEY, "b": OK}) as (plane, seen):
        for path in ("/v1/images/generations", "/v1/responses"):
            answer = await plane.ask(post(path, BODY).replace(b"sk-x", path.encode()))
            assert answer.status == 200
        assert counts(seen) == [2, 2]


OF_THE_REQUEST = [
    saying(400, "context_length_exceeded"),
    saying(400, message="the model gpt-4o does not take images"),
    saying(403, "content_policy_violation"),
    saying(404, "previous_response_not_found"),
    saying(422, "x"),
    raw(400, b"bad", "text/plain"),
]


@pytest.mark.parametrize("refusal", OF_THE_REQUEST)
async def test_a_refusal_of_the_request_itself_is_the_clients_at_once(refusal: bytes) -> None:
    async with mirrors({"a": refusal, "b": OK}) as (plane, seen):
        for _ in range(2):
            answer = await plane.ask(chat())
            assert answer.body == refusal.partition(b"\r\n\r\n")[2]
        assert counts(seen) == [2, 0]


async def test_an_unknown_id_is_no_missing_path() -> None:
    async with mirrors({"a": NO_PATH, "b": OK}) as (plane, seen):
        assert (await plane.ask(get("/v1/files/file-abc"))).status == 404
        assert counts(seen) == [1, 0]


async def test_when_all_refuse_the_client_has_the_first_answer_and_then_one_is_asked() -> None:
    answers = {"a": saying(401, "one"), "b": saying(403, "two"), "c": saying(401, "three")}
    async with mirrors(answers) as (plane, seen):
        first = await plane.ask(chat())
        assert (first.status, first.error["code"]) == (401, "one")
        assert first["x-mirrorgate-mirror"] == "a"
        assert counts(seen) == [1, 1, 1]
        for _ in range(3):
            assert (await plane.ask(chat())).status == 401
        assert counts(seen) == [4, 1, 1], "one mirror is asked, not all"
        assert [end.mirror for end in plane.finished] == ["a"] * 4
        assert plane.in_flight == 0


async def test_a_stale_connection_does_not_hide_what_all_mirrors_say() -> None:
    async def once(reader, writer) -> None:
        """Refuse the key, and end the connection with the next request on it."""
        await read_request(reader)
        writer.write(NO_KEY)
        await read_request(reader)

    async with mirrors({"a": once, "b": once}) as (plane, _):
        for _ in range(4):
            answer = await plane.ask(chat())
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert [end.status for end in plane.finished] == [401] * 4
        assert plane.in_flight == 0


async def hang_up(reader, writer) -> None:
    """A mirror that takes requests and ends connections."""
    await read_request(reader)


async def test_a_refusal_is_better_than_no_answer() -> None:
    async with mirrors({"a": NO_KEY, "b": hang_up}) as (plane, _):
        answer = await plane.ask(chat())
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert [end.mirror for end in plane.finished] == ["a"]
        assert plane.in_flight == 0


async def test_a_refusal_that_is_not_the_last_word_leaves_the_connection_in_use() -> None:
    opened: list[object] = []

    async def refusing(reader, writer) -> None:
        opened.append(writer)
        while True:
            await read_request(reader)
            writer.write(NO_KEY)
            await writer.drain()

    async with mirrors({"a": refusing, "b": OK}) as (plane, _):
        for key in ("sk-1", "sk-2", "sk-3"):
            assert (await plane.ask(chat(key))).status == 200
        assert len(opened) == 1


async def test_a_client_that_has_a_head_already_gets_the_first_refusal_in_the_stream() -> None:
    body = b'{"model": "gpt-4o", "stream": true, "messages": []}'

    async def slow(reader, writer) -> None:
        await read_request(reader)
        await answered.wait()
        writer.write(NO_KEY)
        await writer.drain()

    answered, time = asyncio.Event(), ManualClock()
    async with mirrors({"a": slow, "b": saying(401, "second")}, time) as (plane, _):
        client = await plane.send(chat(body=body))
        await time.elapse(20.0)
        answered.set()
        answer = await time.run(client.response())
        assert (answer.status, b"invalid_api_key" in answer.body) == (200, True)
        assert answer.body.startswith(b'data: {"id": "chatcmpl-')
        assert not answer.complete


OF_ONE_KEY = [
    pytest.param(NO_KEY, id="401"),
    pytest.param(saying(200, "invalid_api_key", kind="invalid_request_error"), id="200, key"),
    pytest.param(saying(200, "401", kind="authentication_error"), id="200, 401"),
    pytest.param(saying(200, "insufficient_quota"), id="200, quota"),
    pytest.param(saying(200, kind="rate_limit_error"), id="200, rate"),
    pytest.param(raw(429, b'{"error": "5 per 1 minute"}', "application/json"), id="429, slowapi"),
    pytest.param(raw(429, b'{"detail": "slow down"}', "application/json"), id="429, FastAPI"),
    pytest.param(
        raw(200, b'data: {"error": {"code": "insufficient_quota"}}\n\n', "text/event-stream"),
        id="200, quota, stream",
    ),
]


@pytest.mark.parametrize("refusal", OF_ONE_KEY)
async def test_a_refusal_of_one_key_affects_no_other_key(refusal: bytes) -> None:
    async def by_key(reader, writer) -> None:
        while True:
            head, _ = await read_request(reader)
            writer.write(refusal if b"sk-bad" in head else OK)
            await writer.drain()

    async with mirrors({"a": by_key, "b": OK}) as (plane, _):
        for _ in range(6):
            assert (await plane.ask(chat("sk-bad")))["x-mirrorgate-mirror"] == "b"
            assert (await plane.ask(chat("sk-good")))["x-mirrorgate-mirror"] == "a"


async def test_a_bad_key_takes_no_mirror_from_others_where_all_refuse_it() -> None:
    async def by_key(reader, writer) -> None:
        while True:
            head, _ = await read_request(reader)
            writer.write(saying(200, "insufficient_quota") if b"sk-bad" in head else OK)
            await writer.drain()

    async with mirrors({"a": by_key, "b": by_key}) as (plane, _):
        for _ in range(6):
            await plane.ask(chat("sk-bad"))
        answer = await plane.ask(chat("sk-good"))
        assert (answer.status, answer["x-mirrorgate-mirror"]) == (200, "a")


UPLOAD = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer sk-x\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n--b--\r\n\r\n"
)


@pytest.mark.parametrize("refusal", [NO_KEY, NO_PATH])
async def test_an_upload_that_cannot_be_repeated_is_refused_once(refusal: bytes) -> None:
    async with mirrors({"a": refusal, "b": OK}) as (plane, seen):
        told = [(await plane.ask(UPLOAD)).status for _ in range(4)]
        assert told[1:] == [200] * 3
        assert counts(seen) == [1, 3]


async def test_a_missing_model_keeps_only_that_model_away() -> None:
    async def by_model(reader, writer) -> None:
        while True:
            _, body = await read_request(reader)
            writer.write(NO_MODEL if b"gpt-4o" in body else OK)
            await writer.drain()

    other = BODY.replace(b"gpt-4o", b"o3")
    async with mirrors({"a": by_model, "b": OK}) as (plane, _):
        asked = [chat(), chat(body=other), chat(), chat(body=other)]
        told = [(await plane.ask(request))["x-mirrorgate-mirror"] for request in asked]
        assert told == ["b", "a", "b", "a"]


async def test_a_missing_path_keeps_only_that_path_away() -> None:
    async def by_path(reader, writer) -> None:
        while True:
            head, _ = await read_request(reader)
            writer.write(NO_PATH if b"/embeddings" in head else OK)
            await writer.drain()

    asked = [post("/v1/embeddings", BODY), chat()] * 2
    async with mirrors({"a": by_path, "b": OK}) as (plane, _):
        told = [(await plane.ask(request))["x-mirrorgate-mirror"] for request in asked]
        assert told == ["b", "a", "b", "a"]


async def test_garbage_keys_cost_each_a_few_attempts_and_a_bounded_place() -> None:
    answers = dict.fromkeys("abcde", NO_KEY)
    async with mirrors(answers) as (plane, seen):
        for number in range(MOST_KEYS + 8):
            assert (await plane.ask(chat(f"sk-{number}"))).status == 401
        asked = sum(counts(seen))
        allowed = 10 + (MOST_KEYS + 8) * 0.2
        assert asked <= MOST_KEYS + 8 + allowed, "further attempts draw on a budget"
        assert len(plane.context.pool.refusals) <= 3 * MOST_KEYS
        assert plane.context.pool.budget.left(plane.clock()) >= 10, "not on the one of failures"


async def test_a_key_that_works_again_comes_back_by_one_trial() -> None:
    time = ManualClock()
    works = False

    async def recovering(reader, writer) -> None:
        while True:
            await read_request(reader)
            tries.append(time())
            writer.write(OK if works else NO_KEY)
            await writer.drain()

    tries: list[float] = []
    async with mirrors({"a": recovering, "b": OK}, time) as (plane, _):

        async def ask() -> Response:
            return await time.run(plane.ask(chat()))

        client_sees = [await ask()]
        await time.elapse(FIRST_WAIT + 1)
        client_sees += [await ask() for _ in range(3)]
        assert len(tries) == 2, "one trial, and it failed"
        await time.elapse(FIRST_WAIT + 1)
        client_sees.append(await ask())
        assert len(tries) == 2, "twice as long by now"
        works = True
        await time.elapse(FIRST_WAIT + 1)
        client_sees += [await ask() for _ in range(3)]
        assert len(tries) == 5, "it is back for good"
        assert [answer.status for answer in client_sees] == [200] * len(client_sees)
        assert len(plane.context.pool.refusals) == 0


LIMITED = saying(429, "rate_limit_exceeded", "no", "Retry-After: 7", kind="requests")


@pytest.mark.parametrize("limit", [LIMITED, saying(429, "insufficient_quota")])
async def test_another_mirror_is_asked_when_the_callers_key_is_limited_on_one(limit) -> None:
    async with mirrors({"a": limit, "b": OK}) as (plane, seen):
        assert [(await plane.ask(chat())).status for _ in range(3)] == [200] * 3
        assert counts(seen) == [1, 3]
        assert (await plane.ask(chat("sk-y"))).status == 200
        assert counts(seen) == [2, 4], "other keys do not keep away"


async def test_when_all_limit_the_key_the_client_has_the_first_answer() -> None:
    async with mirrors({"a": LIMITED, "b": saying(429, "other")}) as (plane, seen):
        answer = await plane.ask(chat())
        assert (answer.status, answer["retry-after"]) == (429, "7")
        assert answer.error["code"] == "rate_limit_exceeded"
        assert (await plane.ask(chat())).status == 429
        assert counts(seen) == [1, 1], "nobody is asked before that"


async def test_mirrors_of_one_account_share_its_limits() -> None:
    async with mirrors({"a": LIMITED, "b": OK}, account="one") as (plane, seen):
        answer = await plane.ask(chat())
        assert (answer.status, answer["retry-after"]) == (429, "7")
        assert counts(seen) == [1, 0]


async def test_a_websocket_goes_to_another_mirror_too() -> None:
    async def switching(reader, writer) -> None:
        await read_request(reader)
        writer.write(SWITCHED + b"\x81\x02hi")

    async with mirrors({"a": NO_KEY, "b": switching}) as (plane, seen):
        for _ in range(2):
            client = await plane.send(get("/v1/realtime", *UPGRADE))
            assert (await client.head())[0] == 101
            assert await client.reader.readexactly(4) == b"\x81\x02hi"
            await client.close()
        assert counts(seen) == [1, 0]


LENDS: dict[str, Any] = {"api_key": "sk-mirror", "client_keys": ["sk-*"]}


@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
@pytest.mark.parametrize("refusal", [NO_MODEL, NO_PATH, ONE_API], ids=["model", "path", "One API"])
async def test_a_caller_with_a_mirrors_key_goes_elsewhere_too(refusal: bytes, key: str) -> None:
    asked = with_key(key).replace(b"Content-Length: 2", b"Content-Length: %d" % len(BODY))
    asked = asked.removesuffix(b"{}") + BODY
    answers = {"a": refusal, "b": OK}
    async with mirrors(answers, callers=CALLERS, **LENDS) as (plane, seen):
        issue(plane)
        assert [(await plane.ask(asked)).status for _ in range(3)] == [200] * 3
        assert counts(seen) == [1, 3]
        assert plane.refused == [], "its key is not to blame"


@pytest.mark.parametrize("key", [KEY, ""], ids=["issued", "anonymous"])
async def test_a_caller_with_mirrors_keys_gets_the_first_refusal_when_all_refuse(key: str) -> None:
    asked = with_key(key).replace(b"Content-Length: 2", b"Content-Length: %d" % len(BODY))
    asked = asked.removesuffix(b"{}") + BODY
    answers = {"a": NO_MODEL, "b": saying(404, "model_not_found", "another one")}
    async with mirrors(answers, callers=CALLERS, **LENDS) as (plane, seen):
        issue(plane)
        told = [await plane.ask(asked) for _ in range(2)]
        assert [(answer.status, answer.error["message"]) for answer in told] == [(404, "no")] * 2
        assert counts(seen) == [2, 1]
        assert (plane.in_flight, violations(plane)) == (0, [])


def late(answer: bytes, time: ManualClock, seconds: float) -> Script:
    """The head of an answer, and its body so much later."""

    async def script(reader, writer) -> None:
        head, blank, body = answer.partition(b"\r\n\r\n")
        while True:
            await read_request(reader)
            writer.write(head + blank)
            await writer.drain()
            await time.sleep(seconds)
            writer.write(body)

    return script


async def test_a_503_whose_body_comes_behind_its_head_is_read_to_its_end() -> None:
    time = ManualClock()
    async with mirrors({"a": late(ONE_API, time, 0.2), "b": OK}, time) as (plane, _):
        for _ in range(6):
            answer = await time.run(plane.ask(chat()))
            assert answer["x-mirrorgate-mirror"] == "b"
        assert plane.suspected == []
        assert plane.finished[-1].failed_attempts == 0, "the model was learnt"


@pytest.mark.parametrize(
    ("refusal", "within", "suspected"),
    [
        (saying(503), 2.0, ["a"]),
        (NO_KEY, 11.0, []),
        (NO_PATH, 11.0, []),
        (LIMITED, 11.0, []),
        (saying(400), 11.0, ["a"]),
    ],
)
async def test_a_refusal_whose_body_never_comes_is_soon_left(
    refusal: bytes, within: float, suspected: list[str]
) -> None:
    time = ManualClock()
    async with mirrors({"a": late(refusal, time, 1000.0), "b": OK}, time) as (plane, _):
        answer = await time.run(plane.ask(chat()))
        assert (answer.status, answer["x-mirrorgate-mirror"]) == (200, "b")
        assert plane.finished[-1].seconds < within
        assert plane.suspected == suspected
        assert (await time.run(plane.ask(chat("sk-y")))).status == 200
