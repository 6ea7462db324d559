"""Responses of a broken or hostile mirror, byte for byte, and their required treatment."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_OK = b"HTTP/1.1 200 OK\r\n"
_TWO = _OK + b"Content-Length: 2\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_SSE = _OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENT = b'12\r\ndata: {"a": "b"}\n\n\r\n'
_BOMB = gzip.compress(bytes(20 << 20))
Outcome = Literal["relay", "gateway", "cut"]


@dataclass(frozen=True)
class Mode:
    """One way to answer. `gateway`: 502 or 504 in OpenAI's shape. `cut`: visibly incomplete."""

    name: str
    answer: bytes
    expect: tuple[Outcome, ...]
    then: Literal["hold", "close", "reset", "repeat", "drip"] = "hold"
    """After the answer: keep the connection, end it, or send `more` again and again."""
    more: bytes = b""
    reusable: bool = False
    """True if the next request may come on the same connection."""
    lacks: tuple[bytes, ...] = ()
    """What the client must not see."""
    has: tuple[bytes, ...] = ()
    method: bytes = b"GET"
    timeouts: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    """The status, where it is not left to us."""
    body: bytes | None = None
    """What must arrive, byte for byte."""
    case: str = ""
    """Its name in the list of hostile answers that proxies are compared by."""

    @property
    def title(self) -> str:
        """The mode, after its name in that list."""
        return f"{self.case}: {self.name}" if self.case else self.name

    @property
    def pieces(self) -> Iterator[bytes]:
        """Return the repeated bytes, without end."""
        while True:
            yield self.more


def _fields(fields: bytes, body: bytes = b"{}") -> bytes:
    return _TWO + fields + b"\r\n" + body


_SOON = (("first_byte", "300ms"),)
GOOD = [
    Mode("control", _fields(b""), ("relay",), reusable=True, case="control"),
    Mode("no reason phrase", _fields(b"").replace(b" OK", b" "), ("relay",), reusable=True,
         case="no_reason"),
    Mode("HTTP/1.0 that ends with the connection", b"HTTP/1.0 200 OK\r\n\r\n{}", ("relay",),
         "close", case="http10_eof_body"),
    Mode("one 103", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _fields(b""), ("relay",),
         reusable=True, case="one_103"),
    Mode("a redirect inwards", b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n"
         b"Content-Length: 0\r\n\r\n", ("relay",), reusable=True, case="redirect_ssrf"),
    Mode("a gzip bomb stays packed", _OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
         % len(_BOMB) + _BOMB, ("relay",), reusable=True, body=_BOMB, case="gzip_bomb"),
    Mode("an early 413", b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}", ("relay",),
         reusable=True, case="early_413"),
    Mode("fields named by Connection", _fields(b"Connection: x-secret\r\nX-Secret: 1\r\n"),
         ("relay",),
         lacks=(b"x-secret",), reusable=True, case="conn_nominated"),
    Mode("what is not a mirror's to say", _fields(
        b"X-Accel-Redirect: /etc/passwd\r\nX-Sendfile: /etc/passwd\r\nSet-Cookie: a=b\r\n"
        b"Alt-Svc: h3\r\nStrict-Transport-Security: max-age=1\r\nClear-Site-Data: *\r\n"
        b"Refresh: 0\r\nX_Accel_Redirect: /etc/shadow\r\nX-Mirrorgate-Mirror: evil\r\n"),
        ("relay",), lacks=(b"/etc/", b"cookie", b"alt-svc", b"strict-t", b"clear-", b"refresh",
                           b"evil"), reusable=True, case="accel_redirect"),
    Mode("bytes above 127 in a field", _fields(b"X-A: \xe6\xa8\xa1\r\n"), ("relay",),
         has=(b"\xe6\xa8\xa1",), reusable=True),
]  # fmt: skip

POISON = [
    Mode("more than announced", _fields(b"", b"{}extra"), ("relay",), lacks=(b"extra",),
         case="cl_short_extra"),
    Mode("a second answer at once", _fields(b"") + _fields(b"X-Poison: 1\r\n"), ("relay",),
         lacks=(b"poison",), case="queue_poison"),
    Mode("a second answer later", _fields(b""), ("relay",), "drip",
         more=_fields(b"X-Poison: 1\r\n")),
    Mode("a 204 with a body", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
         ("relay", "gateway"), case="s204_with_body"),
    Mode("a 304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{}",
         ("relay", "gateway"), case="s304_with_body"),
    Mode("a body for HEAD", _fields(b""), ("relay",), method=b"HEAD"),
    Mode("more after the last chunk", _CHUNKED + b"2\r\n{}\r\n0\r\n\r\nextra", ("relay",),
         lacks=(b"extra",)),
]  # fmt: skip

HEADS = [
    Mode("garbage", b"\x00\x01\x02\x03" * 100, ("gateway",), case="garbage"),
    Mode("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", ("gateway",)),
    Mode("closed at once", b"", ("gateway",), "close", case="close_now"),
    Mode("reset at once", b"", ("gateway",), "reset", case="rst_now"),
    Mode("half a status line", b"HTTP/1.1 20", ("gateway",), "close", case="half_status"),
    Mode("half a head", _OK + b"Content-Le", ("gateway",), "close", case="half_headers"),
    Mode("no answer", b"", ("gateway",), timeouts=_SOON, case="never_answer"),
    Mode("a head that never ends", _OK, ("gateway",), "drip", more=b"X: y\r\n", timeouts=_SOON,
         case="headers_never_end"),
    Mode("endless fields", _OK, ("gateway",), "repeat", more=b"X: y\r\n" * 1000,
         case="infinite_headers"),
    Mode("a field without end", _OK + b"X: ", ("gateway",), "repeat", more=b"y" * 50_000,
         case="huge_header_10MB"),
    Mode("20,000 fields", _OK + b"X: y\r\n" * 20_000 + b"\r\n", ("gateway",),
         case="many_headers_20k"),
    Mode("300 fields", _OK + b"X: y\r\n" * 300 + b"\r\n", ("gateway",)),
    Mode("Content-Length and Transfer-Encoding", _TWO + b"Transfer-Encoding: chunked\r\n\r\n"
         b"2\r\n{}\r\n0\r\n\r\n", ("gateway",), case="cl_and_te"),
    Mode("two lengths", _fields(b"Content-Length: 3\r\n"), ("gateway",), case="cl_dup_diff"),
    *(
        Mode(f"Content-Length {text!r}", _OK + b"Content-Length: " + text + b"\r\n\r\n{}",
             ("gateway",),
             case={b"two": "cl_bad", b"-2": "cl_negative", b"+2": "cl_plus"}.get(text, ""))
        for text in (b"two", b"-2", b"+2", b"2, 2", b"99999999999999999999", b"0x2", b"")
    ),
    *(
        Mode(f"Transfer-Encoding {text!r}", _OK + b"Transfer-Encoding: " + text
             + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n", ("gateway",),
             case="te_bad" if text == b"xchunked" else "")
        for text in (b"xchunked", b"gzip, chunked", b"chunked, chunked", b"identity", b",chunked")
    ),
    Mode("a coding in HTTP/1.0", _CHUNKED.replace(b"1.1", b"1.0") + b"2\r\n{}\r\n0\r\n\r\n",
         ("gateway",)),
    *(
        Mode(f"status {text!r}", b"HTTP/1.1 " + text + b" X\r\nContent-Length: 2\r\n\r\n{}",
             ("gateway",),
             case={b"99": "status_99", b"2OO": "status_2OO", b"1000": "status_1000"}.get(text, ""))
        for text in (b"99", b"099", b"2OO", b"1000", b"600", b"999", b"-200", b"")
    ),
    *(
        Mode(f"version {text!r}", _fields(b"").replace(b"HTTP/1.1", text), ("gateway",),
             case="version_2" if text == b"HTTP/2.0" else "")
        for text in (b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3", b"http/1.1")
    ),
    Mode("a version of another protocol", _fields(b"").replace(b"HTTP/1.1", b"RTSP/1.0"),
         ("relay", "gateway")),
    *(
        Mode(f"field line {text!r}", _fields(text + b"\r\n"), ("gateway",), case=case)
        for text, case in (
            (b"X: a\r\n b", "obsfold"), (b"X: a\x00b", "nul_value"), (b"X: a\rb", "bare_cr_value"),
            (b"X(: y", "bad_name"), (b"X : y", "space_colon"), (b"X: a\nb", ""), (b": y", ""),
            (b"no colon", ""), (b"X: a\x01b", ""),
        )
    ),
    Mode("a control in the reason", _fields(b"").replace(b"OK", b"O\x01K"), ("gateway",)),
    Mode("an unasked 101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
         b"Connection: Upgrade\r\n\r\n", ("gateway",), case="unasked_101"),
    Mode("a 101 without Upgrade", b"HTTP/1.1 101 X\r\n\r\n" + _fields(b""), ("gateway",)),
    Mode("5,000 interim answers", b"HTTP/1.1 102 X\r\n\r\n" * 5000 + _fields(b""), ("gateway",),
         case="flood_1xx_5k"),
    Mode("interim answers without end", b"", ("gateway",), "repeat",
         more=b"HTTP/1.1 103 X\r\n\r\n", case="flood_1xx_endless"),
    Mode("an interim answer and the end", b"HTTP/1.1 103 X\r\n\r\n", ("gateway",), "close"),
]  # fmt: skip

BODIES = [
    Mode("shorter than announced", _OK + b"Content-Length: 99\r\n\r\n{}", ("cut",), "close",
         case="cl_long_truncated"),
    Mode("reset within the body", _OK + b"Content-Length: 99\r\n\r\n{}", ("cut",), "reset"),
    Mode("a bad first chunk", _CHUNKED + b"zz\r\n{}\r\n", ("gateway", "cut"),
         case="chunk_bad_first"),
    Mode("a bad later chunk", _CHUNKED + b"2\r\n{}\r\nzz\r\n", ("gateway", "cut"),
         case="chunk_bad_mid"),
    Mode("a chunk longer than it says", _CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n", ("gateway", "cut")),
    Mode("a chunk size beyond all bounds", _CHUNKED + b"f" * 17 + b"\r\n{}\r\n", ("gateway",
         "cut")),
    Mode("no last chunk", _CHUNKED + b"2\r\n{}\r\n", ("cut",), "close", case="chunk_no_last"),
    Mode("reset between chunks", _CHUNKED + b"2\r\n{}\r\n", ("cut",), "reset",
         case="chunk_rst_mid"),
    Mode("cut within an event", _SSE + _EVENT + _EVENT[:10], ("cut",), "close",
         case="sse_cut_mid_event"),
    Mode("an unframed stream that ends within an event", _OK + b"Content-Type: text/event-stream"
         b"\r\n\r\ndata: 1\n\ndata: {\"a", ("cut",), "close", case="sse_eof_framed_cut"),
    Mode("an unframed stream that ends between events", _OK + b"Content-Type: text/event-stream"
         b"\r\n\r\ndata: 1\n\n", ("relay",), "close", body=b"data: 1\n\n"),
    Mode("an unframed stream that ends with its last words", _OK
         + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\ndata: [DONE]", ("relay",), "close",
         body=b"data: 1\n\ndata: [DONE]"),
    Mode("an unframed stream that is packed", _OK + b"Content-Type: text/event-stream\r\n"
         b"Content-Encoding: gzip\r\n\r\n" + _BOMB[:99], ("gateway",), "close"),
    Mode("an unframed stream is reset", _OK + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n",
         ("cut",), "reset"),
    Mode("a stream falls silent", _SSE + _EVENT, ("cut",), timeouts=(("idle", "300ms"),)),
    Mode("chunks that are mostly framing", _CHUNKED, ("cut", "gateway"), "repeat",
         more=b"1;" + b"a" * 60_000 + b"\r\n{\r\n"),
    Mode("trailers without end", _CHUNKED + b"2\r\n{}\r\n0\r\n", ("cut", "gateway"), "repeat",
         more=b"X: y\r\n" * 1000),
]  # fmt: skip
MODES = [*GOOD, *POISON, *HEADS, *BODIES]

_JSON = b"Content-Type: application/json\r\n"


def _answer(status: bytes, fields: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, fields, len(body))
    return head + body


def _error(code: bytes, message: bytes = b"x") -> bytes:
    return b'{"error": {"message": "%b", "type": "%b", "code": "%b"}}' % (message, code, code)


_LOGIN = b"<!doctype html><title>Sign in</title><form action=/login>"
_EMBEDDED = b'{"error": {"message": "quota", "type": "insufficient_quota"}}'
ANSWERS = [
    Mode("an error in a 200", _answer(b"200 OK", _JSON, _EMBEDDED), ("relay",), reusable=True,
         body=_EMBEDDED, case="error_json_in_200"),
    Mode("a login page in a 200", _answer(b"200 OK", b"Content-Type: text/html\r\n", _LOGIN),
         ("relay",), reusable=True, body=_LOGIN, case="login_page_in_200"),
    Mode("a 500 from what the probes found well", _answer(b"500 X", _JSON, _error(b"server_error")),
         ("relay",), reusable=True, status=500, body=_error(b"server_error"),
         case="healthy_models_500_completions"),
    Mode("a 429 that says when to come back", _answer(
        b"429 X", _JSON + b"Retry-After: 7\r\n", _error(b"rate_limit_exceeded")), ("relay",),
         reusable=True, status=429, has=(b"retry-after: 7",), case="429_with_retry_after"),
    *(
        Mode(f"a {status.decode()} for the caller's own key", _answer(
            status, _JSON, _error(b"invalid_api_key", b"Incorrect: sk-x")), ("relay",),
             reusable=True, has=(b"sk-x",), case="key_refused")
        for status in (b"401 X", b"403 X")
    ),
    *(
        Mode(f"a redirect to {where.decode()}", _answer(
            b"307 X", b"Location: %b\r\n" % where, b""), ("relay",), reusable=True, status=307,
             has=(where,), case="redirect_never_followed")
        for where in (b"http://169.254.169.254/latest/meta-data/", b"http://127.0.0.1:1/",
                      b"file:///etc/passwd")
    ),
    Mode("a head that comes byte by byte", b"HTTP/1.1 200 OK\r\nX: ", ("gateway",), "drip",
         more=b"y", timeouts=(("first_byte", "300ms"),), status=504, case="headers_1_byte_per_s"),
]  # fmt: skip
"""Well-formed, and bad all the same."""
