"""Every kind of end of a metered request, and who is charged what for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.common.metric_registry import MetricRegistry
from router.admission.config import PriceConfig
from router.admission.key_index import IssuedKey
from router.forwarding.metrics import FAMILIES
from router.metering import metrics
from router.metering.batches import UsageBatches
from router.metering.metered_request import ANONYMOUS, MOST_NAMED, MeteredRequest, Metering, Request
from router.metering.usage import Usage
from router.upstream.dialect import Dialect
from router.wire.error_response import Problem
from router.wire.response import ResponseHead

WALL = 1_795_300_000.0
DAY = "2026-11-21"
KEY = IssuedKey("k1", 0.0, (), float("inf"), None, None)
MONEY = KEY._replace(left=1_000_000)
TOKENS = KEY._replace(tokens_left=100)
PATTERNS = KEY._replace(models=("gpt-4o*",))
PRICES = {
    "gpt-4o": [PriceConfig(input=1, output=2)],
    "whisper-1": [PriceConfig(audio_minute=0.006)],
    "dall-e-3": [PriceConfig(image=0.04)],
    "tts-1": [PriceConfig(characters=15)],
}
ENDPOINTS = ("chat", "completions", "responses", "embeddings", "moderations", "images", "audio")
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": []}
CHAT["padding"] = "x" * (400 - len(json.dumps({**CHAT, "padding": ""})))
STREAM = {**CHAT, "stream": True}
USED = {"prompt_tokens": 10, "completion_tokens": 5}
CHARGED = [10, 0, 5, 0, 0, 0, 20_000]
"""Input, cached, output, images, audio, characters, cost."""
SSE = b"text/event-stream"


def metering() -> tuple[Metering, UsageBatches, MetricRegistry]:
    uses, totals = UsageBatches(), MetricRegistry(FAMILIES)
    made = Metering(uses, totals)
    made.configure(PRICES, (*ENDPOINTS, "models", "messages", "realtime"), ("gpt-4o",), 1 << 20)
    return made, uses, totals


def request(path: str = "chat/completions", body: Any = None, **more: Any) -> Request:
    given = {
        "method": b"POST",
        "target": b"/v1/" + path.encode(),
        "dialect": Dialect.chat if path.startswith("chat") else Dialect.other,
        "websocket": False,
        "multipart": b"",
        "body": json.dumps(CHAT if body is None else body).encode(),
    }
    return Request(**{**given, **more})


def head_of(media: bytes = b"application/json", status: int = 200) -> ResponseHead:
    return ResponseHead(status, b"OK", [], {b"content-type": media}, media=media)


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def content(*texts: str) -> bytes:
    return sse(*({"choices": [{"delta": {"content": text}}]} for text in texts))


def charged(
    end: str,
    body: bytes | None = None,
    media: bytes = b"application/json",
    *,
    asked: Request | None = None,
    key: IssuedKey = KEY,
    ended: bool = True,
    status: int = 200,
    sent: bool = True,
    uploaded: bytes = b"",
    encoding: bytes = b"",
) -> tuple[str, list[int], str] | None:
    """Basis, amounts and model of the row that such an end gives; None: no row."""
    made, uses, _ = metering()
    metered = made.begin(key, asked or request(), WALL)
    assert isinstance(metered, MeteredRequest)
    if uploaded:
        metered.upload(uploaded)
    head = head_of(media, status)
    if encoding:
        head.look[b"content-encoding"] = encoding
    if body is not None and (meter := metered.answer(head)) is not None:
        meter.feed([body], ended)
    metered.settle(end, WALL, sent=sent, received=400)
    metered.settle(end, WALL, sent=sent, received=400)
    message = uses.due(0.0)
    if message is None:
        return None
    ((key_id, day, model, basis, requests, *amounts),) = message["rows"]
    assert (key_id, day, requests) == ("k1", DAY, 1)
    return basis, amounts, model


ANSWER = json.dumps({"choices": [], "usage": USED}).encode()
EVENTS = content("a", "b") + sse({"choices": [], "usage": USED})


@pytest.mark.parametrize(
    ("end", "body", "media", "more"),
    [
        ("success", ANSWER, b"application/json", {}),
        ("success", EVENTS, SSE, {}),
        ("client_abort", EVENTS, SSE, {"ended": False}),
        ("client_error", EVENTS, SSE, {"ended": False}),
        ("success", EVENTS + sse({"error": {"message": "late"}}), SSE, {}),
    ],
)
def test_the_usage_that_the_mirror_reports_is_charged(
    end: str, body: bytes, media: bytes, more: dict[str, Any]
):
    assert charged(end, body, media, **more) == ("usage", CHARGED, "gpt-4o")


@pytest.mark.parametrize(
    ("end", "body", "media", "more"),
    [
        ("interrupted", EVENTS, SSE, {"ended": False}),
        ("interrupted", content("a"), SSE, {"ended": False}),
        ("upstream_error", None, b"", {}),
        ("upstream_error", b'{"error":{}}', b"application/json", {"status": 500}),
        ("client_error", b'{"error":{}}', b"application/json", {"status": 400}),
        ("client_error", None, b"", {}),
        ("success", b'{"error": {"code": "content_filter"}}', b"application/json", {}),
        ("success", sse({"error": {"code": "content_filter"}}), SSE, {}),
        ("success", content("a") + sse({"error": {"message": "x"}}), SSE, {}),
        ("success", b"", b"application/json", {}),
        ("success", b"<html>", b"text/html", {}),
        ("client_abort", None, b"", {"sent": False}),
        ("success", None, b"", {}),
    ],
)
def test_incomplete_answers_are_free(
    end: str, body: bytes | None, media: bytes, more: dict[str, Any]
):
    assert charged(end, body, media, **more) is None


@pytest.mark.parametrize(
    ("end", "body", "media", "more", "tokens"),
    [
        ("client_abort", content("a", "b", "c"), SSE, {"ended": False}, (100, 3)),
        ("client_abort", None, b"", {}, (100, 0)),
        ("client_abort", ANSWER[:-1].ljust(100), b"application/json", {"ended": False}, (100, 25)),
        ("success", content("a", "b"), SSE, {}, (100, 2)),
        ("success", b'{"choices":[]}      ', b"application/json", {}, (100, 5)),
        ("success", b"\x1b" * 80, b"application/json", {"encoding": b"br"}, (100, 20)),
    ],
)
def test_where_the_mirror_said_nothing_it_is_estimated(
    end: str, body: bytes | None, media: bytes, more: dict[str, Any], tokens: tuple[int, int]
):
    found = charged(end, body, media, **more)
    assert found is not None
    basis, amounts, _ = found
    assert (basis, amounts[0], amounts[2]) == ("estimate", *tokens)
    assert amounts[-1] == 1000 * tokens[0] + 2000 * tokens[1]


BEGUN = {"type": "message_start", "message": {"usage": {"input_tokens": 30, "output_tokens": 1}}}
DELTA = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}
ENDING = {"type": "message_delta", "usage": {"output_tokens": 9}}
ZEROS = {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 0}}


@pytest.mark.parametrize(
    ("path", "dialect", "events", "basis", "tokens"),
    [
        ("messages", Dialect.messages, [BEGUN, *[DELTA] * 7], "estimate", [30, 7]),
        ("messages", Dialect.messages, [BEGUN, *[DELTA] * 7, ENDING], "usage", [30, 9]),
        ("chat/completions", Dialect.chat, [ZEROS] * 7, "estimate", [100, 7]),
    ],
)
def test_usage_of_an_abandoned_stream_is_charged_or_estimated(
    path: str, dialect: Dialect, events: list[Any], basis: str, tokens: list[int]
):
    asked = request(path, CHAT, dialect=dialect)
    found = charged("client_abort", sse(*events), SSE, asked=asked, ended=False)
    assert found is not None
    assert (found[0], [found[1][0], found[1][2]]) == (basis, tokens)


REASONED = [{"choices": [{"delta": {"reasoning_content": "hm"}}]}]
LIMITED = {**STREAM, "model": "o3", "max_completion_tokens": 50}
MADE = {"response": {"usage": None}, "type": "response.created"}
SAID = {"type": "response.output_text.delta", "delta": "a"}
RESPONSE = {**STREAM, "input": "x"}


@pytest.mark.parametrize(
    ("path", "dialect", "body", "events", "tokens"),
    [
        ("chat/completions", Dialect.chat, {**STREAM, "model": "o3"}, None, (0, 4000)),
        ("chat/completions", Dialect.chat, LIMITED, None, (0, 50)),
        ("chat/completions", Dialect.chat, STREAM, REASONED, (0, 4001)),
        ("chat/completions", Dialect.chat, {**STREAM, "store": True}, None, (0, 1000)),
        ("responses", Dialect.responses, RESPONSE, [MADE, SAID], (0, 1000)),
        ("responses", Dialect.responses, {**RESPONSE, "store": False}, [MADE, SAID], (0, 1)),
        (
            "responses",
            Dialect.responses,
            {**RESPONSE, "store": False, "previous_response_id": "resp_1"},
            [MADE, SAID],
            (4000, 1),
        ),
        ("messages", Dialect.messages, {**STREAM, "max_tokens": 9}, [BEGUN], (None, 1)),
        ("chat/completions", Dialect.chat, {**CHAT, "background": True}, [], (0, 1000)),
    ],
)
def test_unseen_usage_is_estimated_upwards(path, dialect, body, events, tokens):
    asked = request(path, body, dialect=dialect)
    answer = sse(*events) if events is not None else None
    found = charged("client_abort", answer, SSE, asked=asked, ended=False)
    assert found is not None
    assert asked.body is not None
    kept, output = tokens
    asked_for = 30 if kept is None else len(asked.body) // 4 + kept  # Anthropic's tell it at once
    assert (found[0], found[1][0], found[1][2]) == ("estimate", asked_for, output)


def test_hidden_output_is_estimated_by_what_the_model_was_billed_lately():
    made, uses, _ = metering()

    def settle(body: bytes, end: str, model: str = "gpt-4o") -> int:
        before = uses.spent("k1").tokens
        metered = made.begin(KEY, request(body={**STREAM, "model": model}), WALL)
        assert isinstance(metered, MeteredRequest)
        meter = metered.answer(head_of(SSE))
        assert meter is not None
        meter.feed([body], end == "success")
        metered.settle(end, WALL, sent=True, received=0)
        return uses.spent("k1").tokens - before

    for hidden in range(10):
        used = {"prompt_tokens": 0, "completion_tokens": 900 + hidden}
        settle(content("a") + sse({"choices": [], "usage": used}), "success")
    asked = len(json.dumps(STREAM)) // 4
    assert settle(content("a", "b"), "client_abort") == asked + 2 + 908
    assert settle(content("a", "b"), "client_abort", "other-") == asked + 2


DRAWS = {"type": "image_generation", "model": "gpt-image-1"}
SPEECH = request("audio/speech", {"model": "tts-1", "input": "hallo"})
IMAGES = request("images/generations", {"model": "dall-e-3", "prompt": "x", "n": 2})
FORM_TYPE = b"multipart/form-data; boundary=x"
UPLOAD = request("audio/transcriptions", body={}, multipart=FORM_TYPE)._replace(body=None)
FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--\r\n'
FORM_OF_IMAGES = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-image-1\r\n'
    b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n%b\r\n--x--\r\n'
)
PICTURES = json.dumps({"data": [{"b64_json": "A"}, {"b64_json": "A"}]}).encode()
HEARD = b'{"text":"x","usage":{"type":"duration","seconds":60}}'


@pytest.mark.parametrize(
    ("end", "body", "media", "more", "row"),
    [
        ("success", b"\0" * 99, b"audio/mpeg", {"asked": SPEECH}, ("usage", [5, 75_000])),
        ("client_abort", b"\0", b"audio/mpeg", {"asked": SPEECH}, ("usage", [5, 75_000])),
        ("client_abort", None, b"", {"asked": SPEECH}, ("estimate", [5, 75_000])),
        ("success", PICTURES, b"application/json", {"asked": IMAGES}, ("usage", [2, 80_000_000])),
        ("client_abort", None, b"", {"asked": IMAGES}, ("estimate", [2, 80_000_000])),
        ("success", b"{}", b"application/json", {"asked": IMAGES}, ("estimate", [2, 80_000_000])),
        (
            "success",
            HEARD,
            b"application/json",
            {"asked": UPLOAD, "uploaded": FORM},
            ("usage", [60_000, 6_000_000]),
        ),
        (
            "success",
            b"hello",
            b"text/plain",
            {"asked": UPLOAD, "uploaded": FORM},
            ("estimate", [25, 2500]),
        ),
        (
            "success",
            b'{"id":"modr-1","results":[]}',
            b"application/json",
            {"asked": request("moderations", {"input": "x"})},
            ("usage", [0]),
        ),
    ],
)
def test_other_units_than_tokens_are_charged(end, body, media, more, row):
    found = charged(end, body, media, **more)
    assert found is not None
    basis, amounts, _ = found
    assert (basis, [n for n in amounts if n] or [0]) == row


DRAWN = {"type": "image_generation.completed", "usage": {"input_tokens": 50, "output_tokens": 90}}
PART = {"type": "image_generation.partial_image", "b64_json": "A"}


@pytest.mark.parametrize(
    ("end", "body", "media", "basis", "tokens", "images"),
    [
        ("client_abort", None, b"", "estimate", [0, 2 * 6240], 2),
        ("client_abort", PICTURES[:-1], b"application/json", "estimate", [0, 2 * 6240], 2),
        ("client_abort", sse(PART, PART, PART), SSE, "estimate", [0, 2 * 6240], 2),
        ("client_abort", sse(PART, DRAWN, PART), SSE, "estimate", [50, 90 + 6240], 2),
        ("client_abort", sse(DRAWN, DRAWN), SSE, "usage", [50, 90], 2),
        ("success", sse(DRAWN), SSE, "usage", [50, 90], 1),
    ],
)
def test_images_that_are_priced_by_tokens_cost_them_when_left(
    end: str, body: bytes | None, media: bytes, basis: str, tokens: list[int], images: int
):
    asked = request("images/generations", {"model": "gpt-image-1", "prompt": "x", "n": 2})
    found = charged(end, body, media, asked=asked, ended=end == "success")
    assert found is not None
    said, (asked_for, _, output, made, *_), _ = found
    assert (said, [asked_for, output], made) == (basis, tokens, images)


def test_an_open_request_for_an_upload_to_images_reserves_tokens_too():
    made, _, _ = metering()
    asked = request("images/edits", multipart=FORM_TYPE)._replace(body=None)
    metered = made.begin(KEY, asked, WALL)
    assert isinstance(metered, MeteredRequest)
    assert metered.expected() == Usage(output=10 * 6240, images=10)


@pytest.mark.parametrize(("n", "images"), [(b"3", 3), (b"\r\n", 10), (b"3.0", 10), (b"", 10)])
def test_an_upload_that_is_left_is_charged_for_as_many_images_as_it_asked_for(n, images):
    form = FORM_OF_IMAGES % n
    asked = request("images/edits", multipart=FORM_TYPE)._replace(body=None)
    found = charged("client_abort", None, b"", asked=asked, uploaded=form)
    assert found is not None
    assert (found[0], found[1][2], found[1][3]) == ("estimate", images * 6240, images)
    found = charged("client_abort", None, b"", asked=asked, uploaded=FORM)
    assert found is not None
    assert found[1][3] == 1, "without n one is made"


@pytest.mark.parametrize("n", [100, 128, 1000])
def test_a_request_reserves_all_the_answers_that_it_asks_for(n: int):
    made, _, _ = metering()
    asked = request(body={"model": "gpt-4o", "n": n, "max_tokens": 7})
    metered = made.begin(KEY, asked, WALL)
    assert isinstance(metered, MeteredRequest)
    assert metered.expected().output == 7 * n
    drawing = request("images/generations", {"model": "dall-e-3", "prompt": "x", "n": n})
    metered = made.begin(KEY, drawing, WALL)
    assert isinstance(metered, MeteredRequest)
    assert metered.expected().images == n


def test_images_that_are_estimated_in_tokens_count_towards_a_quota_of_tokens():
    made, _, _ = metering()
    key = KEY._replace(tokens_left=3 * 6240)
    asked = request("images/generations", {"model": "gpt-image-1", "prompt": "x", "n": 2})
    metered = made.begin(key, asked, WALL)
    assert isinstance(metered, MeteredRequest)
    metered.settle("client_abort", WALL, sent=True, received=9)
    assert made.uses.spent(key.id)[1] == 2 * 6240


def test_the_open_requests_of_a_key_reserve_for_each_prompt():
    made, _, _ = metering()
    key = KEY._replace(tokens_left=1500)
    body = {"model": "gpt-4o", "prompt": ["a"] * 900, "max_tokens": 1}
    asked = request("completions", body, dialect=Dialect.completions)
    assert isinstance(made.begin(key, asked, WALL), MeteredRequest)
    assert isinstance(made.begin(key, asked, WALL), Problem)


def test_embeddings_are_charged_by_their_input():
    asked = request("embeddings", {"model": "gpt-4o", "input": "x"})
    told = b'{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    assert charged("success", told, asked=asked) == ("usage", [3, 0, 0, 0, 0, 0, 3000], "gpt-4o")
    assert charged("success", b'{"data":[]}', asked=asked) == (
        "estimate",
        [8, 0, 0, 0, 0, 0, 8000],
        "gpt-4o",
    )


def test_only_the_answer_that_the_client_got_counts():
    made, uses, _ = metering()
    metered = made.begin(KEY, request(), WALL)
    assert isinstance(metered, MeteredRequest)
    assert metered.answer(head_of(status=503)) is None
    meter = metered.answer(head_of())
    assert meter is not None
    meter.feed([ANSWER], True)
    metered.settle("success", WALL, sent=True, received=1)
    assert uses.spent("k1").cost == 20_000


def test_a_caller_without_a_key_is_seen_in_metrics_alone():
    made, uses, totals = metering()
    metered = made.begin(ANONYMOUS, request(), WALL)
    assert isinstance(metered, MeteredRequest)
    meter = metered.answer(head_of())
    assert meter is not None
    meter.feed([ANSWER], True)
    metered.settle("success", WALL, sent=True, received=1)
    assert not uses
    assert totals.get(metrics.TOKENS.name, ("gpt-4o", "input")) == 10
    assert totals.get(metrics.TOKENS.name, ("gpt-4o", "output")) == 5


def test_models_that_the_operator_has_not_named_are_one_in_metrics():
    made, _, totals = metering()
    metered = made.begin(KEY, request(body={"model": "o3"}), WALL)
    assert isinstance(metered, MeteredRequest)
    meter = metered.answer(head_of())
    assert meter is not None
    meter.feed([ANSWER], True)
    metered.settle("success", WALL, sent=True, received=1)
    assert totals.get(metrics.TOKENS.name, ("other", "input")) == 10


def test_a_stream_is_asked_for_its_use_and_that_is_hidden():
    made, _, _ = metering()
    metered = made.begin(KEY, request(body=STREAM), WALL)
    assert isinstance(metered, MeteredRequest)
    assert metered.body is not None
    assert json.loads(metered.body)["stream_options"] == {"include_usage": True}
    meter = metered.answer(head_of(SSE))
    assert meter is not None
    assert meter.feed([EVENTS], True) == [content("a", "b")]
    shown = made.begin(KEY, request(body={**STREAM, "stream_options": {"include_usage": 1}}), WALL)
    assert isinstance(shown, MeteredRequest)
    wished = {**STREAM, "stream_options": {"include_usage": True}}
    shown = made.begin(KEY, request(body=wished), WALL)
    assert isinstance(shown, MeteredRequest)
    assert shown.body is None
    meter = shown.answer(head_of(SSE))
    assert meter is not None
    assert meter.feed([EVENTS], True) == [EVENTS]


@pytest.mark.parametrize(
    ("key", "asked", "status", "code"),
    [
        (KEY, request("files", method=b"GET"), 403, "endpoint_not_allowed"),
        (ANONYMOUS, request("fine_tuning/jobs"), 403, "endpoint_not_allowed"),
        (MONEY, request(body={"model": "o3"}), 404, "model_not_found"),
        (MONEY, request(body={}), 404, "model_not_found"),
        (TOKENS, request(body={"background": True}), 403, "endpoint_not_metered"),
        (TOKENS, request()._replace(body=None), 413, "request_too_large"),
        (TOKENS, request()._replace(body=b"{"), 413, "request_too_large"),
        (TOKENS._replace(tokens_left=0), request(), 429, "insufficient_quota"),
        (MONEY._replace(left=-1), request(), 429, "insufficient_quota"),
        (PATTERNS, request(body={"model": "o3"}), 404, "model_not_found"),
        (PATTERNS, request(body={**CHAT, "models": ["gpt-4o", "o3"]}), 404, "model_not_found"),
        (PATTERNS, request(body={**CHAT, "models": "o3"}), 404, "model_not_found"),
        (PATTERNS, request(body={**CHAT, "models": [{"id": "o3"}]}), 404, "model_not_found"),
        (PATTERNS, request(body={**CHAT, "tools": [DRAWS]}), 404, "model_not_found"),
        (PATTERNS, request(body={**CHAT, "tools": [{"Model": "o3"}]}), 400, "ambiguous_request"),
        (
            PATTERNS,
            request()._replace(
                body=b'{"model":"gpt-4o","tools":[{"model":"o3","model":"gpt-4o"}]}'
            ),
            400,
            "ambiguous_request",
        ),
        (KEY, request(body={**CHAT, "n": 1001}), 400, "integer_above_max_value"),
        (KEY, request(body={**CHAT, "best_of": 1e300}), 400, "integer_above_max_value"),
        (PATTERNS, request(body={**CHAT, "Models": ["gpt-4o"]}), 400, "ambiguous_request"),
        (KEY, request(body={**CHAT, "n": "100"}), 400, "ambiguous_request"),
        (TOKENS, request(body={**CHAT, "max_tokens": "9"}), 400, "ambiguous_request"),
        (ANONYMOUS, request(body={**CHAT, "best_of": 1.5}), 400, "ambiguous_request"),
        (PATTERNS, request(body={"metadata": {"model": "gpt-4o"}, "model": "o3"}), 404, None),
        (PATTERNS, request()._replace(body=b'{"model":"gpt-4o","model":"o3"}'), 400, None),
        (PATTERNS, UPLOAD, 404, "model_not_found"),
        (PATTERNS, request()._replace(body=None), 413, "request_too_large"),
        (MONEY, UPLOAD._replace(target=b"/v1/chat/completions"), 413, "request_too_large"),
        (TOKENS, request(body={"background": "true"}), 403, "endpoint_not_metered"),
        (KEY, request(body={"model": "a", "MODEL": "b"}), 400, "ambiguous_request"),
        (TOKENS, request(body={"Background": True}), 400, "ambiguous_request"),
        (
            KEY,
            request(body={**STREAM, "stream_options": {"include_usage": True, "Include_Usage": 0}}),
            400,
            "ambiguous_request",
        ),
    ],
)
def test_requests_beyond_a_quota_or_without_a_price_are_refused(
    key: IssuedKey, asked: Request, status: int, code: str | None
):
    made, _, _ = metering()
    problem = made.begin(key, asked, WALL)
    assert isinstance(problem, Problem)
    assert (problem.status, problem.code) == (status, code or problem.code)


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        (KEY, request(body={"model": "o3"})),
        (TOKENS, request(body={"model": "o3"})),
        (MONEY, request()),
        (PATTERNS, request()),
        (PATTERNS, request(body={**CHAT, "models": ["gpt-4o-mini"], "tools": [{}, "x"]})),
        (KEY, request(body={**CHAT, "models": ["o3"], "tools": [DRAWS], "n": 2.0})),
        (PATTERNS, request("moderations", {"input": "x"})),
        (MONEY, request("moderations", {"input": "x"})),
        (MONEY, UPLOAD),
        (KEY, request()._replace(body=None)),
    ],
)
def test_billed_requests_are_metered(key: IssuedKey, asked: Request):
    made, _, _ = metering()
    assert isinstance(made.begin(key, asked, WALL), MeteredRequest)


def test_requests_that_no_mirror_bills_are_not_metered():
    made, _, totals = metering()
    assert made.begin(MONEY, request("models", method=b"GET"), WALL) is None
    assert made.begin(KEY, request("realtime", method=b"GET", websocket=True), WALL) is None
    assert totals.get(metrics.UNMETERED.name, ("tunnel",)) == 0


def test_a_key_that_has_used_up_its_quota_here_is_refused_before_control_says_so():
    made, uses, _ = metering()
    key = MONEY._replace(left=20_000)
    metered = made.begin(key, request(), WALL)
    assert isinstance(metered, MeteredRequest)
    meter = metered.answer(head_of())
    assert meter is not None
    meter.feed([ANSWER], True)
    metered.settle("success", WALL, sent=True, received=1)
    assert isinstance(made.begin(key, request(), WALL), Problem)
    message = uses.due(0.0)
    assert message is not None
    assert isinstance(made.begin(key, request(), WALL), Problem)
    uses.acknowledged(message["seq"])
    assert isinstance(made.begin(key._replace(left=0), request(), WALL), Problem)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("gpt-4o", "gpt-4o"),  # priced by name
        ("listed", "listed"),
        ("claude-2", "claude-2"),
        ("invented", "other"),
        ("a\x00\ud800", "other"),
        ("", ""),
    ],
)
def test_a_use_is_recorded_by_a_name_that_is_known(model, named):
    made, uses, _ = metering()
    prices = {**PRICES, "claude-*": [PriceConfig(input=1)], "claude-3*": [PriceConfig(input=1)]}
    made.configure(prices, ENDPOINTS, (), 1 << 20)
    made.offered = ("listed",)
    begun = made.begin(KEY, request(body={**CHAT, "model": model}), WALL)
    assert isinstance(begun, MeteredRequest)
    begun.settle("client_abort", WALL, sent=True, received=400)
    message = uses.due(0.0)
    assert message is not None
    ((key, day, recorded, *_),) = message["rows"]
    assert (key, day, recorded) == ("k1", DAY, named)


@pytest.mark.parametrize(("prefix", "rows"), [("invented", 1), ("claude", MOST_NAMED + 1)])
def test_invented_models_make_few_rows(prefix, rows):
    made, uses, _ = metering()
    made.configure({"claude*": [PriceConfig(input=1)]}, ENDPOINTS, (), 1 << 20)
    for each in range(1000):
        begun = made.begin(KEY, request(body={**CHAT, "model": f"{prefix}-{each}"}), WALL)
        assert isinstance(begun, MeteredRequest)
        begun.settle("client_abort", WALL, sent=True, received=400)
    message = uses.due(0.0)
    assert message is not None
    counted = {row[2]: row[4] for row in message["rows"]}
    assert (len(counted), sum(counted.values())) == (rows, 1000)
    assert counted["other"] == 1000 - rows + 1
    assert made.recorded("k2", "claude-999", DAY) != made.recorded("k1", "invented-999", DAY)
    assert made.recorded("k1", "claude-999", "2026-11-22") == "claude-999"


def test_a_key_with_a_quota_of_money_pays_the_dearest_price_for_an_unknown_model():
    dearest = charged("success", HEARD, asked=UPLOAD, key=MONEY)
    assert dearest == ("usage", [0, 0, 0, 0, 60_000, 0, 6_000_000], "")
    hidden = FORM.replace(b'"model"', b'"mod\\el"')
    assert charged("success", HEARD, asked=UPLOAD, key=MONEY, uploaded=hidden) == dearest
    strange = FORM.replace(b"whisper-1", b"whisper-x")
    assert charged("success", HEARD, asked=UPLOAD, key=MONEY, uploaded=strange) == (
        "usage",
        [0, 0, 0, 0, 60_000, 0, 6_000_000],
        "other",
    )
    assert charged("success", HEARD, asked=UPLOAD, key=KEY) == (
        "usage",
        [0, 0, 0, 0, 60_000, 0, 0],
        "",
    )


@pytest.mark.parametrize(
    "more",
    [
        {"fallbacks": ["o3"]},
        {"fallbacks": [{"model": "o3"}]},
        {"tools": [{"type": "x", "image_generation": {"model": "o3"}}]},
        {"tools": {"model": "o3"}},
        {"tool_choice": {"model": "o3"}},
        {"plugins": [{"id": "web", "model": "o3"}]},
        {"extra_body": {"Model": "o3"}},
        {"prompt": {"id": "p", "model": "o3"}},
        {"engine": "o3"},
        {"deployment_id": "o3"},
    ],
)
def test_a_key_for_some_models_may_name_others_nowhere(more: dict[str, Any]) -> None:
    refused = metering()[0].begin(PATTERNS, request(body={**CHAT, **more}), WALL)
    assert isinstance(refused, Problem)
    assert (refused.status, refused.code) == (404, "model_not_found")


def test_a_key_for_some_models_may_name_others_in_no_query() -> None:
    refused = metering()[0].begin(PATTERNS, request("chat/completions?Model=o3"), WALL)
    assert isinstance(refused, Problem)


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "model": "T"}]}]},
        {"metadata": {"model": "T"}},
        {
            "tools": [
                {"type": "function", "function": {"parameters": {"properties": {"model": {}}}}}
            ]
        },
        {
            "response_format": {
                "json_schema": {"schema": {"properties": {"model": {"enum": ["T"]}}}}
            }
        },
        {"engine": None},
    ],
)
def test_words_and_schemas_of_a_caller_name_no_models(more: dict[str, Any]) -> None:
    assert isinstance(
        metering()[0].begin(PATTERNS, request(body={**CHAT, **more}), WALL), MeteredRequest
    )


def test_a_byte_order_mark_before_a_request_for_some_models_changes_nothing() -> None:
    asked = request()._replace(body=b"\xef\xbb\xbf" + json.dumps(CHAT).encode())
    assert isinstance(metering()[0].begin(PATTERNS, asked, WALL), MeteredRequest)
