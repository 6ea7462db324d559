"""Until when another mirror can still answer."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.failure import Failure
from router.upstream.dialect import Dialect
from router.upstream.stream_hold import (
    MOST_BYTES,
    MOST_EVENTS,
    Decision,
    Ending,
    Hold,
    Verdict,
    breaks_off,
)
from router.wire.sse import Boundary

ROLE = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
TEXT = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
ERROR = b'data: {"error": {"message": "boom", "type": "server_error"}}\n\n'
CALLERS = b'data: {"error": {"message": "m", "type": "x", "code": "context_length_exceeded"}}\n\n'
JSON_ERROR = b'{"error": {"message": "boom", "type": "server_error", "code": null}}'
DONE = b"data: [DONE]\n\n"


def _run(pieces: list[bytes], dialect: Dialect = Dialect.chat, encoding: bytes = b"") -> Verdict:
    """The verdict on a whole body; what is held must be all that was fed until then."""
    hold, fed = Hold(dialect, encoding=encoding), list[bytes]()
    for piece in pieces:
        if hold.verdict.decision is not Decision.wait:
            break
        hold.feed(piece)
        fed.append(piece)
    verdict = hold.ended()
    assert b"".join(hold.take()) == b"".join(fed)
    return verdict


@pytest.mark.parametrize(
    ("body", "decision", "failure"),
    [
        (ROLE + TEXT, Decision.commit, None),
        (TEXT, Decision.commit, None),
        (b": keepalive\n\n" + TEXT, Decision.commit, None),
        (ROLE + STOP + DONE, Decision.commit, None),
        (ROLE + ERROR, Decision.fail, Failure.error_event),
        (ERROR.rstrip(), Decision.fail, Failure.error_event),
        (CALLERS, Decision.commit, None),
        (ROLE + DONE, Decision.fail, Failure.empty),
        (ROLE, Decision.fail, Failure.empty),
        (b"", Decision.fail, Failure.empty),
        (b": nothing\n\n", Decision.fail, Failure.empty),
        (b"data: oops\n\n", Decision.fail, Failure.page),
        (b"<!DOCTYPE html><html>", Decision.fail, Failure.page),
        (b"  \r\n<HTML><head>", Decision.fail, Failure.page),
        (JSON_ERROR, Decision.fail, Failure.refused),
    ],
)
def test_the_table(body: bytes, decision: Decision, failure: Failure | None) -> None:
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        verdict = _run(pieces)
        assert (verdict.decision, verdict.failure) == (decision, failure)


@pytest.mark.parametrize("body", [ROLE + TEXT, ROLE + ERROR, ROLE, b"<html>", CALLERS])
def test_a_compressed_stream_is_looked_into_as_far_as_it_can_be(body: bytes) -> None:
    packed = gzip.compress(body)
    for pieces in ([packed], [packed[i : i + 1] for i in range(len(packed))]):
        assert _run(pieces, encoding=b"gzip") == _run([body])
    assert _run([b"no gzip"], encoding=b"gzip").failure is Failure.malformed
    assert _run([gzip.compress(ROLE)[:-4]], encoding=b"gzip").failure is Failure.malformed
    assert _run([packed], encoding=b"br").decision is Decision.commit


def test_content_commits_as_soon_as_its_event_is_complete() -> None:
    hold = Hold(Dialect.chat)
    pieces = [ROLE, TEXT[:-1], TEXT[-1:]]
    got = [hold.feed(piece).decision for piece in pieces]
    assert got == [Decision.wait, Decision.wait, Decision.commit]
    assert hold.take() == pieces
    assert hold.take() == []


def test_the_hold_is_bounded_in_events_and_bytes() -> None:
    hold = Hold(Dialect.chat)
    verdicts = [hold.feed(ROLE).decision for _ in range(MOST_EVENTS)]
    assert verdicts == [Decision.wait] * (MOST_EVENTS - 1) + [Decision.commit]
    for filler in (b"event: x\n: keepalive\n", b"data: " + b"x" * 1000, b"x" * 997):
        hold, fed = Hold(Dialect.chat), 0
        while hold.feed(filler).decision is Decision.wait:
            fed += len(filler)
        assert hold.verdict.decision is Decision.commit
        assert fed <= MOST_BYTES


def test_any_number_of_comments_is_no_content_and_takes_no_memory() -> None:
    hold = Hold(Dialect.chat)
    for _ in range(3 * MOST_BYTES // 1000):
        assert hold.feed(b": %b\n\n" % (b"x" * 1000)).decision is Decision.wait
    assert hold.feed(TEXT).decision is Decision.commit
    held = b"".join(hold.take())
    assert held.endswith(TEXT)
    assert len(held) < MOST_BYTES


def test_a_stream_of_an_unknown_dialect_may_be_empty() -> None:
    for body in (b"", b": nothing\n\n", DONE):
        assert _run([body], Dialect.other).decision is Decision.commit


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
    st.sampled_from([Dialect.chat, Dialect.other]),
)
def test_the_verdict_does_not_depend_on_how_the_body_is_cut(
    body: bytes, cuts: list[int], dialect: Dialect
) -> None:
    places = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    pieces = [body[a:b] for a, b in pairwise(places)]
    assert _run(pieces, dialect) == _run([body], dialect)


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
def test_a_stream_that_ends_with_its_connection_needs_its_last_event(
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
    assert (ending.complete, ending.known) == (False, False)


FULL = b'data: {"choices": [{"delta": {"content": "%b"}}]}\n\n' % (b"x" * 250)
LONG = FULL.replace(b"x" * 250, b"x" * 1500)
WORDS = TEXT * 5
USED = b'data: {"choices": [], "usage": {"total_tokens": 9}}\n\n'
LAST_WORDS = b'data: {"choices": [{"delta": {"content": "!"}, "finish_reason": "stop"}]}\n\n'
AZURES_FIRST = b'data: {"choices": [], "prompt_filter_results": [{}]}\n\n'
LEGACY = b'data: {"choices": [{"text": "Hi"}]}\n\n'
LEGACY_END = b'data: {"choices": [{"text": "", "finish_reason": "length"}]}\n\n'


def _event(kind: str, **more: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **more}).encode())


DELTA = _event("response.output_text.delta", delta="x")
BLOCK = _event("content_block_delta", delta={"text": "x"})


@pytest.mark.parametrize(
    ("dialect", "body", "breaks"),
    [
        (Dialect.chat, WORDS, True),
        (Dialect.chat, ROLE + WORDS, True),
        (Dialect.chat, AZURES_FIRST + WORDS, True),
        (Dialect.chat, WORDS + STOP, False),
        (Dialect.chat, WORDS + DONE, False),
        (Dialect.chat, WORDS + DONE.rstrip(), False),
        (Dialect.chat, WORDS + LAST_WORDS, False),
        (Dialect.chat, WORDS + STOP + USED, False),
        (Dialect.chat, WORDS + USED, False),
        (Dialect.chat, WORDS + ERROR, False),
        (Dialect.chat, WORDS.replace(b"\n", b"\r\n"), True),
        (Dialect.chat, WORDS + STOP.replace(b"\n", b"\r"), False),
        (Dialect.chat, WORDS + b": a comment\n\n", True),
        (Dialect.chat, FULL * 40, True),
        (Dialect.chat, FULL * 40 + DONE, False),
        (Dialect.chat, FULL * 40 + STOP + USED + b"data: " + b"x" * 9000 + b"\n\n", False),
        (Dialect.chat, FULL * 40 + STOP + b"data: {}\n\n" * 2, False),
        (Dialect.chat, b"data: " + b"x" * 9000 + b"\n\n", False),
        (Dialect.chat, TEXT + b'data: {"choices": [{"delta": {"content": "' + b"x" * 9000, True),
        (Dialect.chat, LONG * 2 + LONG[:-20], True),
        (Dialect.chat, LONG + b'data: {"x": "%b"}' % (b"x" * 9000), False),
        (Dialect.chat, LONG + STOP + b": bye", False),
        (Dialect.chat, b"", False),
        (Dialect.completions, LEGACY * 5, True),
        (Dialect.completions, LEGACY * 5 + LEGACY_END, False),
        (Dialect.responses, DELTA * 5, True),
        (Dialect.responses, DELTA * 90, True),
        (Dialect.responses, DELTA * 5 + _event("response.completed", response={}), False),
        (Dialect.responses, DELTA * 5 + _event("response.completed", response="x" * 9000), False),
        (Dialect.responses, DELTA * 5 + _event("response.incomplete"), False),
        (Dialect.responses, DELTA * 5 + _event("response.failed"), False),
        (Dialect.responses, DELTA * 5 + _event("error"), False),
        (Dialect.messages, BLOCK * 5, True),
        (Dialect.messages, BLOCK * 5 + _event("message_stop"), False),
        (
            Dialect.messages,
            BLOCK * 5 + _event("message_delta", delta={"stop_reason": "end_turn"}),
            False,
        ),
    ],
)
def test_a_stream_that_ends_without_its_last_words_breaks_off(
    dialect: Dialect, body: bytes, breaks: bool
) -> None:
    for size in (len(body) or 1, 7, 300):
        boundary = Boundary()
        for start in range(0, len(body), size):
            boundary.feed(body[start : start + size])
        assert breaks_off(dialect, boundary) is breaks, size


def test_the_beginning_of_an_event_is_distinguished_from_silence_and_comments() -> None:
    hold = Hold(Dialect.chat)
    for piece, begun in ((ROLE, 0), (b": a comment\n", 0), (b"data: {", 7), (b'"', 8)):
        hold.feed(piece)
        assert hold.begun == begun
