"""Malformed requests as raw bytes, and what must become of them.

The groups follow those of the public smuggling test suites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KEY = b"Authorization: Bearer sk-x\r\n"
HOST = b"Host: test\r\n"
JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Case:
    """Bytes of a client, and their required treatment.

    `reject`: 4xx or a bare close, then the connection ends, and nothing whole reaches a mirror.
    `accept`: relayed. `either`: the RFCs leave it open. Whatever it is, what reaches a mirror is
    strict HTTP, and nothing a client hid in it arrives as a request.
    """

    name: str
    data: bytes
    expect: Literal["reject", "accept", "either"] = "reject"
    arriving: int | None = None
    """Whole requests at the mirror; by default one if accepted, none if rejected."""
    ends: bool = False
    """The client says that it will send no more."""
    has: tuple[bytes, ...] = ()
    """What the mirror must get, as it stands."""
    lacks: tuple[bytes, ...] = ()
    """What the mirror must not get, in any case."""
    keeps: bool = False
    """The connection must stay open after an accepted request."""

    @property
    def expected(self) -> int:
        """Number of whole requests that the mirror may get at most; exactly, unless `either`."""
        if self.arriving is not None:
            return self.arriving
        return 0 if self.expect == "reject" else 1


def line(first: bytes, fields: bytes = HOST + KEY, body: bytes = b"") -> bytes:
    """A request with this request line, without its CRLF."""
    return first + b"\r\n" + fields + b"\r\n" + body


def get(fields: bytes = b"", target: bytes = b"/v1/models") -> bytes:
    """A GET with these further fields."""
    return line(b"GET " + target + b" HTTP/1.1", HOST + KEY + fields)


def post(fields: bytes, body: bytes = b"", host: bytes = HOST) -> bytes:
    """A POST with these further fields, which bring their own framing."""
    return line(b"POST /v1/chat/completions HTTP/1.1", host + KEY + JSON + fields, body)


def sized(length: bytes, body: bytes = b"{}") -> bytes:
    """A POST with this Content-Length."""
    return post(b"Content-Length: " + length + b"\r\n", body)


def chunked(body: bytes, fields: bytes = b"") -> bytes:
    """A POST with a chunked body, as raw bytes."""
    return post(b"Transfer-Encoding: chunked\r\n" + fields, body)


def coded(coding: bytes, body: bytes = b"2\r\n{}\r\n0\r\n\r\n") -> bytes:
    """A POST with this Transfer-Encoding."""
    return post(b"Transfer-Encoding: " + coding + b"\r\n", body)


HIDDEN = b"GET /v1/files/hidden HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer sk-x\r\n\r\n"
"""A request within another; it must never arrive as one where the outer is refused."""


def _target(target: bytes) -> bytes:
    return get(target=target)


REQUEST_LINES = [
    *(
        Case(f"request line {text!r}", line(text), ends=True)
        for text in (
            b"GET  /v1/models HTTP/1.1", b"GET /v1/models  HTTP/1.1", b"GET /v1/models HTTP/1.1 ",
            b" GET /v1/models HTTP/1.1", b"GET\t/v1/models HTTP/1.1", b"GET /v1/models\tHTTP/1.1",
            b"GET\x0b/v1/models HTTP/1.1", b"GET /v1/models", b"GET /v1/models ", b"GET",
            b"GET /v1/models HTTP/0.9", b"GET /v1/models HTTP/2.0", b"GET /v1/models HTTP/3.0",
            b"GET /v1/models HTTP/1.2", b"GET /v1/models HTTP/1.10", b"GET /v1/models HTTP/01.1",
            b"GET /v1/models HTTP/1", b"GET /v1/models HTTP/1.", b"GET /v1/models HTTP/.1",
            b"GET /v1/models http/1.1", b"GET /v1/models HTTPS/1.1", b"GET /v1/models HTTP/1,1",
            b"GET /v1/models RTSP/1.0", b"OPTIONS /v1/models RTSP/1.0", b"GET /v1/models ICE/1.0",
            b"get /v1/models HTTP/1.1", b"Get /v1/models HTTP/1.1", b"G\x00ET /v1/models HTTP/1.1",
            b"GE(T /v1/models HTTP/1.1", b"FOO /v1/models HTTP/1.1", b"TRACE /v1/models HTTP/1.1",
            b"CONNECT test:443 HTTP/1.1", b"PRI * HTTP/2.0", b"PROPFIND /v1/models HTTP/1.1",
            b"QUERY /v1/models HTTP/1.1", b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1",
            b"/v1/models HTTP/1.1", b"GET v1/models HTTP/1.1", b"GET /v1/models HTTP/1.1 X: y",
        )
    ),
    Case("a bare LF after the request line", b"GET /v1/models HTTP/1.1\n" + HOST + KEY + b"\r\n"),
    Case("a bare CR after the request line", b"GET /v1/models HTTP/1.1\r" + HOST + KEY + b"\r\n"),
    Case("bare LFs everywhere", get().replace(b"\r\n", b"\n")),
    Case("an empty line first", b"\r\n" + get(), "accept"),
    Case("a bare LF first", b"\n" + get(), "either"),
    Case("a thousand empty lines and nothing else", b"\r\n" * 1000),
    Case("HTTP/1.0 without Host", line(b"GET /v1/models HTTP/1.0", KEY), "accept"),
]  # fmt: skip

TARGETS = [
    *(
        Case(f"target {text!r}", _target(text))
        for text in (
            b"/v1/../admin/keys", b"/v1/./models", b"/v1/models/..", b"/v1/models/.", b"/v1/..",
            b"/v1/%2e%2e/admin", b"/v1/%2E%2E/admin", b"/v1/.%2e/admin", b"/v1/..%2fadmin",
            b"/v1/%2e%2e%2fadmin", b"/v1/x%2f..%2f..%2fadmin", b"/v1/..;/admin", b"/v1/..%3b/admin",
            b"/v1/..\\admin", b"/v1/..%5cadmin", b"/v1/models%00", b"/v1/models%0d%0aX:%20y",
            b"/v1/models%7f", b"/v1/models\x00", b"/v1/models\x7f", b"/v1/models\x01",
            b"/v1/mod els",
            b"/v1/models#fragment", b"/v1/models?a#b", b"/v1/models%", b"/v1/models%2",
            b"/v1/models%zz",
            b"/v1/models?a=%", b"/v1/models?a=%g0", b"/v1/<script>", b'/v1/"models"',
            b"/v1/{models}",
            b"/v1/models|x", b"/v1/models^", b"/v1/models`", b"/v1/\xe6\xa8\xa1",
            b"/v1/models?q=\xff",
            b"/v1/" + b"a" * 9000, b"http://test/v1/../admin", b"http://te st/v1/models",
            b"http:///v1/models", b"http://user@test/v1/models", b"http://test:x/v1/models",
            b"ftp://test/v1/models", b"//../v1/models", b"file:///etc/passwd",
        )
    ),
    Case("absolute target without Host", line(b"GET http://test/v1/models HTTP/1.1", KEY)),
    Case("absolute target beside a bad Host",
         line(b"GET http://test/v1/models HTTP/1.1", b"Host: a b\r\n" + KEY)),
    Case("absolute target", _target(b"http://other/v1/models"), "accept",
         has=(b"GET /v1/models HTTP/1.1\r\n",), lacks=(b"other",)),
    Case("a query is not changed", _target(b"/v1/models?a=%2F..%2f&b=%0A&c=a%5Cb&metadata[k]=v"),
         "accept", has=(b" /v1/models?a=%2F..%2f&b=%0A&c=a%5Cb&metadata[k]=v HTTP",)),
    Case("an escaped path is not changed", _target(b"/v1/models/a%2Fb%3a%20c"), "accept",
         has=(b" /v1/models/a%2Fb%3a%20c HTTP",)),
    Case("dots that are no segments", _target(b"/v1/models/...a/.b/c..d"), "accept"),
    Case("two slashes first", _target(b"//v1/models"), "accept", has=(b"GET /v1/models HTTP",)),
]  # fmt: skip

_HOSTS = (
    b"a b", b"a/b", b"a@b", b"a, b", b"a:80x", b"<script>", b"\xff", b"a:", b":80", b"a:b:c",
    b"a?b", b"a#b", b"a\\b", b"[::1", b"::1", b"a%00b", b"http://a", b"", b'"a"', b"a\x00",
)  # fmt: skip
HOSTS = [
    *(
        Case(f"Host {text!r}", line(b"GET /v1/models HTTP/1.1", b"Host: " + text + b"\r\n" + KEY))
        for text in _HOSTS
    ),
    Case("no Host", line(b"GET /v1/models HTTP/1.1", KEY)),
    Case("two Hosts", get(b"Host: evil\r\n"), lacks=(b"evil",)),
    Case("two equal Hosts", get(HOST)),
    Case("two Hosts in HTTP/1.0", line(b"GET /v1/models HTTP/1.0", HOST + HOST + KEY)),
    Case("a bad Host in HTTP/1.0", line(b"GET /v1/models HTTP/1.0", b"Host: a b\r\n" + KEY)),
    Case("a Host that Connection names", get(b"Connection: host\r\n"), "accept"),
    *(
        Case(
            f"good Host {text!r}",
            line(b"GET /v1/models HTTP/1.1", b"Host: " + text + b"\r\n" + KEY),
            "accept",
            lacks=(text.strip(),),
        )
        for text in (b"front", b"front.test:8080", b"[2001:db8::1]:80", b"my_host", b" front \t")
    ),
]

FIELDS = [
    *(
        Case(f"field line {text!r}", get(text + b"\r\n"))
        for text in (
            b"X : y", b"X\t: y", b" X: y", b"\tX: y", b"X: y\r\n z", b"X: y\r\n\tz", b": y",
            b"no colon",
            b"X Y: z", b"X(: y", b"X/: y", b"X\x00: y", b"X\xff: y", b"X@: y", b'X": y', b"X{: y",
            b"X\x7f: y", b"X: a\x00b", b"X: a\rb", b"X: a\nb", b"X: a\x01b", b"X: a\x0bb",
            b"X: a\x1bb",
            b"X: a\x08b", b"\x0bX: y", b"X;a: y", b"X,a: y", b"X=a: y", b"X: y\n", b"X: y\r",
        )
    ),
    Case("a folded first line", line(b"GET /v1/models HTTP/1.1", b" X: y\r\n" + HOST + KEY)),
    Case("129 fields", get(b"".join(b"X-%d: y\r\n" % i for i in range(129)))),
    Case("a name of 20 KiB", get(b"X" * 20_000 + b": y\r\n")),
    Case("a value of 20 KiB", get(b"X: " + b"y" * 20_000 + b"\r\n")),
    Case("a head of 100 KiB", get(b"".join(b"X-%d: %b\r\n" % (i,
         b"y" * 1000) for i in range(100)))),
    Case("a head without an end", get(b"X: y")[:-4] + b"y" * 200_000),
    Case("two keys", get(b"Authorization: Bearer sk-y\r\n"), lacks=(b"sk-y",)),
    Case("two API keys", get(b"X-Api-Key: a\r\nX-API-Key: b\r\n")),
    Case("two content types", get(b"Content-Type: a/b\r\nContent-Type: c/d\r\n")),
    Case("two expectations", get(b"Expect: 100-continue\r\nExpect: 100-continue\r\n")),
    Case("an empty value", get(b"X-Empty:\r\n"), "accept", has=(b"X-Empty: \r\n",)),
    Case("no space after the colon", get(b"X-A:b\r\n"), "accept", has=(b"X-A: b\r\n",)),
    Case("bytes above 127 in a value", get(b"X-A: \xe6\xa8\xa1\xff\r\n"), "accept",
         has=(b"X-A: \xe6\xa8\xa1\xff\r\n",)),
    Case("every character of a token", get(b"X!#$%&'*+-.^_`|~9: y\r\n"), "accept",
         has=(b"X!#$%&'*+-.^_`|~9: y\r\n",)),
    Case("DEL in a value", get(b"X-A: a\x7fb\r\n")),
    Case("the order of equal names", get(b"X-A: 1\r\nX-A: 2\r\nx-a: 3\r\n"), "accept",
         has=(b"X-A: 1\r\nX-A: 2\r\nx-a: 3\r\n",)),
    Case("128 fields", get(b"".join(b"X-%d: y\r\n" % i for i in range(126))), "accept"),
]  # fmt: skip


_LAST = b"0\r\n\r\n"
_DATA = b"2\r\n{}\r\n"
_ONE = _DATA + _LAST
_TE, _CL = b"Transfer-Encoding: chunked\r\n", b"Content-Length: 2\r\n"


def _old(fields: bytes, body: bytes) -> bytes:
    return line(b"POST /v1/chat/completions HTTP/1.0", HOST + KEY + JSON + fields, body)


BOTH = [
    Case("both framings, length first", post(_CL + _TE, _ONE)),
    Case("both framings, coding first", post(_TE + _CL, _ONE)),
    Case(
        "both framings, length zero hides a request", post(b"Content-Length: 0\r\n" + _TE, HIDDEN)
    ),
    Case("both framings, the last chunk hides a request", post(_CL + _TE, _LAST + HIDDEN)),
    Case("both framings on a GET", get(_CL + _TE) + _ONE),
    Case("both framings in HTTP/1.0", _old(_CL + _TE, _ONE)),
]

LENGTHS = [
    *(
        Case(f"Content-Length {text!r}", sized(text, b"{}" + HIDDEN))
        for text in (
            b"", b"+2", b"-2", b"-0", b" 2 2", b"2,2", b"2, 2", b"2, 3", b"2;", b"0x2", b"2.0",
            b"2e0",
            b"two", b"2\x0b", b"\x0c2", b"2_0", b"\xb2", b"2\x00", b'"2"', b"2 ,", b",2",
            b"9223372036854775807", b"9223372036854775808", b"18446744073709551618",
            b"1" + b"0" * 40, b"2\r\n 0", b"2\r2", b"0b10", b"\xef\xbc\x92",
        )
    ),
    Case("two equal lengths", post(_CL + _CL, b"{}")),
    Case("two lengths", post(_CL + b"Content-Length: 3\r\n", b"{}}")),
    Case("two lengths, the other spelled differently", post(_CL + b"content-length: 3\r\n",
         b"{}}")),
    Case("a length above the limit", sized(b"999999999999")),
    Case("a length beside an underscore", post(_CL + b"Content_Length: 40\r\n", b"{}"), "accept",
         lacks=(b"content_length",)),
    Case("a length with leading zeros", sized(b"0002"), "either"),
    Case("a length with spaces around", sized(b"  2 \t"), "accept"),
    Case("no length", post(b""), "accept", has=(b"Content-Length: 0\r\n",)),
    Case("a body on GET", get(_CL) + b"{}", "accept", has=(b"Content-Length: 2\r\n",)),
    Case("a length of zero hides a pipelined request", sized(b"0", b"") + HIDDEN, "accept",
         arriving=2),
    Case("fewer bytes than announced", sized(b"40"), ends=True),
    Case("more bytes than announced", sized(b"2", b"{}}"), "either"),
]  # fmt: skip

CODINGS = [
    *(
        Case(f"Transfer-Encoding {text!r}", coded(text))
        for text in (
            b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked",
            b",chunked", b"chunked,", b"chunked;q=1", b"chunked; a=b", b"xchunked", b"chunkedx",
            b"chunk", b"\x0bchunked", b"chunked\x0b", b"chunked\x00", b'"chunked"', b"cow",
            b"chunked identity", b"identity, chunked", b"c hunked", b"\xffchunked",
            b"x\r\n chunked",
            b"deflate", b"trailers", b"chunked\rx",
        )
    ),
    Case("Transfer-Encoding twice", post(_TE + _TE, _ONE)),
    Case("Transfer-Encoding twice, one unknown", post(_TE + b"Transfer-Encoding: cow\r\n", _ONE)),
    Case("Transfer-Encoding twice, identity first",
         post(b"Transfer-Encoding: identity\r\n" + _TE, _ONE)),
    Case("Transfer-Encoding with a space before the colon",
         post(b"Transfer-Encoding : chunked\r\n", _ONE)),
    Case("Transfer-Encoding after a folded line", post(b"X: y\r\n Transfer-Encoding: chunked\r\n",
         _ONE)),
    Case("Transfer-Encoding in HTTP/1.0", _old(_TE, _ONE)),
    Case("Transfer_Encoding is no framing", post(_CL + b"Transfer_Encoding: chunked\r\n", b"{}"),
         "accept", lacks=(b"transfer_encoding",)),
    Case("Transfer-Encoding in capitals", coded(b"CHUNKED"), "accept"),
    Case("Transfer-Encoding with spaces around", coded(b" \t chunked "), "accept"),
    Case("chunked on a GET", get(_TE) + _ONE, "accept"),
]  # fmt: skip

CHUNKS = [
    *(
        Case(f"chunks {text!r}", chunked(text))
        for text in (
            b"\r\n{}\r\n" + _LAST, b"-2\r\n{}\r\n" + _LAST, b"+2\r\n{}\r\n" + _LAST,
            b"0x2\r\n{}\r\n" + _LAST, b"g\r\n{}\r\n" + _LAST, b"2 2\r\n{}\r\n" + _LAST,
            b" 2\r\n{}\r\n" + _LAST, b"2\n{}\r\n" + _LAST, b"2\r\n{}\n" + _LAST,
            b"2\r{}\r\n" + _LAST,
            b"2\r\n{}" + _LAST, b"2\r\n{}}\r\n" + _LAST, b"1\r\n{}\r\n" + _LAST,
            b"ffffffffffffffff\r\n{}\r\n" + _LAST, b"10000000000000002\r\n{}\r\n" + _LAST,
            b"2;\n{}\r\n" + _LAST, b"2;a\nb\r\n{}\r\n" + _LAST, b"2;a\rb\r\n{}\r\n" + _LAST,
            b"2;a\x00b\r\n{}\r\n" + _LAST, b"2\x00\r\n{}\r\n" + _LAST, b"2,2\r\n{}\r\n" + _LAST,
            b"\xb2\r\n{}\r\n" + _LAST, _DATA + b"0\n\n", _DATA + b"0\r\nX: y\n\r\n",
            _DATA + b"0\r\n X: y\r\n\r\n", _DATA + b"0\r\nX : y\r\n\r\n",
            _DATA + b"0\r\nno colon\r\n\r\n",
            _DATA + b"0\r\nX: \x00\r\n\r\n", _DATA + b"0\r\nContent-Length: 2\r\n\r\n",
        )
    ),
    Case("a megabyte of chunk extension",
         chunked(b"2;" + b"a" * (1 << 20) + b"\r\n{}\r\n" + _LAST)),
    Case("chunks that are mostly framing",
         chunked((b"1;" + b"a" * 1000 + b"\r\n{\r\n") * 200 + _LAST)),
    Case("a megabyte of trailers", chunked(_DATA + b"0\r\n" + b"A: b\r\n" * 200_000 + b"\r\n")),
    Case("a chunk size with a megabyte of zeros",
         chunked(b"0" * (1 << 20) + b"2\r\n{}\r\n" + _LAST)),
    Case("no last chunk", chunked(_DATA), ends=True),
    Case("half of a last chunk", chunked(_DATA + b"0\r\n"), ends=True),
    Case("a chunk size with a few zeros", chunked(b"00002\r\n{}\r\n" + _LAST), "either"),
    Case("a chunk extension", chunked(b"2;name=value\r\n{}\r\n" + _LAST), "accept",
         lacks=(b"name",)),
    Case("a quoted chunk extension", chunked(b'2;a="b;c"\r\n{}\r\n' + _LAST), "either",
         lacks=(b"b;c",)),
    Case("a trailer", chunked(_DATA + b"0\r\nX-Trailer: y\r\n\r\n"), "accept",
         lacks=(b"x-trailer",)),
    Case("a trailer with a key", chunked(_DATA + b"0\r\nAuthorization: Bearer sk-y\r\n\r\n"),
         "accept",
         lacks=(b"sk-y",)),
    Case("a trailer with a host", chunked(_DATA + b"0\r\nHost: evil\r\n\r\n"), "either",
         lacks=(b"evil",)),
    Case("a trailer with a coding", chunked(_DATA + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
         "either"),
    Case("a chunk hides a request", chunked(b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + _LAST),
         "accept"),
    Case("capital hexadecimal", chunked(b"A\r\n{        }\r\n" + _LAST), "accept"),
    Case("a request behind the last chunk", chunked(_ONE) + HIDDEN, "accept", arriving=2),
]  # fmt: skip


_TWO = b"Content-Length: 2\r\n"

CONTROLS = [
    Case("GET", get(), "accept", keeps=True),
    Case("POST", sized(b"2"), "accept", keeps=True, has=(b"\r\n\r\n{}",)),
    Case("HEAD", get().replace(b"GET", b"HEAD"), "accept"),
    Case("DELETE", get().replace(b"GET", b"DELETE"), "accept"),
    Case("PUT", sized(b"2").replace(b"POST", b"PUT"), "accept"),
    Case("PATCH", sized(b"2").replace(b"POST", b"PATCH"), "accept"),
    Case("two requests at once", get() + get(), "accept", arriving=2, keeps=True),
    Case("an empty line between two requests", get() + b"\r\n" + get(), "accept", arriving=2),
    Case("HTTP/1.0", line(b"GET /v1/models HTTP/1.0"), "accept", has=(b" HTTP/1.1\r\n",)),
    Case("HTTP/1.0 with a body", line(b"POST /v1/files HTTP/1.0", HOST + KEY + _TWO, b"{}"),
         "accept"),
    Case("unknown fields", get(b"X-New: 1\r\nOpenAI-Beta: v2\r\n"), "accept",
         has=(b"X-New: 1\r\n", b"OpenAI-Beta: v2\r\n")),
    Case("a streamed body", post(b"Content-Length: 4\r\n", b"abcd").replace(b"application/json",
         b"x/y"),
         "accept"),
    Case("a Via of our own", get(b"Via: 1.0 evil\r\n"), "accept", has=(b"Via: 1.1 mirrorgate\r\n",),
         lacks=(b"evil",)),
    Case("a key in another field", get(b"Api-Key: sk-z\r\n"), "accept",
         has=(b"api-key: sk-z\r\n",)),
    Case("connection close", get(b"Connection: close\r\n"), "accept"),
]  # fmt: skip

HOP_BY_HOP = [
    Case("a field named by Connection", get(b"Connection: x-secret\r\nX-Secret: 1\r\n"), "accept",
         lacks=(b"x-secret",)),
    Case("fields named by two Connections",
         get(b"X-A: 1\r\nConnection: x-a\r\nX-B: 2\r\nConnection: close, X-B\r\n"), "accept",
         lacks=(b"x-a", b"x-b")),
    Case("Connection names our own fields", get(b"Connection: via, host, content-length\r\n"),
         "accept",
         has=(b"Via: 1.1 mirrorgate\r\n", b"Host: ")),
    Case("Connection names the framing",
         post(b"Connection: content-length\r\n" + _TWO, b"{}" + HIDDEN), "accept", arriving=2),
    Case("the usual fields of one connection",
         get(b"Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\n"
             b"Trailer: X\r\nProxy-Authorization: Basic eA==\r\nProxy-Foo: 1\r\n"), "accept",
         lacks=(b"keep-alive", b"te:", b"proxy-", b"trailer")),
    Case("a key named by Connection", get(b"Connection: authorization\r\n"), "accept",
         has=(b"Bearer sk-x\r\n",)),
    Case("empty options in Connection", get(b"Connection: ,, x-a ,\r\nX-A: 1\r\n"), "accept",
         lacks=(b"x-a",)),
]  # fmt: skip

IDENTITY = [
    Case(
        "addresses of clients",
        get(
            b"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n"
            b"CF-Connecting-IP: 10.0.0.1\r\n"
        ),
        "accept",
        lacks=(b"10.0.0.1",),
    ),
    Case(
        "addresses with underscores",
        get(b"X_Forwarded_For: 10.0.0.1\r\nX_Real-IP: 10.0.0.1\r\n"),
        "accept",
        lacks=(b"10.0.0.1",),
    ),
    Case(
        "a key with underscores",
        get(b"X_Api_Key: evil\r\nApi_Key: evil\r\n"),
        "accept",
        lacks=(b"evil",),
    ),
    Case(
        "another name with an underscore",
        get(b"OpenAI_Beta: 1\r\n"),
        "accept",
        has=(b"OpenAI_Beta: 1\r\n",),
    ),
    Case("cookies", get(b"Cookie: session=1\r\n"), "accept", lacks=(b"cookie",)),
    Case(
        "rewritten URLs",
        get(b"X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n"),
        "accept",
        lacks=(b"/admin",),
    ),
    Case("fields of ours", get(b"X-Mirrorgate-Mirror: b\r\n"), "accept", lacks=(b"x-mirrorgate",)),
]

_WS = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
_H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
_WS_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

UPGRADES = [
    Case("a WebSocket without a key", get(_WS)),
    *(
        Case(f"a WebSocket with key {key!r}", get(_WS + b"Sec-WebSocket-Key: " + key + b"\r\n"))
        for key in (b"", b"x", b"dGhlIHNhbXBsZQ==", b"dGhlIHNhbXBsZSBub25jZQ", b"=" * 24)
    ),
    Case("a WebSocket with two keys", get(_WS + _WS_KEY + _WS_KEY)),
    *(
        Case(f"a WebSocket of version {version!r}", get(_WS.replace(b"13", version) + _WS_KEY))
        for version in (b"", b"8", b"12", b"13, 8", b"013")
    ),
    Case("a WebSocket without a version",
         get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + _WS_KEY)),
    Case("a WebSocket with a body", get(_WS + _WS_KEY + _TWO) + b"{}"),
    Case("a WebSocket with a chunked body",
         get(_WS + _WS_KEY + b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n"),
    Case("a WebSocket that is refused", get(_WS + _WS_KEY), "accept",
         has=(b"Connection: Upgrade\r\nUpgrade: websocket\r\n",)),
    Case("a refused WebSocket hides a request", get(_WS + _WS_KEY) + HIDDEN, "accept"),
    Case("a WebSocket by POST", post(_WS + _WS_KEY + _TWO, b"{}"), "accept", lacks=(b"upgrade",)),
    Case("a WebSocket in HTTP/1.0", line(b"GET /v1/realtime HTTP/1.0", HOST + KEY + _WS + _WS_KEY),
         "accept", lacks=(b"upgrade",)),
    Case("h2c", get(_H2C),
         "accept", lacks=(b"upgrade", b"http2-settings")),
    Case("h2c with a body",
         post(_H2C + _TWO, b"{}"),
         "accept", lacks=(b"upgrade",), has=(b"\r\n\r\n{}",)),
    Case("several protocols", get(b"Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), "accept",
         lacks=(b"upgrade",)),
    Case("an upgrade that Connection does not name", get(b"Upgrade: websocket\r\n"), "accept",
         lacks=(b"upgrade",)),
    Case("an unknown expectation", get(b"Expect: 200-ok\r\n"), "either", lacks=(b"expect",)),
    Case("an expectation is not passed on", post(b"Expect: 100-continue\r\n" + _TWO, b"{}"),
         "accept",
         lacks=(b"expect",)),
]  # fmt: skip

TRUNCATED = [
    Case("half a request line", b"GET /v1/mod", ends=True),
    Case("half a head", get()[:-10], ends=True),
    Case("a head without its last line", get()[:-2], ends=True),
    Case("half a body", sized(b"200"), ends=True),
    Case("half a streamed body",
         post(b"Content-Length: 200\r\n", b"abc").replace(b"application/json", b"x/y"), ends=True),
    Case("nothing", b"", ends=True),
    Case("a head that takes too long", get()[:-10]),
    Case("a body that takes too long", sized(b"200")),
    Case("a good request and garbage", get() + b"\x00\x01\x02", "either"),
    Case("a good request and a bad one",
         get() + b"GET  /v1/files/hidden HTTP/1.1\r\n" + HOST + b"\r\n",
         "either"),
    Case("a refused request hides another", line(b"GET /v1/models HTTP/1.1", KEY) + HIDDEN),
    Case("more pipelined than is kept", get() * 40, "either", arriving=40),
]  # fmt: skip

FOREIGN = [
    Case("TLS", bytes.fromhex("16030100c4010000c00303") + bytes(range(185))),
    Case("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    Case("SOCKS4", b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00"),
    Case("SOCKS5", b"\x05\x01\x00"),
    Case("SMTP", b"EHLO test\r\n", ends=True),
    Case("PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get()),
    Case("PROXY protocol 2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12) + get()),
    Case("Redis", b"*1\r\n$4\r\nPING\r\n"),
    Case("a response", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    Case("random bytes", bytes((i * 97 + 13) % 256 for i in range(2000))),
]


GROUPS: dict[str, list[Case]] = {
    "controls": CONTROLS,
    "both framings": BOTH,
    "Content-Length": LENGTHS,
    "Transfer-Encoding": CODINGS,
    "chunks": CHUNKS,
    "request line": REQUEST_LINES,
    "target": TARGETS,
    "Host": HOSTS,
    "field": FIELDS,
    "hop-by-hop": HOP_BY_HOP,
    "identity": IDENTITY,
    "upgrade": UPGRADES,
    "truncated": TRUNCATED,
    "foreign": FOREIGN,
}
