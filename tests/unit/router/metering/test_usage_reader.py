"""Usage as the mirrors state it, dialect by dialect."""

from __future__ import annotations

import gzip
import json

import pytest

from monitor.common.inflate import Inflater
from router.metering import usage_reader
from router.metering.meter import Meter
from router.metering.usage import MOST, Usage
from router.metering.usage_reader import usage_of
from router.metering.usage_taps import MOST_EVENT, MOST_KEPT, EventTap, JsonTap
from router.upstream.dialect import Dialect
from router.wire.response import ResponseHead

CHAT_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 12,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 4},
}
CHAT = Usage(input=9, cached=4, output=12)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (CHAT_USAGE, CHAT),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(input=3)),
        ({"total_tokens": 5}, Usage(input=5)),
        (
            {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 1},
            Usage(input=7, cached=2, output=1),
        ),
        (
            {
                "input_tokens": 10,
                "cache_read_input_tokens": 30,
                "cache_creation_input_tokens": 5,
                "output_tokens": 2,
            },
            Usage(input=45, cached=30, output=2),
        ),
        ({"type": "duration", "seconds": 8}, Usage(audio_ms=8000)),
        (
            {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59},
            Usage(input=14, output=45),
        ),
        ({"prompt_tokens": 4, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(4, 4)),
        ({"prompt_tokens": -1, "completion_tokens": "many"}, Usage()),
        ({"prompt_tokens": True, "completion_tokens": 2.0}, Usage(output=2)),
        ({"prompt_tokens": MOST + 1, "completion_tokens": 1e300}, Usage()),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage()),
        ({"input_tokens": 1, "input_tokens_details": [1]}, Usage(input=1)),
        ({"seconds": -3}, Usage()),
        ({"seconds": float("nan")}, Usage()),
        ({}, None),
        ({"input": 1}, None),
        (None, None),
        ([1], None),
        ("usage", None),
    ],
)
def test_a_usage_object_says(told: object, usage: Usage | None):
    assert usage_of(told) == usage


def read_json(text: str, *, images: bool = False, cut: int = 1 << 20) -> JsonTap:
    tap = JsonTap(images)
    raw = text.encode()
    for at in range(0, len(raw), cut):
        tap.feed(raw[at : at + cut])
    return tap


def test_the_answer_to_a_verbose_transcription_tells_the_length_of_the_audio():
    said = {"task": "transcribe", "language": "en", "duration": 8.47, "text": "…"}
    assert read_json(json.dumps(said)).usage() == Usage(audio_ms=8470)
    said["duration"] = "8.47"
    assert read_json(json.dumps(said)).usage() == Usage(audio_ms=8470)
    said["segments"] = ["x" * 100] * 5000
    assert read_json(json.dumps(said), cut=1000).usage() == Usage(audio_ms=8470)


def test_a_length_that_is_null_is_no_statement_of_the_use():
    assert read_json('{"duration": null, "text": "hello"}').usage() is None


def test_the_use_is_read_beside_text_that_is_no_utf_8():
    tap = JsonTap(counts_images=False)
    tap.feed(b'{"choices": ["\xff"], "usage": {"total_tokens": 5}}')
    assert tap.usage() == Usage(input=5)


@pytest.mark.parametrize("cut", [977, 65536, 1 << 20])
@pytest.mark.parametrize("first", [True, False], ids=["usage first", "usage last"])
def test_the_use_of_an_answer_of_megabytes_is_found_at_its_begin_and_its_end(first, cut):
    data = {"data": [{"embedding": [0.1] * 1000} for _ in range(400)]}
    told = {"usage": {"prompt_tokens": 6, "total_tokens": 6}}
    text = json.dumps(told | data if first else data | told | {"metadata": {"a": "}" * 50}})
    assert len(text) > 4 * MOST_KEPT
    assert read_json(text, cut=cut).usage() == Usage(input=6)


def test_a_usage_that_is_the_callers_own_word_is_not_taken_for_the_mirrors():
    tool = {"parameters": {"properties": {"usage": {"input_tokens": 1, "output_tokens": 1}}}}
    padding = ["x" * 1000] * 300
    true = {"input_tokens": 50, "output_tokens": 60}
    for data in (
        {"tools": [tool], "output": padding, "usage": true, "metadata": {}},
        {"usage": true, "output": padding, "tools": [tool]},
        {"usage": true, "tools": [tool]},
        {"output": [json.dumps({"usage": {"input_tokens": 1}})], "usage": true, "x": padding},
    ):
        assert read_json(json.dumps(data)).usage() == Usage(input=50, output=60), data.keys()
    for data in ({"tools": [tool], "output": padding}, {"output": padding, "tools": [tool]}):
        assert read_json(json.dumps(data)).usage() is None
    hidden = {"output": padding, "tools": [tool], "more": padding}
    assert read_json(json.dumps(hidden)).usage() is None


def test_a_usage_in_the_middle_of_megabytes_is_not_found():
    data = {"a": "x" * 200_000, "usage": CHAT_USAGE, "b": "x" * 200_000}
    assert read_json(json.dumps(data)).usage() is None


@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_images_are_counted_on_the_way(cut: int):
    pictures = [{"b64_json": "A" * 999, "revised_prompt": 'say "b64_json": "x"'}] * 3
    pictures.append({"url": "https://example.com/a.png"})
    assert read_json(json.dumps({"data": pictures}), images=True, cut=cut).images == 4


def test_an_error_with_a_good_status_is_seen():
    tap = read_json('{"error": {"message": "no"}}')
    assert (tap.usage(), tap.error) == (None, True)
    tap = read_json('{"id": 1, "error": null, "usage": {"total_tokens": 2}}')
    assert (tap.usage(), tap.error) == (Usage(input=2), False)


def frames(*events: object, eol: str = "\n") -> bytes:
    text = ""
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        text += f"data: {data}{eol}{eol}"
    return text.encode()


def chunk(content: str = "", **more: object) -> dict[str, object]:
    return {"object": "chat.completion.chunk", "choices": [{"delta": {"content": content}}], **more}


def test_a_chat_stream_tells_its_use_at_its_end_and_only_that_event_is_hidden():
    said = frames(chunk(), chunk("a", usage=None), chunk("b", usage=None))
    last = frames({"choices": [], "usage": CHAT_USAGE})
    tap = EventTap(Dialect.chat, hide=True)
    assert tap.feed(said + last + frames("[DONE]")) == said + frames("[DONE]")
    assert (tap.usage, tap.content) == (CHAT, 2)
    shown = EventTap(Dialect.chat, hide=False)
    assert shown.feed(said + last) == said + last
    assert shown.usage == CHAT


def test_a_use_that_comes_with_content_is_not_hidden_and_the_last_counts():
    one = frames(chunk("a", usage={"prompt_tokens": 9, "completion_tokens": 1}))
    two = frames(chunk("b", usage=CHAT_USAGE))
    tap = EventTap(Dialect.chat, hide=True)
    assert tap.feed(one + two) == one + two
    assert (tap.usage, tap.content) == (CHAT, 2)


def test_an_event_counts_for_what_it_says_when_that_is_many_words() -> None:
    tap = EventTap(Dialect.chat, hide=False)
    for text in ("hello", "a" * 16, "a" * 400, 'qu\\"ote ' * 50):
        tap.feed(b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode())
    assert tap.content == 4
    assert tap.tokens == 1 + 1 + 100 + 100
    tap = EventTap(Dialect.responses, hide=False)
    tap.feed(b'data: {"type":"response.output_text.delta","delta":"%b"}\n\n' % (b"b" * 80))
    assert (tap.content, tap.tokens) == (1, 20)


def test_a_response_tells_its_use_when_it_is_complete():
    used = {"input_tokens": 3, "output_tokens": 4}
    tap = EventTap(Dialect.responses, hide=False)
    tap.feed(frames({"type": "response.created", "response": {"usage": None}}))
    tap.feed(frames({"type": "response.output_text.delta", "delta": "a"}))
    tap.feed(frames({"type": "response.completed", "response": {"usage": used}}))
    assert (tap.usage, tap.content) == (Usage(input=3, output=4), 1)


def test_a_complete_response_too_long_to_be_kept_is_read_at_its_end():
    used = {"input_tokens": 3, "output_tokens": 4}
    response = {"output": ["x" * 1000] * 600, "usage": used, "metadata": {}}
    event = frames({"type": "response.completed", "response": response})
    assert len(event) > MOST_EVENT
    for hide in (False, True):
        tap = EventTap(Dialect.responses, hide=hide)
        passed = b"".join(tap.feed(event[at : at + 5000]) for at in range(0, len(event), 5000))
        assert passed == event
        assert tap.usage == Usage(input=3, output=4)


_DEEP = b'"usage":{' * 3000 + b"}" * 3000
_LONG = b'"x":"' + b"a" * 5 * MOST_EVENT + b'"'
_MANY = b'"y":[[{' + b'"usage":{},"duration":1,' * 2500 + b'"z":1}]]'


@pytest.mark.parametrize(
    "answer",
    [
        b"{%b,%b}" % (_LONG, _MANY),
        b"{%b,%b}" % (_MANY, _LONG),
        b"{%b,%b}" % (_LONG, _DEEP),
        b"data: {%b,%b}\n\n" % (_LONG, _DEEP),
        b"data: {%b,%b" % (_LONG, _DEEP[:50_000]),
    ],
    ids=["many behind", "many before", "deep", "deep in an event", "cut off"],
)
def test_thousands_of_keys_in_an_answer_are_read_in_one_go(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
):
    """Of source only: compiled functions call each other past this count."""
    looked: list[int] = []
    counted, read = usage_reader._depth, usage_reader._object_at

    def depth(text: bytes, start: int, end: int) -> int:
        looked.append(end - start)
        return counted(text, start, end)

    def object_at(text: bytes, at: int) -> object:
        looked.append(8 << 10)
        return read(text, at)

    monkeypatch.setattr(usage_reader, "_depth", depth)
    monkeypatch.setattr(usage_reader, "_object_at", object_at)
    tap = EventTap(Dialect.chat, hide=False) if answer.startswith(b"data") else JsonTap(False)
    for at in range(0, len(answer), MOST_KEPT):
        tap.feed(answer[at : at + MOST_KEPT])
    if isinstance(tap, EventTap):
        tap.finish()
    else:
        tap.usage()
    assert sum(looked) <= 4 * MOST_KEPT


def test_the_use_in_a_long_event_is_not_that_of_a_callers_tool():
    used = {"input_tokens": 9, "output_tokens": 5}
    tool = {"type": "function", "parameters": {"usage": {"input_tokens": 0, "output_tokens": 0}}}
    response = {"text": "a" * 2 * MOST_EVENT, "usage": used, "tools": [tool]}
    event = frames({"type": "response.completed", "response": response})
    tap = EventTap(Dialect.responses, hide=False)
    for piece in (event[:MOST_EVENT], event[MOST_EVENT:-9], event[-9:]):
        tap.feed(piece)
    assert tap.usage == Usage(input=9, output=5)


def test_a_compressed_stream_made_to_keep_a_worker_busy_is_cut():
    look = {b"content-type": b"text/event-stream", b"content-encoding": b"gzip"}
    head = ResponseHead(200, b"OK", [], look, media=b"text/event-stream")
    meter = Meter(head, Dialect.chat, hide=True, images=False)
    bomb = gzip.compress(b"x\n\n" * 300_000)
    passed = meter.feed([bomb], False)
    assert meter.broken
    assert sum(map(len, passed)) < 150_000


def test_blank_lines_and_comments_pass_at_once_and_are_not_read():
    lines = b'\n: "content":"a"\r\n\r\r' * 1000
    tap = EventTap(Dialect.chat, hide=True)
    assert tap.feed(lines + b":") == lines
    assert tap.feed(b"\n") == b":\n"
    assert (tap.events, tap.content) == (0, 0)


def test_the_use_in_an_event_of_broken_text_is_read():
    tap = EventTap(Dialect.chat, hide=True)
    tap.feed(b'data: {"choices":[],"x":"\xff","usage":{"prompt_tokens":9}}\n\n')
    assert tap.usage == Usage(input=9)


def test_anthropics_use_comes_in_two_parts():
    begin = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}
    tap = EventTap(Dialect.messages, hide=False)
    tap.feed(frames({"type": "message_start", "message": {"usage": begin}}))
    tap.feed(frames({"type": "content_block_delta", "delta": {"text": "a"}}))
    tap.feed(frames({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 12}}))
    assert (tap.usage, tap.content) == (Usage(input=15, cached=5, output=12), 1)


def test_streams_of_images_and_transcriptions_tell_theirs():
    tap = EventTap(Dialect.other, hide=False)
    used = {"input_tokens": 50, "output_tokens": 50}
    picture = {"type": "image_generation.completed", "b64_json": "A", "usage": used}
    tap.feed(frames({"type": "image_generation.partial_image", "b64_json": "A"}, picture))
    assert (tap.usage, tap.images) == (Usage(input=50, output=50), 1)
    tap = EventTap(Dialect.other, hide=False)
    long = {"type": "image_generation.completed", "b64_json": "A" * MOST_EVENT, "usage": used}
    tap.feed(frames(long))
    assert (tap.usage, tap.images) == (Usage(input=50, output=50), 1)
    tap = EventTap(Dialect.other, hide=False)
    tap.feed(frames({"type": "transcript.text.delta", "delta": "a"}))
    tap.feed(frames({"type": "transcript.text.done", "usage": {"type": "duration", "seconds": 2}}))
    assert (tap.usage, tap.content) == (Usage(audio_ms=2000), 1)


@pytest.mark.parametrize(
    ("dialect", "event"),
    [
        (Dialect.chat, {"error": {"message": "no"}}),
        (Dialect.responses, {"type": "error", "message": "no"}),
        (Dialect.responses, {"type": "response.failed", "response": {"error": {"code": "x"}}}),
        (Dialect.messages, {"type": "error", "error": {"type": "overloaded_error"}}),
    ],
)
def test_an_error_in_a_stream_is_seen(dialect: Dialect, event: object):
    tap = EventTap(dialect, hide=False)
    tap.feed(frames(event))
    assert tap.error


def test_comments_and_whole_events_never_wait():
    tap = EventTap(Dialect.chat, hide=True)
    assert tap.feed(b": keepalive\n") == b": keepalive\n"
    assert tap.feed(b"\n: OPENROUTER PROCESSING\n\n") == b"\n: OPENROUTER PROCESSING\n\n"
    event = frames(chunk("a"))
    assert tap.feed(event[:-1]) == b""
    assert tap.feed(event[-1:]) == event
    assert tap.feed(b"data: 1\r\n\r") == b"data: 1\r\n\r"
    assert tap.feed(b"\ndata: 2\r\r") == b"\ndata: 2\r\r"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("behind", [b"\x00" * 9, b"garbage behind it", b"\x1f\x8b\x08garbage"])
def test_bytes_behind_a_whole_answer_end_the_reading(behind: bytes) -> None:
    inflater = Inflater()
    packed = gzip.compress(b"answer") + behind
    assert b"".join(inflater.feed(packed)) == b"answer"
    assert b"".join(inflater.feed(b"more of it")) == b""
