"""Metering changes nothing but the one event that it hides, however an answer is cut into reads."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from router.metering.meter import Meter
from router.metering.usage import Usage
from router.metering.usage_taps import EventTap
from router.upstream.dialect import Dialect
from router.wire.response import ResponseHead

CHAT = Dialect.chat
USED = {"prompt_tokens": 9, "completion_tokens": 12}
EOLS = st.sampled_from(("\n", "\r\n", "\r"))
TEXT = st.text(max_size=20)
DIALECTS = st.sampled_from(list(Dialect))
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def head_of(media: bytes, encoding: bytes = b"") -> ResponseHead:
    look = {b"content-type": media}
    fields = [b"content-type", b": ", media, b"\r\n"]
    if encoding:
        look[b"content-encoding"] = encoding
        fields += [b"Content-Encoding", b": ", encoding, b"\r\n"]
    return ResponseHead(200, b"OK", fields, look, media=media)


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    """`raw` in pieces of these sizes, over and over."""
    some, at, turn = [], 0, 0
    while at < len(raw):
        size = cuts[turn % len(cuts)]
        some.append(raw[at : at + size])
        at, turn = at + size, turn + 1
    return some


def passed(meter: Meter, raw: bytes, cuts: list[int]) -> bytes:
    out = [part for piece in pieces(raw, cuts) for part in meter.feed([piece], False)]
    return b"".join([*out, *meter.feed([], True)])


@st.composite
def chat_streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream of chat with the event that only says the use, and without."""
    eol = draw(EOLS)
    before, after = b"", b""
    for said in draw(st.lists(st.one_of(TEXT, st.none()), max_size=6)):
        if said is None:
            block = draw(st.sampled_from((f": ping{eol}", f": ping{eol}{eol}", eol)))
        else:
            data = {"choices": [{"delta": {"content": said}}], "usage": None}
            block = f"data: {json.dumps(data, ensure_ascii=draw(st.booleans()))}{eol}{eol}"
        before += block.encode("utf-8", "surrogatepass")
    spaced = draw(st.booleans())
    last = json.dumps({"choices": [], "usage": USED}, indent=1 if spaced else None)
    lines = "".join(f"data: {line}{eol}" for line in last.split("\n"))
    hidden = f"{lines}{eol}".encode()
    if draw(st.booleans()):
        after = f"data: [DONE]{eol}{eol}".encode()
    return before + hidden + after, before + after


@given(chat_streams(), CUTS)
def test_of_a_stream_only_the_hidden_event_is_missing(stream, cuts):
    sent, wanted = stream
    meter = Meter(head_of(b"text/event-stream"), Dialect.chat, hide=True, images=False)
    assert passed(meter, sent, cuts) == wanted
    assert meter.usage() == Usage(input=9, output=12)


@given(chat_streams(), CUTS, st.sampled_from(("gzip", "zlib", "raw")))
def test_a_compressed_stream_arrives_plain_and_without_the_hidden_event(stream, cuts, how):
    sent, wanted = stream
    small = {
        "gzip": gzip.compress(sent, mtime=0),
        "zlib": zlib.compress(sent),
        "raw": zlib.compress(sent, wbits=-15),
    }[how]
    head = head_of(b"text/event-stream", b"gzip" if how == "gzip" else b"deflate")
    meter = Meter(head, Dialect.chat, hide=True, images=False)
    assert passed(meter, small, cuts) == wanted
    assert meter.usage() == Usage(input=9, output=12)
    assert b"ncoding" not in b"".join(meter.head.fields)
    assert meter.head.table() == {b"content-type": b"text/event-stream"}


@given(chat_streams(), CUTS, CUTS, DIALECTS, st.booleans())
def test_the_use_does_not_depend_on_how_an_answer_is_cut(stream, cuts, others, dialect, hide):
    raw, _ = stream
    seen = []
    for some in (cuts, others, [len(raw) + 1]):
        meter = Meter(head_of(b"text/event-stream"), dialect, hide=hide, images=False)
        out = passed(meter, raw, some)
        seen.append((out, meter.usage(), meter.content, meter.error))
    assert seen[0] == seen[1] == seen[2]


@given(
    st.binary(max_size=300),
    CUTS,
    DIALECTS,
    st.sampled_from((b"text/event-stream", b"application/json", b"audio/mpeg", b"text/html")),
    st.sampled_from((b"", b"gzip", b"deflate", b"br", b"nonsense")),
    st.booleans(),
)
def test_garbage_passes_whole_and_nothing_raises(raw, cuts, dialect, media, encoding, hide):
    meter = Meter(head_of(media, encoding), dialect, hide=hide, images=True)
    out = passed(meter, raw, cuts)
    meter.usage()
    if not meter.broken and meter.head.look.get(b"content-encoding", b"") == encoding:
        assert out == raw


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(TEXT, st.sampled_from(("usage", "error"))), inner, max_size=4),
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(("usage", "data", "response", "choices", "type")), JSON))
def test_any_json_is_read_without_raising(data):
    for dialect in Dialect:
        text = json.dumps(data).encode()
        meter = Meter(head_of(b"text/event-stream"), dialect, hide=True, images=True)
        meter.feed([b"data: " + text + b"\n\n"], True)
        assert min(meter.usage() or (0,)) >= 0
    meter = Meter(head_of(b"application/json"), Dialect.other, hide=True, images=True)
    assert meter.feed([text], True) == [text]
    assert min(meter.usage() or (0,)) >= 0


def test_the_first_byte_of_what_has_no_header_is_not_lost():
    sent = b"data: 1\n\n" * 30
    head = head_of(b"text/event-stream", b"deflate")
    for compressed in (zlib.compress(sent), zlib.compress(sent, wbits=-15)):
        meter = Meter(head, Dialect.chat, hide=True, images=False)
        assert passed(meter, compressed, [1]) == sent


def test_a_bomb_is_given_up():
    bomb = gzip.compress(b"\0" * (65 << 20))
    meter = Meter(head_of(b"text/event-stream", b"gzip"), Dialect.chat, hide=True, images=False)
    for piece in pieces(bomb, [1 << 15]):
        meter.feed([piece], False)
    assert meter.broken
    meter = Meter(head_of(b"application/json", b"gzip"), Dialect.chat, hide=True, images=False)
    assert [p for piece in pieces(bomb, [1 << 15]) for p in meter.feed([piece], False)]
    assert not meter.broken
    assert not meter.readable


Keys = dict[str, st.SearchStrategy[Any]]


def chunks(delta: Keys, choice: Keys, chunk: Keys) -> st.SearchStrategy[dict[str, Any]]:
    """Chunks with any of the usual keys, and these."""
    words = st.none() | TEXT
    usual = {"role": st.just("assistant"), "content": words, "reasoning": words, "refusal": words}
    deltas = st.fixed_dictionaries({}, optional={**usual, "reasoning_content": words, **delta})
    ended = {"index": st.integers(), "finish_reason": st.sampled_from((None, "stop"))}
    choices = st.fixed_dictionaries({"delta": deltas}, optional={**ended, **choice})
    named = {"id": st.just("chatcmpl-1"), "usage": st.none(), "obfuscation": st.just("xK2")}
    some = {"choices": st.lists(choices, max_size=3)}
    return st.fixed_dictionaries(some, optional={**named, **chunk})


CHUNKS = chunks({}, {}, {}) | chunks(
    {
        "content": st.text('ab\\"\né', max_size=40) | st.just([{"text": "a"}]),
        "reasoning": st.just({"text": "a"}),
        "tool_calls": st.just([{"index": 0, "function": {"arguments": '{"a'}}]),
    },
    {
        "logprobs": st.just({"content": [{"token": "a"}]}),
        "text": TEXT,
        "message": st.just({"content": "whole"}),
    },
    {
        "usage": st.sampled_from((USED, {})),
        "error": st.sampled_from((None, {"message": "no"}, "no")),
        "content": TEXT,
        "x_groq": st.just({"usage": USED}),
    },
)


@given(
    CHUNKS,
    st.booleans(),
    st.sampled_from((None, 1)),
    st.sampled_from(("\n\n", "\r\n\r\n", "\nid: 1\n\n")),
)
@example({"choices": [{"delta": {"content": "error"}}]}, False, None, "\n\n")
def test_a_usual_chunk_is_read_as_any_json_is(chunk, escaped, indent, end):
    text = json.dumps(chunk, ensure_ascii=escaped, indent=indent, separators=(",", ":"))
    event = f"data: {text.replace(chr(10), chr(10) + 'data: ')}{end}".encode(
        "utf-8", "surrogatepass"
    )
    usual, any_json = (EventTap(dialect, hide=True) for dialect in (CHAT, Dialect.completions))
    assert usual.feed(event) == any_json.feed(event)
    for name in ("content", "tokens", "error", "usage", "final", "reasons"):
        assert getattr(usual, name) == getattr(any_json, name), name
