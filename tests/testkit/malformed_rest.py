"""Whole requests, fields of one connection, identity, upgrades, truncation, foreign protocols."""

from __future__ import annotations

from tests.testkit.malformed_case import HIDDEN, HOST, KEY, Case, get, line, post, sized

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
