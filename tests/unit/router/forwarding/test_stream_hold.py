"""Until when another mirror can still answer."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.failure import Failure
from router.forwarding.stream_hold import MOST_BYTES, MOST_EVENTS, Decision, Ending, Hold, Verdict
from router.upstream.dialect import Dialect

SSE, JSON, HTML = b"text/event-stream; charset=utf-8", b"application/json", b"text/html"
ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
TEXT = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
ERROR = b'data: {"error": {"message": "boom", "type": "server_error"}}\n\n'
CALLERS = b'data: {"error": {"message": "m", "type": "x", "code": "context_length_exceeded"}}\n\n'
JSON_ERROR = b'{"error": {"message": "boom", "type": "server_error", "code": null}}'
DONE = b"data: [DONE]\n\n"


def _run(
    pieces: list[bytes], content_type: bytes = SSE, dialect: Dialect = Dialect.chat, **more: bool
) -> Verdict:
    """The verdict on a whole body; what is held must be all that was fed until then."""
    hold, fed = Hold(dialect, content_type, **more), list[bytes]()
    for piece in pieces:
        if hold.verdict.decision is not Decision.wait:
            break
        hold.feed(piece)
        fed.append(piece)
    verdict = hold.ended()
    assert b"".join(hold.take()) == b"".join(fed)
    return verdict


@pytest.mark.parametrize(
    ("body", "content_type", "decision", "failure"),
    [
        (ROLE + TEXT, SSE, Decision.commit, None),
        (TEXT, SSE, Decision.commit, None),
        (b": keepalive\n\n" + TEXT, SSE, Decision.commit, None),
        (ROLE + STOP + DONE, SSE, Decision.commit, None),
        (ROLE + ERROR, SSE, Decision.fail, Failure.error_event),
        (ERROR.rstrip(), SSE, Decision.fail, Failure.error_event),
        (CALLERS, SSE, Decision.commit, None),
        (ROLE + DONE, SSE, Decision.fail, Failure.empty),
        (ROLE, SSE, Decision.fail, Failure.empty),
        (b"", SSE, Decision.fail, Failure.empty),
        (b": nothing\n\n", SSE, Decision.fail, Failure.empty),
        (b"data: oops\n\n", SSE, Decision.fail, Failure.page),
        (b"<!DOCTYPE html><html>", SSE, Decision.fail, Failure.page),
        (b"  \r\n<HTML><head>", SSE, Decision.fail, Failure.page),
        (JSON_ERROR, SSE, Decision.fail, Failure.error_event),
        (b"<html>", HTML, Decision.fail, Failure.page),
        (b"", HTML, Decision.fail, Failure.page),
        (b"<!doctype html>", JSON, Decision.fail, Failure.page),
        (b'{"id": "c", "choices": []}', JSON, Decision.commit, None),
        (b' { "error" : null, "id": "r"}', JSON, Decision.commit, None),
        (b'{"errors": 3}', JSON, Decision.commit, None),
        (JSON_ERROR, JSON, Decision.fail, Failure.error_event),
        (b'\n{"error":"overloaded"}', JSON, Decision.fail, Failure.error_event),
        (
            b'{"error": {"message": "m", "type": "rate_limit_error"}}',
            JSON,
            Decision.fail,
            Failure.limited,
        ),
        (
            b'{"error": {"message": "m", "type": "invalid_request_error"}}',
            JSON,
            Decision.commit,
            None,
        ),
        (b"", JSON, Decision.commit, None),
        (b"   ", JSON, Decision.commit, None),
    ],
)
def test_the_table(
    body: bytes, content_type: bytes, decision: Decision, failure: Failure | None
) -> None:
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        verdict = _run(pieces, content_type)
        assert (verdict.decision, verdict.failure) == (decision, failure)


@pytest.mark.parametrize(
    ("dialect", "content_type", "encoded"),
    [
        (Dialect.other, JSON, False),
        (Dialect.other, HTML, False),
        (Dialect.other, b"audio/mpeg", False),
        (Dialect.chat, SSE, True),
        (Dialect.chat, HTML, True),
    ],
)
def test_what_is_not_looked_into_is_forwarded_at_once(
    dialect: Dialect, content_type: bytes, encoded: bool
) -> None:
    hold = Hold(dialect, content_type, encoded=encoded)
    assert hold.verdict.decision is Decision.commit
    assert hold.feed(JSON_ERROR).decision is Decision.commit
    assert hold.take() == []


def test_content_commits_as_soon_as_its_event_is_complete() -> None:
    hold = Hold(Dialect.chat, SSE)
    pieces = [ROLE, TEXT[:-1], TEXT[-1:]]
    got = [hold.feed(piece).decision for piece in pieces]
    assert got == [Decision.wait, Decision.wait, Decision.commit]
    assert hold.take() == pieces
    assert hold.take() == []


def test_what_is_held_is_bounded_in_events_and_bytes() -> None:
    hold = Hold(Dialect.chat, SSE)
    verdicts = [hold.feed(ROLE).decision for _ in range(MOST_EVENTS)]
    assert verdicts == [Decision.wait] * (MOST_EVENTS - 1) + [Decision.commit]
    for filler in (b": keepalive\n\n", b"data: " + b"x" * 1000, b"x" * 997):
        hold, fed = Hold(Dialect.chat, SSE), 0
        while hold.feed(filler).decision is Decision.wait:
            fed += len(filler)
        assert hold.verdict.decision is Decision.commit
        assert fed <= MOST_BYTES


def test_a_json_error_that_does_not_end_is_forwarded() -> None:
    hold = Hold(Dialect.chat, JSON)
    hold.feed(b'{"error": {"message": "')
    while hold.feed(b"x" * 1000).decision is Decision.wait:
        pass
    assert hold.verdict.decision is Decision.commit


@pytest.mark.parametrize(
    ("dialect", "events", "decision"),
    [
        (Dialect.responses, ["response.created", "response.output_text.delta"], Decision.commit),
        (Dialect.responses, ["response.created", "response.failed"], Decision.fail),
        (Dialect.responses, ["response.created"], Decision.fail),
        (Dialect.messages, ["message_start", "content_block_delta"], Decision.commit),
        (Dialect.messages, ["message_start", "error"], Decision.fail),
    ],
)
def test_other_dialects(dialect: Dialect, events: list[str], decision: Decision) -> None:
    body = [b"data: %b\n\n" % json.dumps({"type": kind}).encode() for kind in events]
    assert _run(body, dialect=dialect).decision is decision


PARTS = st.lists(
    st.sampled_from([ROLE, TEXT, STOP, ERROR, DONE, b": c\n", b"\r\n", b"data: ?\n\n", JSON_ERROR])
    | st.binary(max_size=8),
    max_size=8,
).map(b"".join)


@given(
    PARTS,
    st.lists(st.integers(0, 600), max_size=10),
    st.sampled_from([SSE, JSON, HTML, b""]),
    st.sampled_from([Dialect.chat, Dialect.other]),
)
def test_the_verdict_does_not_depend_on_how_the_body_is_cut(
    body: bytes, cuts: list[int], content_type: bytes, dialect: Dialect
) -> None:
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    whole = _run([body], content_type, dialect)
    assert _run(pieces, content_type, dialect) == whole


@pytest.mark.parametrize(
    ("body", "complete"),
    [
        (ROLE + TEXT, False),
        (ROLE + TEXT + STOP, True),
        (TEXT + STOP + b'data: {"choices": [], "usage": {}}\n\n' + TEXT[:9], True),
        (TEXT + DONE, True),
        (TEXT + DONE[:-3], False),
        (b"", False),
    ],
)
def test_whether_a_stream_that_ends_with_its_connection_is_complete(
    body: bytes, complete: bool
) -> None:
    ending = Ending(Dialect.chat)
    for start in range(0, len(body), 5):
        ending.feed(body[start : start + 5])
    assert ending.complete is complete


def test_a_stream_of_endless_events_is_not_called_complete() -> None:
    ending = Ending(Dialect.chat)
    ending.feed(b"x" * (MOST_BYTES + 1))
    ending.feed(b"\n\n" + DONE)
    assert not ending.complete
