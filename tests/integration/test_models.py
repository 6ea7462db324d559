"""Models of several mirrors as one list, and mirrors' own names of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.integration.test_key_outages import CALLERS, KEY, LENDS, learn, up
from tests.integration.test_refusals import NO_MODEL
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import (
    CONTENT,
    OK,
    SWITCHED,
    UPGRADE,
    Response,
    ScriptedMirror,
    answering,
    get,
    post,
)

Seen = list[tuple[bytes, bytes]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (
    len(CONTENT) + 14,
    CONTENT + b"data: [DONE]\n\n",
)
FORM = b"multipart/form-data; boundary=xyz"


@asynccontextmanager
async def plane_of(
    *mirrors: dict[str, Any], answer: bytes = OK, patterns: str = ""
) -> AsyncIterator[tuple[DataPlane, list[Seen]]]:
    """A plane with mirrors of these settings, named a, b, …, and what each of them was asked."""
    seen: list[Seen] = [[] for _ in mirrors]
    async with AsyncExitStack() as stack:
        tables = []
        for at, more in enumerate(mirrors):
            script = answering(answer, seen[at])
            mirror = await stack.enter_async_context(ScriptedMirror(script, "abc"[at]))
            tables.append(mirror.table(**LENDS | more))
        plane = await stack.enter_async_context(DataPlane(tables, CALLERS))
        ring = plane.context.keys
        ring.season("01" * 32)
        ring.extend([("k1", ring.digest(KEY.encode()).hex(), None, 0.0, patterns, None, None)])
        yield plane, seen


def issued(request: bytes) -> bytes:
    return request.replace(b"sk-x", KEY.encode())


def anonymous(request: bytes) -> bytes:
    asked = request.replace(b"Authorization: Bearer sk-x\r\n", b"")
    return asked.replace(b"Host: test", b"Host: localhost")


def chat(model: str) -> bytes:
    return post(body=b'{"model": "%b", "messages": []}' % model.encode())


def data_of(answer: Response) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = json.loads(answer.body)["data"]
    return data


@pytest.mark.parametrize("caller", [issued, anonymous])
async def test_the_models_of_all_mirrors_in_rotation_are_one_list(caller: Any) -> None:
    mapped = {"models": ["named"], "model_map": {"gpt-4": "gpt-4-0613"}}
    async with plane_of({}, mapped, {}) as (plane, seen):
        learn(plane, up("a", models=("gpt-4o", "o3")), up("b"), up("c", True, models=("refused",)))
        answer = await plane.ask(caller(get()))
        assert answer.status == 200
        assert [each["id"] for each in data_of(answer)] == ["gpt-4", "gpt-4o", "named", "o3"]
        assert {each["object"] for each in data_of(answer)} == {"model"}
        assert "x-mirrorgate-mirror" not in answer
        one = await plane.ask(caller(get("/v1/models/gpt-4")))
        assert (one.status, json.loads(one.body)["id"]) == (200, "gpt-4")
        client = await plane.send(caller(get()).replace(b"GET", b"HEAD"))
        head = await client.response(to_head=True)
        assert (head.status, head.body) == (200, b"")
        assert seen == [[], [], []], "no mirror is asked"
        learn(plane, up("a", models=("o4",)), up("b"))
        again = await plane.ask(caller(get()))
        assert [each["id"] for each in data_of(again)] == ["gpt-4", "named", "o4"]


async def test_a_key_sees_the_models_that_it_may_use() -> None:
    async with plane_of({}, patterns="gpt-*") as (plane, _):
        learn(plane, up("a", models=("gpt-4o", "gpt-4o-mini", "o3")))
        answer = await plane.ask(issued(get()))
        assert [each["id"] for each in data_of(answer)] == ["gpt-4o", "gpt-4o-mini"]
        hidden = await plane.ask(issued(get("/v1/models/o3")))
        assert (hidden.status, hidden.error["code"]) == (404, "model_not_found")
        assert "gpt-*" in hidden.error["message"]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(get(), id="own key"),
        pytest.param(issued(get("/v1/models", "anthropic-version: 2023-06-01")), id="Anthropic"),
        pytest.param(issued(get()).replace(b"GET", b"DELETE"), id="not read"),
    ],
)
async def test_other_questions_for_models_go_to_a_mirror(request_: bytes) -> None:
    async with plane_of({}) as (plane, seen):
        learn(plane, up("a", models=("gpt-4o",)))
        answer = await plane.ask(request_)
        assert answer.status == 403 if request_.startswith(b"DELETE") else seen[0] != []


async def test_a_mirror_is_asked_while_no_models_are_known() -> None:
    async with plane_of({}) as (plane, seen):
        assert (await plane.ask(issued(get()))).status == 200
        assert len(seen[0]) == 1


@pytest.mark.parametrize("settings", [{}, {"models": ["gpt-4o", "o3"]}])
async def test_a_model_that_nobody_has_is_not_found_and_the_nearest_are_named(
    settings: dict[str, Any],
) -> None:
    async with plane_of(settings, settings, answer=NO_MODEL) as (plane, seen):
        learn(plane, *(up(name, models=("gpt-4o", "o3")) for name in "ab"))
        answer = await plane.ask(issued(chat("gpt4o")))
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert "'gpt-4o'" in answer.error["message"]
        assert "o3" not in answer.error["message"]
        one = await plane.ask(issued(get("/v1/models/gpt4o")))
        assert (one.status, one.error["message"]) == (404, answer.error["message"])
        assert [len(each) for each in seen] == ([0, 0] if settings else [1, 1])


async def test_the_word_of_a_mirror_about_a_model_that_it_lists_is_passed_on() -> None:
    async with plane_of({}, answer=NO_MODEL) as (plane, _):
        learn(plane, up("a", models=("gpt-4o",)))
        answer = await plane.ask(issued(chat("gpt-4o")))
        assert (answer.status, answer.error["message"]) == (404, "no")


async def test_the_nearest_models_are_among_those_of_the_key() -> None:
    async with plane_of({"models": ["gpt-4o", "gpt-4"]}, patterns="gpt-4,gpt4") as (plane, _):
        answer = await plane.ask(issued(chat("gpt4")))
        assert "Did you mean 'gpt-4'?" in answer.error["message"]


@pytest.mark.parametrize("caller", [issued, anonymous, bytes])
async def test_a_mirror_gets_its_own_name_of_a_model(caller: Any) -> None:
    async with plane_of({"model_map": {"gpt-4": "gpt-4-turbo-0409"}}) as (plane, seen):
        body = b'{ "n":1, "model": "gpt-4", "messages": []}'
        assert (await plane.ask(caller(post(body=body)))).status == 200
        assert (await plane.ask(caller(chat("o3")))).status == 200
        first, second = (body for _, body in seen[0])
        assert first == b'{ "n":1, "model": "gpt-4-turbo-0409", "messages": []}'
        assert second == b'{"model": "o3", "messages": []}'


async def test_a_body_that_metering_changes_has_the_mirrors_name_too() -> None:
    mapped = {"model_map": {"gpt-4": "gpt-4-turbo-0409"}}
    async with plane_of(mapped, answer=STREAM) as (plane, seen):
        body = b'{"stream": true, "model": "gpt-4", "messages": []}'
        answer = await plane.ask(issued(post(body=body)))
        assert (answer.status, answer.complete) == (200, True)
        sent = json.loads(seen[0][0][1])
        assert sent["model"] == "gpt-4-turbo-0409"
        assert sent["stream_options"] == {"include_usage": True}


async def test_each_mirror_that_is_tried_gets_its_own_name_of_a_model() -> None:
    settings = [{"model_map": {"m": name}, "priority": at} for at, name in enumerate("xy")]
    async with plane_of(*settings, {"priority": 2}, answer=NO_MODEL) as (plane, seen):
        await plane.ask(chat("m"))
        found = [body for each in seen for _, body in each]
        assert sorted(found) == [b'{"model": "%b", "messages": []}' % m for m in (b"m", b"x", b"y")]


async def test_requests_go_to_the_mirror_that_has_a_name_for_the_model() -> None:
    mapped = {"models": ["o3"], "model_map": {"gpt-4": "x"}}
    async with plane_of({"models": ["gpt-4o"]}, mapped) as (plane, seen):
        for _ in range(8):
            assert (await plane.ask(issued(chat("gpt-4")))).status == 200
        assert (len(seen[0]), len(seen[1])) == (0, 8)


def upload(model: str) -> bytes:
    return (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + b"x" * 90_000
        + b'\r\n--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        + model.encode()
        + b"\r\n--xyz--\r\n"
    )


@pytest.mark.parametrize("caller", [issued, bytes])
async def test_an_upload_gets_the_name_of_its_model_in_passing(caller: Any) -> None:
    async with plane_of({"model_map": {"w": "whisper-1"}}, {"enabled": False}) as (plane, seen):
        asked = caller(post("/v1/audio/transcriptions", upload("w")))
        client = await plane.connect()
        asked = asked.replace(b"application/json", FORM)
        for at in range(0, len(asked), 7000):
            await client.send(asked[at : at + 7000])
        assert (await client.response()).status == 200
        head, body = seen[0][0]
        assert body == upload("whisper-1")
        assert b"content-length" not in head.lower()


async def test_an_upload_to_a_mirror_without_names_of_its_own_keeps_its_length() -> None:
    async with plane_of({}) as (plane, seen):
        asked = post("/v1/audio/transcriptions", upload("w")).replace(b"application/json", FORM)
        assert (await plane.ask(asked)).status == 200
        head, body = seen[0][0]
        assert body == upload("w")
        assert b"Content-Length: %d\r\n" % len(body) in head


async def test_a_websocket_goes_by_the_model_in_its_query() -> None:
    mapped = {"models": ["o3"], "model_map": {"gpt-realtime": "rt/1"}}
    async with plane_of({"models": ["gpt-4o"]}, mapped, answer=SWITCHED) as (plane, seen):
        for _ in range(4):
            client = await plane.send(get("/v1/realtime?model=gpt-realtime", *UPGRADE))
            assert (await client.head())[0] == 101
        assert seen[0] == []
        assert len(seen[1]) == 4
        assert seen[1][0][0].startswith(b"GET /v1/realtime?model=rt%2F1 HTTP/1.1\r\n")
