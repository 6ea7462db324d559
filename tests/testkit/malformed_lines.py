"""Request lines, targets, hosts and field lines."""

from __future__ import annotations

from tests.testkit.malformed_case import HOST, KEY, Case, get, line


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
