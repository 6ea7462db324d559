"""Responses that quote a mirror's own key are not passed on, wherever it stands in them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib

import pytest

from router.admission.credentials import checksum
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import each_loop, run_on
from tests.testkit.raw_http import (
    CONTENT,
    OK,
    Response,
    Script,
    ScriptedMirror,
    answering,
    get,
    post,
    read_request,
)

KEY = "sk-mirrors-own-0123456789"
SETTINGS = {"callers": ["anonymous", "own"], "cors_origins": []}
ERROR = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": None}})
HARMLESS = ERROR.replace(KEY, "sk-***789")
PAGE = f"<h1>Traceback</h1><pre>HTTP_AUTHORIZATION: Bearer {KEY}</pre>"
STREAM_BODY = json.dumps({"model": "gpt-4o", "messages": [], "stream": True}).encode()


def response(status: int, body: str, media: str = "application/json", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-type: {media}", *fields]
    if not any(field.startswith("transfer-encoding") for field in fields):
        lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def anonymous(body: bytes = b"{}") -> bytes:
    """A request without a key, to which the mirror's is lent."""
    asked = post(body=body).replace(b"Authorization: Bearer sk-x\r\n", b"")
    return asked.replace(b"Host: test", b"Host: localhost")


async def answer_to(script: Script, request: bytes, key: str = KEY) -> Response:
    async with ScriptedMirror(script) as mirror:
        table = mirror.table(api_key=key, client_keys=["sk-*"])
        async with DataPlane([table], SETTINGS) as plane:
            answer = await plane.ask(request)
            assert plane.in_flight == 0
            return answer


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (response(400, ERROR), b"{}"),
        (response(404, PAGE, "text/html"), b"{}"),
        (response(422, "x" * 5000 + KEY, "text/plain"), b"{}"),
        (response(500, PAGE, "text/html"), b"{}"),
        (response(503, ERROR, "application/json", "retry-after: 1"), b"{}"),
        (response(200, ERROR), b"{}"),
        (response(200, f"data: {ERROR}\n\n", "text/event-stream"), STREAM_BODY),
        (response(200, f"event: error\ndata: {ERROR}\n\n", "text/event-stream"), STREAM_BODY),
        (response(500, ERROR, "text/event-stream"), STREAM_BODY),
    ],
)
async def test_an_error_that_quotes_the_mirrors_key_is_another_one_for_the_client(
    said: bytes, body: bytes
) -> None:
    answer = await answer_to(answering(said, []), anonymous(body))
    assert KEY not in repr(answer)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")


async def test_a_key_that_comes_in_pieces_is_seen() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head, _, body = response(400, ERROR).partition(b"\r\n\r\n")
        at = body.index(KEY.encode()) + 9
        for piece in (head + b"\r\n\r\n", body[:at], body[at:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    answer = await answer_to(script, anonymous())
    assert answer.status == 502
    assert KEY not in repr(answer)


@pytest.mark.parametrize(
    ("encoding", "packed", "shown"),
    [
        ("gzip", gzip.compress(ERROR.encode()), False),
        ("gzip", gzip.compress(HARMLESS.encode()), True),
        ("deflate", zlib.compress(ERROR.encode()), False),
        ("gzip", gzip.compress(bytes(2 << 20) + HARMLESS.encode()), False),
        ("gzip", b"that is not gzip", False),
        ("br", HARMLESS.encode(), False),
        ("br", b"", True),
    ],
    ids=["quotes", "harmless", "quotes, deflated", "bomb", "garbage", "unreadable", "empty"],
)
async def test_a_compressed_error_is_looked_into_or_not_shown(
    encoding: str, packed: bytes, shown: bool
) -> None:
    head = response(400, "", "application/json", f"content-encoding: {encoding}")
    said = head.replace(b"content-length: 0", b"content-length: %d" % len(packed)) + packed
    seen: list[tuple[bytes, bytes]] = []
    asked = get("/v1/models", "Accept-Encoding: gzip, br")
    asked = asked.replace(b"Authorization: Bearer sk-x\r\n", b"")
    answer = await answer_to(answering(said, seen), asked.replace(b": test", b": localhost"))
    assert (answer.status, answer.body == packed) == ((400, True) if shown else (502, False))
    assert b"gzip" not in seen[0][0], "whoever lends its key is asked for what can be read"


async def test_a_stream_cut_in_its_first_read_has_a_head() -> None:
    packed = gzip.compress(CONTENT + b"x\n\n" * 100_000)
    head = response(200, "", "text/event-stream", "content-encoding: gzip")
    said = head.replace(b"content-length: 0", b"content-length: %d" % len(packed)) + packed
    asked = anonymous(STREAM_BODY).replace(b"Host:", b"Accept-Encoding: gzip\r\nHost:")
    answer = await answer_to(answering(said, []), asked)
    assert answer.status == 200
    assert b"stream_interrupted" in answer.body


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_any_other_error_is_passed_on_as_it_came(status: int) -> None:
    answer = await answer_to(answering(response(status, HARMLESS), []), anonymous())
    assert (answer.status, answer.body.decode()) == (status, HARMLESS)


async def test_an_error_that_quotes_the_callers_own_key_passes_unchanged() -> None:
    answer = await answer_to(answering(response(400, ERROR), []), post())
    assert (answer.status, answer.body.decode()) == (400, ERROR)


async def test_an_answer_that_quotes_the_callers_own_key_is_not_held_back() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(200, "", "text/plain").replace(b": 0", b": 99") + KEY.encode())
        await writer.drain()
        await reader.read()

    async with ScriptedMirror(script) as mirror:
        async with DataPlane([mirror.table(api_key=KEY)], SETTINGS) as plane:
            client = await plane.send(get("/v1/files/a/content"))
            await client.head()
            assert await client.reader.readexactly(len(KEY)) == KEY.encode()


async def test_a_good_answer_without_the_key_passes() -> None:
    assert (await answer_to(answering(OK), anonymous())).status == 200


ESCAPED = "".join(f"\\u{ord(letter):04X}" for letter in KEY)
BASIC = base64.b64encode(f"user:{KEY}".encode()).decode()
PERCENT = "".join(f"%{ord(letter):02x}" for letter in KEY)


@pytest.mark.parametrize(
    "said",
    [
        response(200, "{}", "application/json", f"x-debug: Bearer {KEY}"),
        response(204, "", "text/plain", f"x-debug: {BASIC}"),
        response(302, "", "text/plain", f"location: https://other.test/?key={KEY}"),
        response(302, "", "text/plain", f"location: https://other.test/?key={PERCENT}"),
        response(400, HARMLESS, "application/json", f"www-authenticate: Bearer {KEY}"),
        response(404, HARMLESS, f"text/plain; x={KEY}"),
        response(429, HARMLESS, "application/json", f"x-debug: {KEY}"),
        response(200, "{}").replace(b"Said", b"Said " + KEY.encode()),
        response(200, "data: {}\n\n", "text/event-stream", f"x-debug: {KEY}"),
    ],
    ids=range(9),
)
async def test_no_head_tells_the_key(said: bytes) -> None:
    answer = await answer_to(answering(said), anonymous())
    assert "sk-mirrors" not in repr(answer)
    assert BASIC not in repr(answer)
    assert PERCENT not in repr(answer)
    assert answer.status in (502, 429), "429: the mirror is left before its answer is looked into"


async def test_a_head_that_repeats_the_last_one_is_searched_too() -> None:
    said = [
        response(200, '{"id": "c"}', "application/json", f"x-debug: {value}")
        for value in ("1", "2", "3", KEY)
    ]
    seen: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in said:
            seen.append(await read_request(reader))
            writer.write(each)
            await writer.drain()

    async with ScriptedMirror(script) as mirror:
        async with DataPlane([mirror.table(api_key=KEY)], SETTINGS) as plane:
            client = await plane.connect()
            answers = []
            for _ in said:
                await client.send(anonymous())
                answers.append(await client.response())
    assert mirror.connections == 1
    assert [answer.status for answer in answers] == [200, 200, 200, 502]
    assert "sk-mirrors" not in repr(answers)


async def test_an_interim_response_with_the_key_is_left_out() -> None:
    hints = "HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n"
    said = (hints.format(KEY) + hints.format("/style")).encode() + OK
    async with ScriptedMirror(answering(said)) as mirror:
        async with DataPlane([mirror.table(api_key=KEY)], SETTINGS) as plane:
            client = await plane.send(anonymous())
            heads = [await client.head(), await client.head()]
            assert [status for status, _, _ in heads] == [103, 200]
            assert "sk-mirrors" not in repr(heads)


@pytest.mark.parametrize(
    "written", [KEY, ESCAPED, BASIC, PERCENT], ids=["plain", "json", "base64", "percent"]
)
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("size", [10, 100_000])
async def test_no_body_tells_the_key_in_any_form(written: str, status: int, size: int) -> None:
    said = response(status, '{"message": "' + "x " * size + f'{written}", "code": 1}}')
    async with ScriptedMirror(answering(said)) as mirror:
        async with DataPlane([mirror.table(api_key=KEY)], SETTINGS) as plane:
            client = await plane.send(anonymous())
            answer = await client.response()
            if size > 64 << 10:
                assert (answer.status, answer.complete) == (status, False)
                assert plane.finished[-1].outcome == "interrupted"
            else:
                assert answer.status == 502
            assert written[:7].encode() not in answer.body
            assert plane.in_flight == 0


@pytest.mark.parametrize("pieces", [1, 7, 400])
async def test_a_stream_ends_visibly_where_it_would_tell_the_key(pieces: int) -> None:
    said = f'data: {{"error": {{"message": "bad key {ESCAPED}", "code": "x"}}}}\n\n'.encode()
    has_content = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        writer.write(b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT))
        await has_content.wait()
        step = -(-len(said) // pieces)
        for part in (said[at : at + step] for at in range(0, len(said), step)):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async with ScriptedMirror(script) as mirror:
        async with DataPlane([mirror.table(api_key=KEY)], SETTINGS) as plane:
            client = await plane.send(anonymous(STREAM_BODY))
            await client.head()
            assert await client.chunk() == CONTENT
            has_content.set()
            body, complete = await client.chunks()
            assert plane.finished[-1].outcome == "interrupted"
            assert plane.in_flight == 0
    assert not complete
    assert b"\\u0073" not in body
    assert b"\\u006B" not in body
    if pieces == 1:
        assert b"stream_interrupted" in body


@pytest.mark.parametrize(
    ("encoding", "packed", "status"),
    [
        ("gzip", gzip.compress(b'{"choices": []}'), 200),
        ("gzip", gzip.compress(ERROR.encode()), 502),
        ("gzip", gzip.compress(ESCAPED.encode()), 502),
        ("br", b"whatever", 502),
    ],
    ids=["harmless", "quotes", "escaped", "unreadable"],
)
async def test_a_good_answer_that_is_compressed_unasked_is_searched_or_refused(
    encoding: str, packed: bytes, status: int
) -> None:
    head = response(200, "", "application/json", f"content-encoding: {encoding}")
    said = head.replace(b"content-length: 0", b"content-length: %d" % len(packed)) + packed
    seen: list[tuple[bytes, bytes]] = []
    answer = await answer_to(answering(said, seen), anonymous())
    assert (answer.status, answer.body == packed) == (status, status == 200)
    assert b"\r\naccept-encoding: identity\r\n" in seen[0][0].lower()


NAMED = gzip.compress(b"{}").replace(b"\x08\x00", b"\x08\x08", 1)
NAMED = NAMED[:10] + KEY.encode() + b"\0" + NAMED[10:]
"""With a file's name in its head (RFC 1952, section 2.3)."""


@pytest.mark.parametrize(
    ("encodings", "packed"),
    [
        (("gzip", "identity"), gzip.compress(ERROR.encode())),
        (("gzip", ""), gzip.compress(ERROR.encode())),
        (("", "gzip"), gzip.compress(ERROR.encode())),
        (("gzip, identity",), gzip.compress(ERROR.encode())),
        (("gzip", "gzip"), gzip.compress(gzip.compress(ERROR.encode()))),
        (("gzip",), NAMED),
        (("gzip",), gzip.compress(b"{}") + KEY.encode()),
        (("gzip",), gzip.compress(b"{}") + b"zzzz" + gzip.compress(KEY.encode())),
        (("gzip",), gzip.compress(b"{}") + gzip.compress(KEY.encode())),
        (("identity",), ERROR.encode("utf-16-le")),
        ((), ERROR.encode("utf-16-be")),
    ],
    ids=range(11),
)
async def test_no_encoding_hides_the_key(encodings: tuple[str, ...], packed: bytes) -> None:
    fields = (f"content-encoding: {encoding}" for encoding in encodings)
    head = response(200, "", "application/json", *fields)
    said = head.replace(b"content-length: 0", b"content-length: %d" % len(packed)) + packed
    answer = await answer_to(answering(said), anonymous())
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")


async def test_an_encoding_that_is_named_twice_passes_as_it_came_to_a_callers_own_key() -> None:
    packed = gzip.compress(ERROR.encode())
    head = response(200, "", "application/json", "content-encoding: gzip", "content-encoding: x")
    said = head.replace(b"content-length: 0", b"content-length: %d" % len(packed)) + packed
    answer = await answer_to(answering(said), post())
    assert (answer.status, answer.body) == (200, packed)


SWITCH = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ISSUED_SECRET = "a1" * 21
ISSUED = f"mg-{ISSUED_SECRET}{checksum(ISSUED_SECRET)}"


def switching(*fields: str, seen: list[tuple[bytes, bytes]]) -> Script:
    """A mirror that switches to WebSocket, with these fields in its answer."""
    lines = ("HTTP/1.1 101 Switching Protocols", *SWITCH[:2], *fields)
    said = "\r\n".join((*lines, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "", ""))
    return answering(said.encode(), seen)


async def switched(
    offered: str, *fields: str, own: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """The status and fields of a WebSocket's beginning, and the head that the mirror got."""
    seen: list[tuple[bytes, bytes]] = []
    asked = get("/v1/realtime", *SWITCH, "Sec-WebSocket-Extensions: permessage-deflate", offered)
    asked = asked.replace(b"Authorization: Bearer sk-x\r\n", b"")
    async with ScriptedMirror(switching(*fields, seen=seen)) as mirror:
        table = mirror.table(api_key=KEY, client_keys=["sk-*"] if own else [])
        async with DataPlane([table], {"callers": ["own", "issued"]}) as plane:
            ring = plane.context.keys
            ring.season("01" * 32)
            ring.extend([("k1", ring.digest(ISSUED.encode()).hex(), None, 0.0, "", None, None)])
            client = await plane.send(asked)
            status, _, found = await client.head()
            return status, {name.lower(): value for name, value in found}, seen[0][0]


LENT = f"openai-insecure-api-key.{KEY}"
OFFERED = f"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.{ISSUED}"


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("realtime", "realtime"),
        (LENT, f"openai-insecure-api-key.{ISSUED}"),
        ("", None),
    ],
    ids=["one", "with the key", "none"],
)
async def test_the_client_is_told_of_a_subprotocol_that_it_offered(
    chosen: str, told: str | None
) -> None:
    fields = [f"Sec-WebSocket-Protocol: {chosen}"] if chosen else []
    status, found, got = await switched(OFFERED, *fields)
    assert (status, found.get("sec-websocket-protocol")) == (101, told)
    assert LENT.encode() in got
    assert ISSUED.encode() not in got
    assert b"permessage-deflate" not in got, "what is compressed could not be searched"


@pytest.mark.parametrize(
    "fields",
    [
        (f"Sec-WebSocket-Protocol: openai-insecure-api-key.{ISSUED}",),
        (f"Sec-WebSocket-Protocol: realtime, {LENT}",),
        ("Sec-WebSocket-Protocol: realtime", "Sec-WebSocket-Protocol: realtime"),
        ("Sec-WebSocket-Protocol: Realtime",),
        ("Sec-WebSocket-Protocol: other",),
        ("Sec-WebSocket-Extensions: permessage-deflate",),
        (f"x-debug: {KEY}",),
    ],
)
async def test_a_switch_to_what_was_not_offered_is_refused(fields: tuple[str, ...]) -> None:
    status, found, _ = await switched(OFFERED, *fields)
    assert status == 502
    assert KEY not in repr(found)


@pytest.mark.parametrize(("chosen", "status"), [("openai-insecure-api-key.sk-x", 101), ("b", 502)])
async def test_subprotocols_beside_an_own_key_are_the_clients_too(chosen: str, status: int) -> None:
    offered = "Sec-WebSocket-Protocol: a, openai-insecure-api-key.sk-x"
    fields = (f"Sec-WebSocket-Protocol: {chosen}", "Sec-WebSocket-Extensions: permessage-deflate")
    answered, found, got = await switched(offered, *fields, own=True)
    assert answered == status
    assert b"permessage-deflate" in got
    if status == 101:
        assert found["sec-websocket-protocol"] == chosen
        assert found["sec-websocket-extensions"] == "permessage-deflate"


SLASHED = "sk/mirrors+own=0123456789"
HONEST = {
    "plain": SLASHED,
    "JSON": SLASHED.replace("/", "\\/"),
    "JSON in JSON": json.dumps(json.dumps("".join(f"\\u{ord(c):04x}" for c in SLASHED)))[3:-3],
    "URL": SLASHED.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"),
    "URL, small": SLASHED.replace("/", "%2f").replace("+", "%2b").replace("=", "%3d"),
    "HTML by Go": SLASHED.replace("+", "&#43;"),
    "HTML by Handlebars": SLASHED.replace("/", "&#x2F;").replace("=", "&#x3D;"),
    "Basic": base64.b64encode(f":{SLASHED}".encode()).decode(),
}


@each_loop
@pytest.mark.parametrize("said", HONEST.values(), ids=HONEST)
@pytest.mark.parametrize("media", ["text/html", "application/json", "text/event-stream"])
def test_a_key_is_not_shown_as_honest_servers_quote_it(
    said: str, media: str, loop_name: str
) -> None:
    text = f"<pre>AUTHORIZATION: {said}</pre>"
    body = f"data: {text}\n\n" if media == "text/event-stream" else text
    script = answering(response(422, body, media))
    answer = run_on(loop_name, answer_to(script, anonymous(), SLASHED))
    assert answer.status == 502
    assert said not in repr(answer)


async def test_a_masked_key_passes_as_the_mirror_masked_it() -> None:
    answer = await answer_to(answering(response(400, HARMLESS)), anonymous())
    assert (answer.status, answer.body) == (400, HARMLESS.encode())


async def test_a_key_in_the_words_of_two_events_is_not_seen() -> None:
    """A gap that docs/security.md names, so that a change of it is noticed."""
    events = "".join(
        f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': part}}]})}\n\n"
        for part in (KEY[:9], KEY[9:])
    )
    said = response(200, events, "text/event-stream")
    answer = await answer_to(answering(said), anonymous(STREAM_BODY))
    assert answer.status == 200
    assert KEY[:9] in answer.body.decode()
