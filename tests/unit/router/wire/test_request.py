"""Requests read from bytes: heads, bodies, bounds. The malformed ones are held by a table of their
own, on real sockets.
"""

from __future__ import annotations

import pytest

from router.wire.request import MAX_HEAD, Leave, Phase, Refusal, RequestHead
from tests.cases.malformed_requests import HIDDEN, chunked, get, line, post, sized
from tests.testkit.reference_readers import Requests


def _refusal(*pieces: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        Requests().feed(*pieces)
    return caught.value


def test_a_head_tells_what_is_asked_and_what_passes_on() -> None:
    requests = Requests()
    requests.feed(post(b"Content-Length: 2\r\nX-A: b\r\nTE: trailers\r\n", b"{}"))
    head = requests.head
    assert (head.method, head.target) == (b"POST", b"/v1/chat/completions")
    assert b"".join(head.fields) == b"Content-Type: application/json\r\nX-A: b\r\n"
    assert head.look[b"authorization"] == b"Bearer sk-x"
    assert (head.length, head.chunked, head.has_body) == (2, False, True)
    assert (head.http10, head.keep_alive, head.websocket) == (False, True, False)
    assert [kind for kind, _ in requests.calls] == ["head", "body", "end"]


def test_a_chunked_body_arrives_without_its_framing() -> None:
    calls = Requests().feed(chunked(b"2;a=b\r\n{ \r\n1\r\n}\r\n0\r\nX-T: y\r\n\r\n"))
    assert [value for kind, value in calls if kind == "body"] == [b"{ }"]


@pytest.mark.parametrize(
    ("first", "fields", "keeps"),
    [
        (b"GET /v1/x HTTP/1.1", b"", True),
        (b"GET /v1/x HTTP/1.1", b"Connection: close\r\n", False),
        (b"GET /v1/x HTTP/1.1", b"Connection: x, Close\r\n", False),
        (b"GET /v1/x HTTP/1.0", b"", False),
        (b"GET /v1/x HTTP/1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_persistence_follows_version_and_connection_field(
    first: bytes, fields: bytes, keeps: bool
) -> None:
    requests = Requests()
    requests.feed(line(first, b"Host: a\r\n" + fields))
    assert requests.head.keep_alive == keeps


def test_pipelined_requests_come_one_after_the_other() -> None:
    requests = Requests()
    requests.feed(get() + sized(b"2") + get())
    assert [head.method for head in requests.heads] == [b"GET", b"POST", b"GET"]
    assert requests.reader.phase is Phase.between


def test_bytes_behind_a_websocket_request_are_no_request() -> None:
    requests = Requests()
    fields = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    calls = requests.feed(get(fields + key) + HIDDEN)
    assert requests.head.websocket
    assert requests.head.websocket_key == b"dGhlIHNhbXBsZSBub25jZQ=="
    assert calls[-1] == ("tunnel", HIDDEN)
    assert len(requests.heads) == 1


def test_another_upgrade_is_read_as_if_it_had_not_been_offered() -> None:
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"
    calls = Requests().feed(post(fields + b"Content-Length: 2\r\n", b"{}"))
    assert [kind for kind, _ in calls] == ["head", "body", "end"]
    assert calls[1] == ("body", b"{}")


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"


def test_an_invalid_request_behind_another_upgrade_is_refused() -> None:
    assert _refusal(get(H2C) + b"GET /v1/models HTTP/1.1\r\n\r\n").status == 400
    assert _refusal(get(H2C) + b"GET /v1/models HTTP/2.0\r\n\r\n").status == 400
    assert _refusal(get(H2C.replace(b"Connection", b"Host: b\r\nConnection"))).status == 400


def test_a_head_that_begins_behind_another_upgrade_goes_on_in_the_next_read() -> None:
    requests = Requests()
    following = get(b"X-A: b\r\n")
    requests.feed(get(H2C) + following[:20], following[20:])
    assert [head.target for head in requests.heads] == [b"/v1/models"] * 2


def test_a_sink_that_gives_the_connection_away_at_another_upgrade_is_obeyed() -> None:
    class Giving(Requests):
        def request_head(self, head: RequestHead) -> None:
            self.calls.append(("given", self.reader.raw_head()))
            raise Leave

    assert Giving().feed(get(H2C)) == [("given", get(H2C.partition(b"\r\n")[0] + b"\r\n"))]


def test_another_upgrade_behind_a_request_in_the_same_read_is_refused() -> None:
    upgrade = get(b"Connection: Upgrade\r\nUpgrade: h2c\r\n")
    assert _refusal(get() + upgrade).status == 400


@pytest.mark.parametrize("field", ["Authorization", "Host", "Content-Type", "Expect", "X-Api-Key"])
def test_a_field_of_one_value_may_not_stand_twice(field: str) -> None:
    twice = f"{field}: a\r\n".encode() * 2
    assert field.lower() in _refusal(line(b"GET /v1/x HTTP/1.1", twice)).message


def test_a_field_that_is_a_list_may_stand_twice() -> None:
    requests = Requests()
    requests.feed(get(b"Accept-Encoding: a\r\nAccept-Encoding: b\r\n"))
    assert requests.head.look[b"accept-encoding"] == b"a, b"
    assert b"".join(requests.head.fields) == b"Accept-Encoding: a\r\nAccept-Encoding: b\r\n"


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([get(b"".join(b"X-%d: y\r\n" % i for i in range(200)))], 431),
        ([get(b"X: " + b"y" * 20_000 + b"\r\n")], 431),
        ([get(target=b"/v1/" + b"a" * 9000)], 431),
        (
            [b"GET /v1/x HTTP/1.1\r\n"] + [b"X: " + b"y" * 8000 + b"\r\n"] * (MAX_HEAD // 8000 + 1),
            431,
        ),
        ([get().replace(b"GET ", b"GET  ")], 400),
        ([b"\r\n" * 5] * 4, 400),
        ([sized(b"1" + b"0" * 18)], 400),
        ([chunked(b"1;" + b"a" * 30_000 + b"\r\n{\r\n")] + [b"1;" + b"a" * 30_000] * 3, 400),
    ],
)
def test_requests_beyond_the_bounds_are_refused(pieces: list[bytes], status: int) -> None:
    assert _refusal(*pieces).status == status


def test_a_few_empty_lines_between_requests_are_ignored() -> None:
    requests = Requests()
    requests.feed(*([b"\r\n\r\n", get(), b"\r\n"] * 20))
    assert len(requests.heads) == 20


def test_a_request_line_in_pieces_is_looked_at_whole() -> None:
    data = get()
    assert len(Requests().feed(*[data[i : i + 1] for i in range(len(data))])) == 2
    assert _refusal(b"GE", b"T ", b" /v1/models HTTP/1.1\r\nHost: a\r\n\r\n").status == 400


def test_a_sink_may_leave_and_take_the_raw_head_with_it() -> None:
    class Leaving(Requests):
        def request_head(self, head: RequestHead) -> None:
            self.raw = self.reader.raw_head()
            raise Leave

    requests = Leaving()
    requests.feed(get()[:10], get()[10:] + b"rest")
    assert requests.raw == get() + b"rest"


def test_a_refusal_of_the_sink_comes_through() -> None:
    class Refusing(Requests):
        def request_head(self, head: RequestHead) -> None:
            raise Refusal(403, "client_banned", "no")

    with pytest.raises(Refusal, match="no") as caught:
        Refusing().feed(get())
    assert caught.value.status == 403


def test_a_websocket_connection_never_returns_to_http() -> None:
    requests = Requests()
    head = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    requests.feed(head, b"GET /v1/x", b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [kind for kind, _ in requests.calls] == ["head", "end", "tunnel"]
    assert requests.calls[-1][1] == b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
