"""Responses with a good status that are no answers: another mirror is tried, or the client sees it.

One of three mirrors lies, the one that is asked first; the others answer.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from router.forwarding import metrics
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import (
    ANSWER,
    CONTENT,
    OK,
    Response,
    Script,
    ScriptedMirror,
    answering,
    post,
    read_request,
)

JSON = b"Content-Type: application/json\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST_FIRST = {"balance": {"policy": "priority"}, "retry": {"budget": 1.0}}
"""The liar is asked first; a slow machine tries it again within the ten seconds of the budget."""
PLAIN = post(body=b'{"model": "gpt-4o", "messages": []}')
STREAM = post(body=b'{"model": "gpt-4o", "messages": [], "stream": true}')
DONE = b"data: [DONE]\n\n"
EVENTS = b"Content-Type: text/event-stream\r\n"
NO_MORE_EVENTS = b"HTTP/1.1 204 X\r\n%b\r\n" % EVENTS
PACKED = gzip.compress(ANSWER)
NOISE = random.Random(1).randbytes(50_000).hex().encode()
ZIPPED = JSON + b"Content-Encoding: gzip\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def says(body: bytes, fields: bytes = JSON, status: int = 200) -> bytes:
    """A response, framed by its length."""
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, len(body)) + body


def says_in_chunks(*pieces: bytes, fields: bytes = JSON) -> bytes:
    head = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % fields
    return head + chunked(*pieces)


def closing(answer: bytes) -> Script:
    """A script that answers with these bytes and closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    return script


@asynccontextmanager
async def three(liar: Script, well: Script | None = None) -> AsyncIterator[DataPlane]:
    """A plane before three mirrors, "a" of which lies."""
    scripts = (liar, well or answering(OK), well or answering(OK))
    async with AsyncExitStack() as stack:
        mirrors = [
            await stack.enter_async_context(ScriptedMirror(script, name))
            for script, name in zip(scripts, "abc", strict=True)
        ]
        tables = [each.table(priority=int(each.name != "a")) for each in mirrors]
        yield await stack.enter_async_context(DataPlane(tables, FIRST_FIRST))


async def answers_to(plane: DataPlane, request: bytes = PLAIN, count: int = 32) -> list[Response]:
    return [await plane.ask(request) for _ in range(count)]


def ejected(plane: DataPlane, name: str = "a") -> bool:
    return not next(each for each in plane.context.upstreams if each.id == name).breaker.closed


LIES = {
    "an empty body": says(b""),
    "neither type nor body": says(b"", b""),
    "neither type nor body, in chunks": says_in_chunks(fields=b""),
    "an empty object": says(b"{}"),
    "null": says(b"null"),
    "an empty list": says(b"[]"),
    "an error of one-api": says(b'{"code": 500, "message": "quota"}'),
    "an error": says(b'{"error": {"message": "m", "type": "server_error"}}'),
    "an error behind an id": says(b'{"id": "c", "error": {"message": "m"}}'),
    "half an object": says(ANSWER[:-9]),
    "half an object, in chunks": says_in_chunks(ANSWER[:8], ANSWER[8:-9]),
    "an object that ends in its middle": says(ANSWER[:-2] + b"}"),
    "a page": says(b"<html>Sign in</html>", b"Content-Type: text/html\r\n"),
    "a page that is called JSON": says(b"<html>Sign in</html>"),
    "text": says(b"upstream connect error", b"Content-Type: text/plain\r\n"),
    "gzip that breaks off": says(PACKED[:-6], ZIPPED),
    "gzip that breaks off, in chunks": says_in_chunks(PACKED[:20], PACKED[20:-12], fields=ZIPPED),
    "an error in gzip": says(gzip.compress(b'{"code": 500, "message": "quota"}'), ZIPPED),
    "nothing in gzip": says(gzip.compress(b""), ZIPPED),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_an_invalid_answer_is_retried_elsewhere_and_ejects_the_mirror(lie: bytes) -> None:
    async with three(answering(lie)) as plane:
        answers = await answers_to(plane)
        assert {(answer.status, answer.body) for answer in answers} == {(200, ANSWER)}
        assert ejected(plane)


@pytest.mark.parametrize(
    ("length", "body"), [(len(ANSWER) + 9, ANSWER), (len(ANSWER) - 9, ANSWER)], ids=["more", "less"]
)
async def test_a_wrong_content_length_costs_another_attempt(length: int, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (JSON, length)
    async with three(closing(head + body)) as plane:
        answers = await answers_to(plane)
        assert {(answer.status, answer.body) for answer in answers} == {(200, ANSWER)}
        assert ejected(plane)


@pytest.mark.parametrize("path", ["completions", "responses", "embeddings", "moderations"])
async def test_so_it_is_at_other_endpoints(path: str) -> None:
    keys = {"completions": "choices", "responses": "output", "embeddings": "data"}
    good = json.dumps({keys.get(path, "results"): [{}]}).encode()
    request = post(f"/v1/{path}", b'{"model": "m", "store": false}')
    async with three(answering(says(b'{"code": 1}')), answering(says(good))) as plane:
        answers = await answers_to(plane, request)
        assert {(answer.status, answer.body) for answer in answers} == {(200, good)}
        assert ejected(plane)


MESSAGE = b'{"id": "m", "type": "message", "content": [{"type": "text", "text": "x"}]}'
OVERLOADED = b'{"type": "error", "error": {"type": "overloaded_error", "message": "m"}}'


@pytest.mark.parametrize(
    "lie",
    [
        says(OVERLOADED, status=529),
        says(OVERLOADED, status=500),
        says(OVERLOADED),
        says(b"event: error\ndata: %b\n\n" % OVERLOADED, b"Content-Type: text/event-stream\r\n"),
    ],
    ids=["529", "500", "200", "in a stream"],
)
async def test_messages_of_anthropics_api_are_asked_for_elsewhere_too(lie: bytes) -> None:
    async with three(answering(lie), answering(says(MESSAGE))) as plane:
        answer = await plane.ask(post("/v1/messages", PLAIN.partition(b"\r\n\r\n")[2]))
        assert (answer.status, answer.body) == (200, MESSAGE)


async def test_an_image_is_never_asked_for_twice() -> None:
    async with ScriptedMirror(answering(says(b"{}"))) as a, ScriptedMirror(answering(OK), "b") as b:
        tables = [a.table(priority=0), b.table(priority=1)]
        async with DataPlane(tables, FIRST_FIRST) as plane:
            answer = await plane.ask(post("/v1/images/generations", b'{"prompt": "x"}'))
            assert (answer.status, b.connections) == (502, 0)


@pytest.mark.parametrize(
    ("lie", "status"),
    [
        ("an error of one-api", 200),
        ("an error", 200),
        ("an empty object", 502),
        ("an empty body", 502),
        ("half an object", 502),
        ("a page", 502),
        ("text", 502),
        ("gzip that breaks off", 502),
    ],
)
async def test_with_no_other_mirror_an_error_passes_and_what_cannot_be_read_is_a_502(
    lie: str, status: int
) -> None:
    async with ScriptedMirror(answering(LIES[lie])) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(PLAIN)
        assert answer.status == status
        if status == 200:
            assert LIES[lie].endswith(answer.body)
        else:
            assert answer.error["type"] == "server_error"


@pytest.mark.parametrize(
    "good",
    [
        says(ANSWER, b""),
        says(ANSWER, b"Content-Type: text/html\r\n"),
        says(b"\n\n \xef\xbb\xbf" + ANSWER),
        says_in_chunks(*(ANSWER[i : i + 1] for i in range(len(ANSWER)))),
        says(PACKED, ZIPPED),
        says_in_chunks(PACKED[:5], PACKED[5:], fields=ZIPPED),
        says(b"\x1b\x00unknown", JSON + b"Content-Encoding: br\r\n"),
        says(b'{"trace": "%b", %b' % (b"x" * 40_000, ANSWER[1:])),
        says(b'{"choices": [], "choices": [1]}'),
        says(gzip.compress(b'{"id": "%b"}' % bytes(range(35, 91)) * 9000), ZIPPED),
    ],
    ids=range(10),
)
async def test_an_answer_of_an_unusual_mirror_passes_as_it_is(good: bytes) -> None:
    async with ScriptedMirror(answering(good)) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(PLAIN)
        assert (answer.status, answer.complete) == (200, True)
        assert plane.finished[-1].outcome == "success"
        sent = good.partition(b"\r\n\r\n")[2]
        assert sent == answer.body or b"chunked" in good


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (post("/v1/audio/speech"), says(b"\xff\xfb\x90", b"Content-Type: audio/mpeg\r\n")),
        (post("/v1/audio/speech"), says(b"", b"")),
        (post("/v1/audio/transcriptions"), says(b"text", b"Content-Type: text/plain\r\n")),
        (post("/v1/files"), says(b"{}")),
        (post("/v1/chat/completions/c1"), says(b"{}")),
        (post("/v1/responses/r1/cancel"), says(b"null")),
        (post("/v1/messages/count_tokens"), says(b'{"input_tokens": 3}')),
        (post("/v1/chat/completions").replace(b"POST", b"DELETE"), says(b"", b"")),
        (post("/v1/responses/r1").replace(b"POST", b"DELETE"), b"HTTP/1.1 204 X\r\n\r\n"),
        (post("/v1/files/f1/content").replace(b"POST", b"GET"), says(b"\x00\x01", b"")),
        (post("/v1/chat/completions").replace(b"POST", b"HEAD"), b"HTTP/1.1 200 X\r\n\r\n"),
        (post("/v1/chat/completions").replace(b"POST", b"HEAD"), SSE),
        (post("/v1/threads/t1/runs").replace(b"POST", b"GET"), says(b"", EVENTS)),
        (post("/v1/threads/t1/runs").replace(b"POST", b"GET"), NO_MORE_EVENTS),
    ],
    ids=range(14),
)
async def test_responses_without_a_prescribed_shape_pass(request_: bytes, response: bytes) -> None:
    async with ScriptedMirror(answering(response)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(request_)
        answer = await client.response(to_head=request_.startswith(b"HEAD"))
        assert answer.status in (200, 204)
        assert response.endswith(answer.body)
        assert plane.finished[-1].outcome == "success"


# Streams


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "event by event"])
async def test_a_stream_without_last_words_is_an_interruption_and_ejects_the_mirror(
    pause: bool,
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(SSE)
            for _ in range(5):
                writer.write(b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT))
                if pause:
                    await writer.drain()
                    await asyncio.sleep(0.001)
            writer.write(b"0\r\n\r\n")

    async with three(script, answering(SSE + chunked(CONTENT, DONE))) as plane:
        answers = await answers_to(plane, STREAM)
        broken = [answer for answer in answers if not answer.complete]
        assert all(answer.body.endswith(DONE) for answer in answers if answer.complete)
        assert all(b"stream_interrupted" in answer.body for answer in broken)
        assert all(b"[DONE]" not in answer.body for answer in broken)
        assert 0 < len(broken) <= 10
        assert ejected(plane)
        outcomes = [end.outcome for end in plane.finished if end.mirror == "a"]
        assert set(outcomes) == {"interrupted"}


async def test_a_stream_with_a_length_and_no_last_words_does_not_look_whole() -> None:
    body = CONTENT * 5
    lie = says(body, EVENTS)
    async with ScriptedMirror(answering(lie)) as mirror, DataPlane([mirror.table()]) as plane:
        assert not (await plane.ask(STREAM)).complete


async def test_a_stream_that_ends_properly_within_a_long_event_does_not_look_whole() -> None:
    long = CONTENT.replace(b'"x"', b'"%b"' % (b"x" * 3000))
    async with ScriptedMirror(answering(SSE + chunked(long, long, long[:-20]))) as mirror:
        async with DataPlane([mirror.table()]) as plane:
            assert not (await plane.ask(STREAM)).complete


async def test_a_stream_without_framing_may_have_events_of_any_length() -> None:
    image = CONTENT.replace(b'"x"', b'"%b"' % (b"x" * 300_000))
    body = CONTENT + image + DONE
    async with ScriptedMirror(closing(b"HTTP/1.1 200 X\r\n%b\r\n" % EVENTS + body)) as mirror:
        async with DataPlane([mirror.table()]) as plane:
            answer = await plane.ask(STREAM)
            assert (answer.complete, answer.body) == (True, body)


LAST = b'data: {"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]}\n\n'
AZURES = b'data: {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}\n\n'
TOOL = b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "t"}]}}]}\n\n'
USED = b'data: {"id": "c", "choices": [], "usage": {"total_tokens": 9}}\n\n'


@pytest.mark.parametrize(
    "body",
    [
        [CONTENT, DONE],
        [CONTENT, LAST],
        [CONTENT * 5, LAST, USED],
        [AZURES, CONTENT, LAST, DONE],
        [TOOL, LAST],
        [b"\xef\xbb\xbf" + CONTENT, DONE],
        [b": ping\n\n", b"\r\n" + CONTENT[:30], CONTENT[30:70], CONTENT[70:] + DONE[:9], DONE[9:]],
        [CONTENT, DONE.rstrip()],
        [CONTENT * 40, LAST, USED, b'data: {"x": "%b"}\n\n' % (b"x" * 9000)],
    ],
    ids=range(9),
)
@pytest.mark.parametrize("name", [b"text/event-stream", b"text/plain", b"application/json"])
async def test_a_stream_of_any_mirror_with_last_words_is_whole(
    body: list[bytes], name: bytes
) -> None:
    head = SSE.replace(b"text/event-stream", name)
    async with ScriptedMirror(answering(head + chunked(*body))) as mirror:
        async with DataPlane([mirror.table()]) as plane:
            answer = await plane.ask(STREAM)
            assert (answer.complete, answer.body) == (True, b"".join(body))
            assert plane.finished[-1].outcome == "success"


@pytest.mark.parametrize("name", [b"", b"Content-Type: text/plain\r\n", JSON])
async def test_a_stream_under_another_name_is_looked_into_all_the_same(name: bytes) -> None:
    error = b'data: {"error": {"message": "m", "type": "server_error"}}\n\n'
    well = SSE + chunked(CONTENT, DONE)
    async with three(answering(says_in_chunks(error, fields=name)), answering(well)) as plane:
        answer = await plane.ask(STREAM)
        assert answer.body == CONTENT + DONE
    broken = answering(says_in_chunks(*[CONTENT] * 5, fields=name))
    async with ScriptedMirror(broken) as mirror, DataPlane([mirror.table()]) as plane:
        assert not (await plane.ask(STREAM)).complete
        assert plane.finished[-1].outcome == "interrupted"
    in_turn = iter([CONTENT + DONE, ANSWER])  # of one length, told by the same fields

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in in_turn:
            await read_request(reader)
            writer.write(says(body.ljust(200), JSON))

    async with ScriptedMirror(script) as mirror, DataPlane([mirror.table()]) as plane:
        assert (await plane.ask(STREAM)).complete
        assert (await plane.ask(PLAIN)).body.strip() == ANSWER


async def test_a_compressed_stream_that_breaks_off_does_not_look_whole() -> None:
    packed = gzip.compress(CONTENT + DONE)
    fields = b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
    endless = gzip.compress(CONTENT * 5)[:-6]
    for body, whole in ((packed, True), (packed[:-6], True), (endless, False)):
        answer_ = says_in_chunks(body[:-9], body[-9:], fields=fields)
        async with ScriptedMirror(answering(answer_)) as mirror:
            async with DataPlane([mirror.table()]) as plane:
                answer = await plane.ask(STREAM)
                assert (answer.status, answer.complete) == (200, whole)


@pytest.mark.parametrize(
    "lie",
    [
        says(b'{"id": "%b", "cho' % (b"x" * 600_000)),
        says_in_chunks(b'{"id": "%b"' % (b"x" * 600_000), b', "cho'),
        says(gzip.compress(b'{"id": "%b"}' % NOISE)[:-6], ZIPPED),
    ],
    ids=["length", "chunks", "gzip"],
)
async def test_a_long_answer_that_breaks_off_does_not_look_whole(lie: bytes) -> None:
    async with ScriptedMirror(answering(lie)) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(PLAIN)
        assert (answer.status, answer.complete) == (200, False)
        assert plane.finished[-1].outcome == "interrupted"


# Refusals


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_two_of_three_mirrors_that_refuse_at_once_cost_no_request(status: int) -> None:
    refuses = answering(says(b'{"error": {"message": "m", "type": "e"}}', status=status))
    async with AsyncExitStack() as stack:
        scripts = (refuses, refuses, answering(OK))
        mirrors = [
            await stack.enter_async_context(ScriptedMirror(script, name))
            for script, name in zip(scripts, "abc", strict=True)
        ]
        plane = await stack.enter_async_context(DataPlane([mirror.table() for mirror in mirrors]))
        answers = await answers_to(plane)
        assert {answer.status for answer in answers} == {200}
        refused = [plane.totals.get(metrics.ATTEMPTS.name, (name, "refused")) for name in "ab"]
        assert min(refused) > 0
        assert plane.totals.get(metrics.AMBIGUOUS.name) == 0


@pytest.mark.parametrize(
    ("seconds", "body", "sure"),
    [
        (0.0, b'{"error": {"message": "m"}}', 1),
        (0.0, b"{}", 0),
        (0.0, b"half", 0),
        (2.0, b'{"error": {"message": "m"}}', 0),
    ],
)
async def test_only_an_error_that_can_be_read_and_came_at_once_is_sure_to_be_none_of_work(
    seconds: float, body: bytes, sure: int
) -> None:
    time = ManualClock()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await time.sleep(seconds)
        writer.write(says(body, status=500))

    async with ScriptedMirror(late) as a, ScriptedMirror(answering(OK), "b") as b:
        tables = [a.table(priority=0), b.table(priority=1)]
        async with DataPlane(tables, FIRST_FIRST, wheel=time.wheel, clock=time) as plane:
            assert (await time.run(plane.ask(PLAIN))).status == 200
            assert plane.totals.get(metrics.AMBIGUOUS.name) == 1 - sure


async def test_an_error_at_once_whose_body_never_comes_is_soon_left() -> None:
    time = ManualClock()
    head = b"HTTP/1.1 500 X\r\n%bContent-Length: 99\r\n\r\n" % JSON

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await reader.read()

    async with ScriptedMirror(hangs) as a, ScriptedMirror(answering(OK), "b") as b:
        tables = [a.table(priority=0), b.table(priority=1)]
        async with DataPlane(tables, FIRST_FIRST, wheel=time.wheel, clock=time) as plane:
            assert (await time.run(plane.ask(PLAIN))).status == 200
            assert plane.finished[-1].seconds < 4


# Drops

Drops = Callable[[int], bytes]


def dripping(time: ManualClock, head: bytes, drop: Drops, gap: float = 0.5) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        for number in range(2000):
            piece = drop(number)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await time.sleep(gap)

    return script


@pytest.mark.parametrize(
    "lie",
    ["an error of one-api", "half an object", "a page", "an empty body"],
)
async def test_a_lie_after_comments_costs_another_attempt_too(lie: str) -> None:
    time = ManualClock()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await time.sleep(20.0)
        writer.write(LIES[lie])

    async with dripped(time, late, SSE + chunked(CONTENT, DONE)) as plane:
        answer = await time.run(plane.ask(STREAM))
        assert (answer.complete, answer["x-mirrorgate-request-id"] != "") == (True, True)
        assert answer.body.endswith(CONTENT + DONE)


async def test_a_plain_answer_that_dawdles_after_its_head_is_not_put_into_the_comments() -> None:
    time = ManualClock()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK[:-9])
        await time.sleep(20.0)
        writer.write(OK[-9:])

    async with dripped(time, late) as plane:
        answer = await time.run(plane.ask(STREAM))
        assert ANSWER not in answer.body
        assert b"what is no stream" in answer.body


@asynccontextmanager
async def dripped(time: ManualClock, script: Script, well: bytes = OK) -> AsyncIterator[DataPlane]:
    """A plane before a mirror that drips and another one that does not."""
    async with ScriptedMirror(script) as a, ScriptedMirror(answering(well), "b") as b:
        tables = [a.table(priority=0), b.table(priority=1)]
        async with DataPlane(tables, FIRST_FIRST, wheel=time.wheel, clock=time) as plane:
            yield plane


CHUNKED = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % JSON


async def test_a_body_in_drops_is_left_for_another_mirror() -> None:
    time, text = ManualClock(), b'{"id": "' + b"x" * 5000
    script = dripping(time, CHUNKED, lambda number: text[number : number + 1])
    async with dripped(time, script) as plane:
        answer = await time.run(plane.ask(PLAIN))
        assert answer.body == ANSWER
        assert 45 <= plane.finished[-1].seconds < 55


async def test_the_beginning_of_a_stream_in_drops_is_left_too() -> None:
    time, text = ManualClock(), b'data: {"id": "' + b"x" * 5000
    script = dripping(time, SSE, lambda number: text[number : number + 1])
    async with dripped(time, script, SSE + chunked(CONTENT, DONE)) as plane:
        answer = await time.run(plane.ask(STREAM))
        assert answer.complete
        assert answer.body.endswith(CONTENT + DONE)
        assert 45 <= plane.finished[-1].seconds < 55


async def test_a_long_body_that_begins_to_drip_is_cut() -> None:
    time = ManualClock()
    head = CHUNKED + b"5000\r\n" + (b'{"id": "' + b"x" * 0x5000)[:0x5000] + b"\r\n"
    script = dripping(time, head, lambda number: b"x", gap=0.5)
    async with dripped(time, script) as plane:
        answer = await time.run(plane.ask(PLAIN))
        assert (answer.status, answer.complete) == (200, False)
        assert 45 <= plane.finished[-1].seconds < 55


async def test_blank_lines_and_comments_while_a_model_thinks_are_no_drops() -> None:
    time = ManualClock()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED)
        for _ in range(400):
            writer.write(b"1\r\n\n\r\n")
            await time.sleep(0.5)
        writer.write(chunked(ANSWER))

    async with dripped(time, script) as plane:
        answer = await time.run(plane.ask(PLAIN))
        assert (answer.body.strip(), answer["x-mirrorgate-mirror"]) == (ANSWER, "a")

    async def thinks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SSE)
        for _ in range(100):
            writer.write(b"3\r\n:p\n\r\n")
            await time.sleep(1.0)
        writer.write(chunked(CONTENT, DONE))

    async with dripped(time, thinks) as plane:
        answer = await time.run(plane.ask(STREAM))
        assert answer.complete
        assert answer.body.endswith(DONE)
