"""Answers that take long: which mirror is left and when, what the client is told meanwhile, and how
what goes wrong then reaches it. Minutes pass on a clock that the test moves on.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.admission.credentials import new_key
from router.forwarding import metrics
from router.upstream import connector as connecting
from router.upstream import opening
from router.wire.sse import EventSplitter
from tests.scenarios import chat_mirror as words
from tests.scenarios.chat_mirror import ChatMirror, Fault
from tests.scenarios.failover_catalogue import outcome_of
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.http_client import read_stream
from tests.testkit.raw_http import ANSWER, OK, Response, post

CHAT = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
STREAM = json.dumps(CHAT).encode()
PLAIN = json.dumps({**CHAT, "stream": False}).encode()
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
}
CONTENT = {
    "chat": words.ChatMirror.chunk("a", [{"index": 0, "delta": {"content": "x"}}]),
    "completions": b'data: {"object": "text_completion", "choices": [{"text": "x"}]}\n\n',
    "responses": b"event: response.output_text.delta\n"
    b'data: {"type": "response.output_text.delta", "delta": "x"}\n\n',
}

NO_WORDS = b'"choices": [{"index": 0, "delta": {}, "logprobs": null, "finish_reason": null}]}\n\n'
"""What waiting clients of chat get."""
QUEUED = b'"x_mirrorgate_queue": 1,'


class Scene:
    """Mirrors that are asked in their order, and the time."""

    def __init__(self, time: ManualClock, mirrors: list[ChatMirror], plane: DataPlane) -> None:
        self.time, self.mirrors, self.plane = time, mirrors, plane

    @property
    def asked(self) -> tuple[int, ...]:
        """Attempts on each mirror."""
        return tuple(len(mirror.asked_at) for mirror in self.mirrors)

    async def ask(self, *fields: str, body: bytes = STREAM, path: str = PATHS["chat"]) -> Response:
        """One request, as long as it takes."""
        return await self.time.run(self.plane.ask(post(path, body, *fields)))

    async def ask_at_once(self, count: int, body: bytes = STREAM) -> list[Response]:
        """Several at the same time."""

        async def all_of_them() -> list[Response]:
            request = post(PATHS["chat"], body)
            return await asyncio.gather(*(self.plane.ask(request) for _ in range(count)))

        return await self.time.run(all_of_them())

    @property
    def waited(self) -> float:
        """Seconds that the last request took."""
        return self.plane.finished[-1].seconds


@asynccontextmanager
async def scene(
    *faults: Fault, limits: dict[str, int] | None = None, **router: Any
) -> AsyncIterator[Scene]:
    """Mirrors with these faults; `limits`: what each may be asked."""
    time = ManualClock()
    mirrors = [ChatMirror(time, name, fault) for name, fault in zip("abc", faults, strict=False)]
    for mirror in mirrors:
        await mirror.__aenter__()
    settings = {"balance": {"policy": "priority"}, **router}
    tables = [mirror.table(priority=at, **(limits or {})) for at, mirror in enumerate(mirrors)]
    try:
        async with DataPlane(tables, settings, wheel=time.wheel, clock=time) as plane:
            yield Scene(time, mirrors, plane)
            assert plane.in_flight == 0
    finally:
        for mirror in mirrors:
            await mirror.stop()


def later(seconds: float, fault: Fault) -> Fault:
    """The same after so much silence."""

    async def late(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        await mirror.time.sleep(seconds)
        return await fault(mirror, writer)

    return late


def thinks(seconds: float, comment: bytes = b"") -> Fault:
    """The head at once, and the first token after this time; comments every 10 s until then."""

    async def fault(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        await words.begin(writer)
        for _ in range(int(seconds / 10.0)):
            await mirror.time.sleep(10.0)
            if comment:
                await words.send(writer, [comment])
        await words.send(writer, mirror.events(), end=True)
        return True

    return fault


def pauses(seconds: float) -> Fault:
    """Silence within the stream."""

    async def fault(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        await words.begin(writer)
        await words.send(writer, mirror.events()[:20])
        await mirror.time.sleep(seconds)
        await words.send(writer, mirror.events()[20:], end=True)
        return True

    return fault


def _well_for(count: int, fault: Fault) -> Fault:
    """So many whole answers, then this."""

    async def first_well(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        return await (words.well if len(mirror.asked_at) <= count else fault)(mirror, writer)

    return first_well


def answers(data: bytes) -> Fault:
    """These bytes, and the end of the connection."""

    async def fault(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return False

    return fault


def streams(*events: bytes) -> Fault:
    """These events, then the connection ends without the end of the body."""

    async def fault(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        await words.begin(writer)
        await words.send(writer, events)
        return False

    return fault


TOO_LONG = words.status(400, "invalid_request_error", "context_length_exceeded")
BROKEN = words.status(500, "server_error", None)

# Who is left


async def test_of_a_known_model_two_overdue_requests_of_a_silent_mirror_are_moved() -> None:
    async with scene(_well_for(12, words.silence), words.well) as played:
        for _ in range(12):
            assert outcome_of(await played.ask()) == "whole"
        got = await played.ask_at_once(2)
        assert [outcome_of(answer) for answer in got] == ["whole", "whole"]
        assert played.asked == (14, 2)
        assert 10.0 <= played.waited < 13.5


async def test_a_mirror_that_answers_nobody_is_left_after_a_minute_and_a_half() -> None:
    async with scene(words.silence, words.well) as played:
        assert outcome_of(await played.ask()) == "whole"
        assert 90.0 <= played.waited < 92.0
        assert played.plane.totals.get(metrics.AMBIGUOUS.name) == 1


@pytest.mark.parametrize(
    "model", ["grok-4", "claude-opus-4-6", "gemini-2.5-pro", "qwen3-max", "deepseek-v3.2"]
)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda: later(45.0, words.well), id="head and token after 45 s"),
        pytest.param(lambda: thinks(150.0), id="token after 150 s"),
        pytest.param(lambda: thinks(150.0, b": PROCESSING\n\n"), id="comments for 150 s"),
        pytest.param(lambda: thinks(400.0, b": PROCESSING\n\n"), id="comments for 400 s"),
        pytest.param(lambda: pauses(150.0), id="a pause of 150 s"),
    ],
)
async def test_a_slow_model_is_waited_for_and_never_sent_twice(
    model: str, fault: Callable[[], Fault]
) -> None:
    async with scene(fault(), fault(), fault(), balance={"policy": "p2c"}) as played:
        body = json.dumps({**CHAT, "model": model}).encode()
        got = await played.ask_at_once(5, body)
        assert [outcome_of(answer) for answer in got] == ["whole"] * 5
        assert sum(played.asked) == 5


async def test_a_head_and_then_nothing_fails_over_too() -> None:
    async with scene(thinks(10_000.0), words.well) as played:
        assert outcome_of(await played.ask()) == "whole"
        assert 240.0 <= played.waited < 242.0
        assert played.asked == (1, 1)


async def test_a_plain_request_does_not_wait_for_ever_on_a_mirror_that_is_silent_for_chats() -> (
    None
):
    async with scene(later(10_000.0, words.well), answers(OK)) as played:
        answer = await played.ask(body=PLAIN)
        assert (answer.status, played.asked) == (200, (1, 1))
        assert 300.0 <= played.waited < 302.0


async def test_a_mirror_that_answers_others_is_waited_for_until_the_longest_limit() -> None:
    async def one_waits(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        if len(mirror.asked_at) == 1:
            await mirror.time.sleep(400.0)
        return await words.well(mirror, writer)

    async with scene(one_waits, words.well) as played:
        slow = asyncio.ensure_future(played.plane.ask(post(PATHS["chat"], STREAM)))
        for _ in range(10):
            await played.time.elapse(45.0)
            assert outcome_of(await played.ask()) == "whole"
        assert outcome_of(await played.time.run(_result(slow))) == "whole"
        assert played.asked == (11, 0)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [("stream_head", words.silence), ("first_content", words.slow_first_token)],
)
async def test_a_limit_that_was_set_ends_the_wait_whatever_others_get(
    setting: str, fault: Fault
) -> None:
    async with scene(fault, words.well, timeouts={setting: "5s"}) as played:
        assert outcome_of(await played.ask()) == "whole"
        assert 5.0 <= played.waited < 6.5
        assert played.asked == (1, 1)


async def _result(task: asyncio.Future[Response]) -> Response:
    return await task


@pytest.mark.parametrize(
    "router", [{}, {"retry": {"ambiguous": "never"}}, {"retry": {"attempts": 1}}]
)
async def test_nobody_is_left_early_where_no_other_mirror_could_be_tried(
    router: dict[str, Any],
) -> None:
    others = [words.well] if router else []
    async with scene(words.slow_first_token, *others, **router) as played:
        got = await played.ask_at_once(3)
        assert [outcome_of(answer) for answer in got] == ["whole"] * 3
        assert played.asked[0] == 3
        assert sum(played.asked) == 3


async def test_a_request_that_has_moved_once_stays_even_if_that_mirror_is_slow_too() -> None:
    async with scene(words.silence, later(20.0, words.well), words.well) as played:
        got = await played.ask_at_once(2)
        assert [outcome_of(answer) for answer in got] == ["whole", "whole"]
        assert played.asked == (2, 2, 0)
        assert played.plane.totals.get(metrics.AMBIGUOUS.name) == 2


async def test_a_mirror_tried_after_a_silent_one_has_its_own_time_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = connecting.connect
    async with scene(words.silence, words.well) as played:

        async def slowly(*given: Any) -> Any:
            ready = await connect(*given)
            if ready.route.port == played.mirrors[1].port:
                await played.time.sleep(2.5)
            return ready

        monkeypatch.setattr(opening, "connect", slowly)
        assert outcome_of(await played.ask()) == "whole"
        assert 92.5 <= played.waited < 94.0


async def test_a_limit_that_ends_while_a_connection_is_opened_ends_the_opening_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = connecting.connect
    async with scene(words.well, timeouts={"total": "5s"}) as played:

        async def slowly(*given: Any) -> Any:
            await played.time.sleep(9.0)
            return await connect(*given)

        monkeypatch.setattr(opening, "connect", slowly)
        client = await played.plane.send(post(PATHS["chat"], STREAM))
        answer = await played.time.run(client.response())
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        monkeypatch.undo()
        await client.send(post(PATHS["chat"], STREAM))
        await played.time.elapse(10.0)
        assert outcome_of(await played.time.run(client.response())) == "whole"
        assert played.mirrors[0].connections == 1


# What the client is told


async def test_a_silent_stream_is_told_every_fifteen_seconds_and_can_still_fail_over() -> None:
    async with scene(later(25.0, BROKEN), later(25.0, words.well)) as played:
        answer = await played.ask()
        assert outcome_of(answer) == "whole"
        assert not any(told in answer.body for told in (b"\n:", b"keepalive"))
        events = EventSplitter(1 << 16).feed(answer.body)
        told, first = [json.loads(event.data) for event in events[:3]], events[3]
        assert [(each["model"], each["choices"][0]["delta"]) for each in told] == [
            ("gpt-4o", {})
        ] * 3
        assert len({each["id"] for each in told}) == 1
        assert json.loads(first.data)["choices"][0]["delta"]
        assert answer["content-type"].startswith("text/event-stream")
        assert answer["x-accel-buffering"] == "no"
        assert played.asked == (1, 1)


async def test_a_plain_answer_is_not_told_and_keeps_its_head() -> None:
    refuses = later(25.0, TOO_LONG)
    async with scene(refuses, words.well) as played:
        answer = await played.ask(body=PLAIN)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


async def test_a_quick_stream_is_not_told_anything() -> None:
    async with scene(later(14.0, words.well)) as played:
        answer = await played.ask()
        assert b"keepalive" not in answer.body
        assert answer["x-mirrorgate-mirror"] == "a"


async def test_a_pause_within_a_stream_is_bridged_between_two_events() -> None:
    async def pauses(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        first, *rest = mirror.events()
        await words.begin(writer)
        await words.send(writer, [first, rest[0], rest[1][:20]])
        await mirror.time.sleep(40.0)
        await words.send(writer, [rest[1][20:], rest[2]])
        await mirror.time.sleep(40.0)
        await words.send(writer, rest[3:], end=True)
        return True

    async with scene(pauses, stream={"keepalive_style": "comment"}) as played:
        answer = await played.ask()
        assert outcome_of(answer) == "whole"
        assert answer.body.count(b": keepalive\n") == 2
        assert b"\n\n: keepalive\n: keepalive\ndata: " in answer.body
    async with scene(pauses) as played:
        answer = await played.ask()
        assert outcome_of(answer) == "whole"
        assert answer.body.count(NO_WORDS) == 2


@pytest.mark.parametrize(("style", "comments"), [("comment", 2), ("off", 0)])
async def test_the_style_of_keepalives_can_be_chosen(style: str, comments: int) -> None:
    async with scene(
        later(29.0, words.well), stream={"keepalive_style": style, "keepalive": 10}
    ) as p:
        answer = await p.ask()
        assert outcome_of(answer) == "whole"
        assert answer.body.count(b": keepalive\n") == comments
        assert NO_WORDS not in answer.body


# What goes wrong then


@pytest.mark.parametrize("path", list(PATHS))
async def test_a_refusal_after_the_head_is_an_error_in_the_streams_own_words(path: str) -> None:
    async with scene(later(20.0, TOO_LONG), words.well) as played:
        answer = await played.ask(path=PATHS[path])
        assert answer.status == 200
        error = _error_in(answer, path)
        assert error["code"] == "context_length_exceeded"
        assert error["message"] == "The mirror says 400."
        assert played.asked == (1, 0)
        assert played.plane.finished[-1].outcome == "client_error"


async def test_with_nobody_left_the_error_comes_in_the_stream_too() -> None:
    async with scene(later(20.0, BROKEN)) as played:
        answer = await played.ask()
        assert _error_in(answer, "chat")["message"] == "The mirror says 500."
        assert played.plane.finished[-1].outcome == "upstream_error"


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"parameters": {"stream": True}}}]},
        {"metadata": {"stream": True}},
    ],
)
async def test_a_stream_that_only_inner_words_name_is_not_expected(more: dict[str, Any]) -> None:
    body = json.dumps({**more, "model": "gpt-4o", "messages": []}).encode()
    async with scene(later(20.0, answers(OK))) as played:
        answer = await played.ask(body=body)
        assert (answer.status, answer.body) == (200, ANSWER)
        assert played.plane.finished[-1].outcome == "success"


async def test_a_plain_document_in_place_of_a_stream_is_no_success() -> None:
    async with scene(later(20.0, answers(OK))) as played:
        answer = await played.ask()
        assert "no stream" in _error_in(answer, "chat")["message"]
        assert played.plane.finished[-1].outcome == "upstream_error"


@pytest.mark.parametrize("path", list(PATHS))
async def test_an_interrupted_stream_ends_with_an_error_in_its_dialect(path: str) -> None:
    async with scene(streams(CONTENT[path]), words.well) as played:
        answer = await played.ask(path=PATHS[path])
        assert answer.body.startswith(CONTENT[path])
        assert _error_in(answer, path)["code"] == "stream_interrupted"
        assert played.plane.finished[-1].outcome == "interrupted"


async def test_a_stream_cut_within_an_event_ends_without_an_added_event() -> None:
    async with scene(streams(CONTENT["chat"], CONTENT["chat"][:30])) as played:
        answer = await played.ask()
        assert answer.body == CONTENT["chat"] + CONTENT["chat"][:30]
        assert not answer.complete


def _error_in(answer: Response, path: str) -> dict[str, Any]:
    """The one error that ends a stream, which has no other end."""
    assert not answer.complete
    assert b"[DONE]" not in answer.body
    *_, last = answer.body.rstrip().split(b"\n\n")
    lines = [line for line in last.split(b"\n") if not line.startswith(b":")]
    if path == "responses":
        assert lines.pop(0) == b"event: error"
    (line,) = lines
    data = json.loads(line.removeprefix(b"data: "))
    if path == "responses":
        assert (data["type"], data["code"]) == ("error", data["error"]["code"])
    error: dict[str, Any] = data["error"]
    return error


@pytest.mark.parametrize("late", [False, True])
async def test_a_stream_that_we_may_talk_in_is_not_asked_for_compressed(late: bool) -> None:
    packed = gzip.compress(CONTENT["chat"])
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
    rude = answers(head + b"Content-Length: %d\r\n\r\n%b" % (len(packed), packed))
    async with scene(later(20.0, rude) if late else rude) as played:
        answer = await played.ask("Accept-Encoding: gzip, br")
        (asked,) = played.mirrors[0].heads
        assert b"accept-encoding" not in asked.lower()
        assert b"Content-Type: application/json\r\n" in asked
        if late:
            assert _error_in(answer, "chat")["message"]
        else:
            assert answer.body == packed


async def test_nothing_is_added_to_a_compressed_stream() -> None:
    packed = gzip.compress(CONTENT["chat"])[:-4]

    async def packs(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
        await words.send(writer, [packed])
        await mirror.time.sleep(40.0)
        return False

    async with scene(packs) as played:
        answer = await played.ask()
        assert answer.body == packed
        assert not answer.complete


async def test_a_plain_request_may_be_answered_compressed() -> None:
    async with scene(words.well) as played:
        await played.ask("Accept-Encoding: gzip, br", body=PLAIN)
        (asked,) = played.mirrors[0].heads
        assert b"Accept-Encoding: gzip, br\r\n" in asked


async def test_a_stream_that_waits_for_room_is_told_and_served() -> None:
    async with scene(later(20.0, words.well), limits={"max_connections": 1}) as played:
        first, second = await played.ask_at_once(2)
        assert outcome_of(first) == outcome_of(second) == "whole"
        served, waited = sorted((first.body, second.body), key=lambda body: QUEUED in body)
        assert served.count(NO_WORDS) == 1
        assert QUEUED in waited.partition(b"\n\n")[0]
        assert waited.count(NO_WORDS) > waited.count(QUEUED), "once it is on the mirror"


async def test_a_client_that_leaves_after_a_comment_leaves_nothing_behind() -> None:
    async with scene(words.silence, words.well) as played:
        client = await played.plane.send(post(PATHS["chat"], STREAM))
        status, _, _ = await played.time.run(client.head())
        told = await client.chunk()
        assert (status, told is not None and NO_WORDS in told) == (200, True)
        await client.close()
        await played.time.elapse(1.0)
        assert played.plane.in_flight == 0
        assert played.plane.finished[-1].outcome == "client_abort"
        assert played.plane.suspected == []


# What SDKs are told, and what they may ask


@pytest.mark.parametrize(
    ("status", "says", "asked"),
    [(500, "false", (1, 0)), (500, "true", (1, 1)), (503, "false", (1, 1)), (400, "true", (1, 0))],
)
async def test_a_mirror_has_a_say_in_whether_its_failure_is_repeated(
    status: int, says: str, asked: tuple[int, ...]
) -> None:
    fault = words.status(status, "server_error", "odd", f"x-should-retry: {says}")
    async with scene(fault, words.well) as played:
        answer = await played.ask()
        assert played.asked == asked
        if asked == (1, 0):
            assert (answer.status, answer["x-should-retry"]) == (status, says)
        assert played.plane.totals.get(metrics.AMBIGUOUS.name) == 0


async def test_after_mirrors_have_been_tried_an_sdk_must_not_try_again() -> None:
    async with scene(words.reset_once, words.reset_once) as played:
        answer = await played.ask()
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert answer["x-should-retry"] == "false"
        assert "retry-after" not in answer


@pytest.mark.parametrize(("wait", "told"), [(20, True), (600, False)])
async def test_where_all_are_limited_the_soonest_is_named_unless_it_is_far(
    wait: int, told: bool
) -> None:
    limits = [
        words.status(429, "rate_limit_error", "x", f"Retry-After: {seconds}")
        for seconds in (wait + 300, wait)
    ]
    tables: dict[str, Any] = {
        "callers": ["anonymous"],
        "cors_origins": [],
        "listen": "0.0.0.0:8080",
    }
    async with scene(*limits, **tables) as played:
        for upstream in played.plane.context.upstreams:
            upstream.api_key, upstream.lends_key = b"sk-mirror", True
        request = post(PATHS["chat"], STREAM).replace(b"Authorization: Bearer sk-x\r\n", b"")
        answer = await played.time.run(played.plane.ask(request))
        assert (answer.status, answer.error["code"]) == (429, "upstream_rate_limited")
        assert int(answer["retry-after"]) == wait
        assert ("x-should-retry" in answer) is not told


async def test_a_caller_can_lower_the_limits_and_the_mirror_is_not_blamed() -> None:
    async with scene(words.silence, words.well) as played:
        answer = await played.ask("x-mirrorgate-timeout: 5")
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert 5.0 <= played.waited < 6.5
        assert played.asked == (1, 0)
        assert played.plane.suspected == []


@pytest.mark.parametrize(("fault", "output"), [(words.silence, 0), (words.stall, 1)])
async def test_a_caller_who_sets_a_short_limit_pays_as_one_who_leaves(
    fault: Fault, output: int
) -> None:
    async with scene(fault) as played:
        context, key = played.plane.context, new_key("mg-")
        context.keys.season("01" * 32)
        context.keys.extend(
            [("k1", context.keys.digest(key.encode()).hex(), None, 0, "", None, None)]
        )
        context.metering.offered = ("gpt-4o",)
        for upstream in context.upstreams:
            upstream.api_key, upstream.lends_key = b"sk-mirror", True
        request = post(PATHS["chat"], STREAM, "x-mirrorgate-timeout: 5")
        request = request.replace(b"Bearer sk-x", f"Bearer {key}".encode())
        await played.time.run(played.plane.ask(request))
        assert played.waited < 6.5
        context.abandoned.close()  # it is read on for a while
        message = context.metering.uses.due(0.0)
        assert message is not None
        ((key_id, _, model, basis, requests, used, _, told, *_),) = message["rows"]
        assert (key_id, model, basis, requests) == ("k1", "gpt-4o", "estimate", 1)
        assert used == len(STREAM) // 4
        assert told >= output
        assert played.plane.suspected == []
        assert not played.plane.context.traffic.take_failed()


@pytest.mark.parametrize("asked", ["1000", "1h", "99999999999999999999", "soon"])
async def test_a_caller_cannot_raise_them(asked: str) -> None:
    async with scene(words.silence) as played:
        answer = await played.ask(f"x-mirrorgate-timeout: {asked}")
        assert read_stream(answer.body)[1][0]["code"] == "upstream_timeout"
        assert 90.0 <= played.waited < 92.0


async def test_a_model_that_reasons_is_given_its_time() -> None:
    async with scene(later(100.0, words.well), words.well) as played:
        answer = await played.ask(body=STREAM.replace(b"gpt-4o", b"o3-mini"))
        assert outcome_of(answer) == "whole"
        assert played.asked == (1, 0)
        assert answer.body.count(NO_WORDS) == 6
