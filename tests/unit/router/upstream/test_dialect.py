"""Meaning of events in each dialect, and the form of an interruption."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError, OpenAI, Stream

from router.balancing.failure import Failure
from router.upstream.dialect import (
    Dialect,
    Sight,
    dialect_of,
    failure_of_error,
    interruption,
    keepalive,
    look,
    says_complete,
)
from router.wire.sse import Boundary, Event, EventSplitter


def _chat(delta: object = None, finish: object = None, **more: object) -> dict[str, object]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}


@pytest.mark.parametrize(
    ("endpoint", "target", "dialect"),
    [
        ("chat", b"/v1/chat/completions", Dialect.chat),
        ("chat", b"/v1/chat/completions?x=1", Dialect.chat),
        ("completions", b"/v1/completions", Dialect.completions),
        ("responses", b"/v1/responses", Dialect.responses),
        ("other", b"/v1/messages", Dialect.messages),
        ("threads", b"/v1/threads/t/runs", Dialect.other),
        ("images", b"/v1/images/generations", Dialect.other),
        ("other", b"/mj/submit", Dialect.other),
    ],
)
def test_which_dialect_an_endpoint_speaks(endpoint: str, target: bytes, dialect: Dialect) -> None:
    assert dialect_of(endpoint, target) is dialect


@pytest.mark.parametrize(
    ("dialect", "data", "sight"),
    [
        (Dialect.chat, _chat({"role": "assistant", "content": ""}), Sight.nothing),
        (Dialect.chat, _chat({"role": "assistant", "content": None}), Sight.nothing),
        (Dialect.chat, _chat({"content": "Hi"}), Sight.content),
        (Dialect.chat, _chat({"reasoning_content": "Hm"}), Sight.content),
        (Dialect.chat, _chat({"tool_calls": [{"index": 0}]}), Sight.content),
        (Dialect.chat, _chat({"refusal": "No"}), Sight.content),
        (Dialect.chat, _chat({}, "stop"), Sight.finish),
        (Dialect.chat, {"choices": [], "prompt_filter_results": []}, Sight.nothing),
        (Dialect.chat, {"choices": [], "usage": {"total_tokens": 3}}, Sight.nothing),
        (Dialect.chat, {"error": {"message": "m"}}, Sight.error),
        (Dialect.chat, {"error": "m"}, Sight.error),
        (Dialect.chat, {"error": None, **_chat({"content": "x"})}, Sight.content),
        (Dialect.chat, {"id": "c", "object": "other"}, Sight.content),
        (Dialect.chat, {}, Sight.garbage),
        (Dialect.chat, {"choices": ["x"]}, Sight.garbage),
        (Dialect.chat, _chat("text"), Sight.garbage),
        (Dialect.completions, {"choices": [{"text": "Hi"}]}, Sight.content),
        (Dialect.completions, {"choices": [{"text": ""}]}, Sight.nothing),
        (Dialect.completions, {"choices": [{"text": "", "finish_reason": "stop"}]}, Sight.finish),
        (Dialect.responses, {"type": "response.created", "response": {}}, Sight.nothing),
        (Dialect.responses, {"type": "response.in_progress"}, Sight.nothing),
        (Dialect.responses, {"type": "response.output_item.added"}, Sight.nothing),
        (Dialect.responses, {"type": "response.output_text.delta"}, Sight.content),
        (Dialect.responses, {"type": "response.completed"}, Sight.finish),
        (Dialect.responses, {"type": "response.failed", "response": {}}, Sight.error),
        (Dialect.responses, {"type": "response.failed", "response": 3}, Sight.error),
        (Dialect.responses, {"type": "error", "message": "m"}, Sight.error),
        (Dialect.responses, {"error": {"message": "m"}}, Sight.error),
        (Dialect.responses, {"type": ["x"]}, Sight.content),
        (Dialect.messages, {"type": "message_start"}, Sight.nothing),
        (Dialect.messages, {"type": "ping"}, Sight.nothing),
        (Dialect.messages, {"type": "content_block_delta"}, Sight.content),
        (Dialect.messages, {"type": "message_stop"}, Sight.finish),
        (Dialect.messages, {"type": "error", "error": {"message": "m"}}, Sight.error),
        (Dialect.other, {"type": "image_generation.partial_image"}, Sight.content),
        (Dialect.other, {"error": {"message": "m"}}, Sight.error),
    ],
)
def test_events_are_classified_by_dialect(dialect: Dialect, data: object, sight: Sight) -> None:
    assert look(dialect, Event(b"", json.dumps(data).encode())).sight is sight


@pytest.mark.parametrize("dialect", sorted(Dialect))
def test_done_is_an_end_in_every_dialect(dialect: Dialect) -> None:
    assert look(dialect, Event(b"", b"[DONE]")).sight is Sight.done


@pytest.mark.parametrize("data", [b"not json", b"[1]", b"3", b"\xff", b"[" * 100_000])
def test_values_that_are_no_objects_are_garbage_in_chat(data: bytes) -> None:
    assert look(Dialect.chat, Event(b"", data)).sight is Sight.garbage
    assert look(Dialect.other, Event(b"", data)).sight is Sight.content


@pytest.mark.parametrize(
    "event",
    [Event(b"ping", b""), Event(b"heartbeat", b"{}"), Event(b"", b'{"type": "ping"}')],
)
def test_a_heartbeat_is_no_content_and_no_garbage(event: Event) -> None:
    assert look(Dialect.chat, event).sight is Sight.nothing


def test_half_a_character_is_read_as_clients_read_it() -> None:
    said = b'{"choices": [{"delta": {"content": "\xe4\xb8"}, "finish_reason": "stop"}]}'
    assert look(Dialect.chat, Event(b"", said)).sight is Sight.content
    assert says_complete(Dialect.chat, Event(b"", said))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "choices", "delta", "type", "response", "text", "code"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(Dialect), JSON, st.sampled_from([b"", b"error", b"\xff"]))
def test_no_event_of_a_mirror_raises(dialect: Dialect, data: object, name: bytes) -> None:
    seen = look(dialect, Event(name, json.dumps(data).encode()))
    assert (seen.error is not None) == (seen.sight is Sight.error)
    if seen.error is not None:
        failure_of_error(seen.error)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"message": "m", "type": "server_error"}, Failure.error_event),
        ({"message": "m"}, Failure.error_event),
        ({"type": "overloaded_error"}, Failure.error_event),
        ({"type": "rate_limit_error"}, Failure.key_limited),
        ({"type": "tokens", "code": "rate_limit_exceeded"}, Failure.key_limited),
        ({"code": 429}, Failure.key_limited),
        ({"type": "insufficient_quota"}, Failure.key_spent),
        ({"code": "Insufficient_User_Quota"}, Failure.key_spent),
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, Failure.caller_refused),
        ({"code": 403}, Failure.caller_refused),
        ({"type": "new_api_error", "code": "model_not_found"}, Failure.no_model),
        ({"type": "invalid_request_error", "code": "context_length_exceeded"}, None),
        ({"code": "content_filter"}, None),
        ({"type": ["x"], "code": {}}, Failure.error_event),
    ],
)
def test_an_error_is_the_mirrors_or_the_requests(
    error: dict[str, Any], failure: Failure | None
) -> None:
    assert failure_of_error(error) is failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"type": "rate_limit_error"}, Failure.limited),
        ({"type": "insufficient_quota"}, Failure.out_of_quota),
        ({"code": 401}, Failure.key_refused),
        ({"code": 403}, Failure.error_event),
        ({"code": "model_not_found"}, Failure.no_model),
    ],
)
def test_an_error_to_a_key_that_the_mirror_lends_is_the_mirrors(
    error: dict[str, Any], failure: Failure
) -> None:
    assert failure_of_error(error, lent=True) is failure


@pytest.mark.parametrize("dialect", sorted(Dialect))
def test_an_interruption_is_one_event_with_an_error_and_no_end(dialect: Dialect) -> None:
    written = interruption(dialect, "Die Verbindung zum Mirror brach ab. 连接中断")
    (event,) = EventSplitter(1 << 16).feed(written)
    error = json.loads(event.data)["error"]
    assert error["code"] == "stream_interrupted"
    assert error["message"].endswith("连接中断")
    assert b"[DONE]" not in written
    assert look(dialect, event).sight is Sight.error
    named = dialect not in (Dialect.chat, Dialect.completions)
    assert event.name == (b"error" if named else b"")


@pytest.mark.parametrize("dialect", sorted(Dialect))
def test_openais_own_client_takes_it_for_an_error(dialect: Dialect) -> None:
    request = httpx2.Request("POST", "http://mirror.test/v1/chat/completions")
    content = b'data: {"x": 1}\n\n' + interruption(dialect, "broke off")
    response = httpx2.Response(200, content=content, request=request)
    with OpenAI(api_key="x") as client:
        stream = Stream[dict[str, Any]](cast_to=dict, response=response, client=client)
        assert next(stream)
        with pytest.raises(APIError, match="broke off"):
            next(stream)


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("chunk", [None, {"id": "chatcmpl-7", "created": 5, "model": "gpt-4o"}])
@pytest.mark.parametrize("dialect", sorted(Dialect))
def test_a_keepalive_carries_no_content_and_does_not_disturb_openais_client(
    dialect: Dialect, chunk: dict[str, Any] | None, place: int
) -> None:
    written = keepalive(dialect, place, chunk)
    of_place = (b": waiting, position 3\n", b'"x_mirrorgate_queue": 3, ')
    assert any(words in written for words in of_place) == bool(place)
    if chunk and dialect in (Dialect.chat, Dialect.completions):
        assert written.startswith(b"data: {"), "some readers take no comments"
    events = EventSplitter(1 << 16).feed(written)
    assert [look(dialect, event).sight for event in events] in ([], [Sight.nothing])
    boundary = Boundary()
    boundary.feed(written)
    assert boundary.between_events
    request = httpx2.Request("POST", "http://mirror.test/v1/chat/completions")
    content = b'id: 7\ndata: {"x": 1}\n\n' + written * 3 + b'data: {"x": 2}\n\ndata: [DONE]\n\n'
    response = httpx2.Response(200, content=content, request=request)
    with OpenAI(api_key="x") as client:
        stream = Stream[dict[str, Any]](cast_to=dict, response=response, client=client)
        assert [data["x"] for data in stream if "x" in data] == [1, 2]
