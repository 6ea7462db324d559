"""One client connection: keep-alive, pipelining, old HTTP, other endpoints."""

from __future__ import annotations

import asyncio

import pytest

from monitor.health.snapshot import State
from router.upstream.upstream import IDLE_SECONDS
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import OK, ScriptedMirror, answering, get, post, read_request
from tests.testkit.wait import wait_until_async as wait_until


async def _echo_target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head, _ = await read_request(reader)
        target = head.split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))


async def test_requests_in_a_row_share_both_connections() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.connect()
        for _ in range(10):
            await client.send(post())
            assert (await client.response()).status == 200
        assert mirror.connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with ScriptedMirror(_echo_target) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(b"".join(get(f"/v1/models/{i}") for i in range(10)))
        bodies = [(await client.response()).body for _ in range(10)]
    assert bodies == [b"/v1/models/%d" % i for i in range(10)]


async def test_too_many_pipelined_requests_end_the_connection() -> None:
    async with ScriptedMirror(_echo_target) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get() * 40)
        await client.response()
        assert await client.at_end()
        assert plane.in_flight == 0


async def test_a_connection_closes_when_the_client_asks_for_it() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get("/v1/models", "Connection: close"))
        assert (await client.response())["connection"] == "close"
        assert await client.at_end()


async def test_an_old_client_gets_what_it_understands() -> None:
    async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        await reader.read()

    async with ScriptedMirror(chunked) as mirror, DataPlane([mirror.table()]) as plane:
        answer = await plane.ask(get(version="1.0"))
    assert "transfer-encoding" not in answer
    assert (answer.body, answer["connection"]) == (b"abc", "close")


async def test_an_old_client_may_keep_its_connection_where_the_length_is_known() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.connect()
        for _ in range(2):
            await client.send(get("/v1/models", "Connection: keep-alive", version="1.0"))
            assert (await client.response())["connection"] == "keep-alive"


async def test_head_is_answered_without_a_body_and_the_connection_lives_on() -> None:
    async def with_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        await reader.read()

    async with ScriptedMirror(with_length) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.connect()
        for _ in range(2):
            await client.send(get().replace(b"GET", b"HEAD"))
            answer = await client.response(to_head=True)
            assert (answer.status, answer["content-length"]) == (200, "5000")


async def test_bodiless_statuses_are_relayed_without_framing() -> None:
    for status in (204, 304):
        reply = b"HTTP/1.1 %d X\r\nETag: x\r\n\r\n" % status
        async with ScriptedMirror(answering(reply)) as mirror, DataPlane([mirror.table()]) as plane:
            client = await plane.connect()
            for _ in range(2):
                await client.send(get())
                answer = await client.response()
                assert (answer.status, answer["etag"]) == (status, "x")
                assert "content-length" not in answer
                assert "transfer-encoding" not in answer
            assert mirror.connections == 1


async def test_a_client_that_expects_100_is_invited_and_the_mirror_not_asked() -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        request = post("/v1/chat/completions", b'{"a":1}', "Expect: 100-continue")
        head, body = request[:-7], request[-7:]
        client = await plane.send(head)
        assert (await client.response()).status == 100
        await client.send(body)
        assert (await client.response()).status == 200
    assert b"expect" not in seen[0][0].lower()


async def test_a_refused_request_is_not_invited_to_send_its_body() -> None:
    async with DataPlane([]) as plane:
        head = post("/v1/files", b"", "Expect: 100-continue").replace(b"sk-x", b"")
        client = await plane.send(head.replace(b"Content-Length: 0", b"Content-Length: 999"))
        answer = await client.response()
        assert (answer.status, answer["connection"]) == (401, "close")
        assert await client.at_end()


async def test_interim_responses_reach_clients_that_know_them() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with (
        ScriptedMirror(answering(hints + OK)) as mirror,
        DataPlane([mirror.table()]) as plane,
    ):
        client = await plane.send(get())
        assert (await client.head())[0] == 103
        assert (await client.response()).status == 200
        assert (await plane.ask(get(version="1.0"))).status == 200


async def test_other_paths_are_answered_here_and_end_the_connection() -> None:
    async with DataPlane([], {"timeouts": {"header": 5}}) as plane:
        for path, status in (("/", 200), ("/healthz", 200), ("/readyz", 503), ("/nope", 404)):
            client = await plane.send(get(path))
            answer = await client.response()
            assert (answer.status, answer["connection"]) == (status, "close")
            assert await client.at_end()


async def test_other_paths_are_answered_to_clients_that_offer_http2() -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: A")
    async with DataPlane([]) as plane:
        for path, status in (("/healthz", 200), ("/nope", 404)):
            assert (await plane.ask(get(path, *offer))).status == status


async def test_empty_lines_before_an_offer_of_http2_are_no_trap() -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: A")
    async with DataPlane([]) as plane:
        client = await plane.connect()
        for piece in (b"\r\n", get("/healthz", *offer)):
            await client.send(piece)
            await asyncio.sleep(0)
        assert (await client.response()).status == 200


async def test_a_head_in_pieces_is_handed_over_whole() -> None:
    async with DataPlane([]) as plane:
        client = await plane.connect()
        for piece in (b"GET /hea", b"lthz HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"):
            await client.send(piece)
            await asyncio.sleep(0)
        assert (await client.response()).status == 200


async def test_another_path_after_a_forwarded_request_is_answered_too() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get())
        assert (await client.response()).status == 200
        await client.send(get("/healthz"))
        assert (await client.response()).status == 200


async def test_another_path_pipelined_behind_a_forwarded_one_ends_the_connection() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get() + get("/healthz"))
        assert (await client.response()).status == 200
        assert await client.at_end()


async def test_the_usual_slips_in_a_base_url_are_mended() -> None:
    async with ScriptedMirror(_echo_target) as mirror, DataPlane([mirror.table()]) as plane:
        for asked in ("/v1/v1/models", "//v1/models", "/models"):
            assert (await plane.ask(get(asked))).body == b"/v1/models"
        assert (await plane.ask(get("/chat/completions?a=1"))).body == b"/v1/chat/completions?a=1"


async def test_an_unknown_path_names_the_base_url() -> None:
    async with DataPlane([]) as plane:
        answer = await plane.ask(get("/v2/models"))
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert "http://test/v1" in answer.error["message"]


async def test_h2c_offers_are_declined_in_silence() -> None:
    seen: list[tuple[bytes, bytes]] = []
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.connect()
        for request in (get("/v1/models", *offer), post("/v1/chat/completions", b"{}", *offer)):
            await client.send(request)
            assert (await client.response()).status == 200
    assert not any(b"upgrade" in head.lower() for head, _ in seen)
    assert seen[1][1] == b"{}"


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


async def test_a_websocket_becomes_a_tunnel_both_ways() -> None:
    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        # The answer to RFC 6455's example key.
        writer.write(SWITCH + b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello")
        while data := await reader.read(100):
            writer.write(data.upper())

    async with ScriptedMirror(echoes) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get("/v1/realtime?model=x", *UPGRADE) + b"early")
        status, _, fields = await client.head()
        assert status == 101
        assert ("upgrade", "websocket") in fields
        assert sorted(await client.reader.readexactly(10)) == sorted(b"helloEARLY")
        await client.send(b"more")
        assert await client.reader.readexactly(4) == b"MORE"
        assert plane.in_flight == 1
        await client.close()
        await wait_until(lambda: plane.in_flight == 0, what="the tunnel has ended")
        assert [end.outcome for end in plane.finished] == ["success"]
        assert not plane.context.connections


async def test_a_refused_websocket_is_relayed_as_the_answer_it_is() -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"
    async with ScriptedMirror(answering(refusal)) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(get("/v1/realtime", *UPGRADE))
        answer = await client.response()
        assert (answer.status, answer.body) == (401, b"{}")
        assert await client.at_end()


@pytest.mark.parametrize("version", ["8", "12", "013", "13, 8", ""])
async def test_a_websocket_of_another_version_is_told_which_one_is_spoken(version: str) -> None:
    seen: list[tuple[bytes, bytes]] = []
    async with ScriptedMirror(answering(OK, seen)) as mirror, DataPlane([mirror.table()]) as plane:
        offer = (*UPGRADE[:2], f"Sec-WebSocket-Version: {version}", KEY)
        answer = await plane.ask(get("/v1/realtime", *offer))
        assert (answer.status, answer.error["code"]) == (426, "unsupported_websocket_version")
        assert answer["sec-websocket-version"] == "13"
        assert answer["upgrade"] == "websocket"
        for bad in (get("/v1/realtime", *UPGRADE[:3]), get("/v1/realtime", *UPGRADE[:3], KEY[:-4])):
            answer = await plane.ask(bad)
            assert (answer.status, answer.error["code"]) == (400, "malformed_request")
    assert not seen


async def test_a_key_in_a_subprotocol_is_exchanged_there() -> None:
    seen: list[tuple[bytes, bytes]] = []
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"
    protocols = "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-me"
    request = get("/v1/realtime", *UPGRADE, protocols).replace(
        b"Authorization: Bearer sk-x", b"A: b"
    )
    async with (
        ScriptedMirror(answering(refusal, seen)) as mirror,
        DataPlane([mirror.table()]) as plane,
    ):
        await plane.ask(request)
    assert b"sec-websocket-protocol: realtime, openai-insecure-api-key.sk-me\r\n" in seen[0][0]


@loop_test
async def test_connections_to_a_mirror_without_traffic_are_closed_after_a_while() -> None:
    clock = ManualClock(running=True)
    async with ScriptedMirror(answering(OK), "a") as a, ScriptedMirror(answering(OK), "b") as b:
        async with DataPlane([a.table(), b.table()], wheel=clock.wheel) as plane:
            plane.health(b=State.down, a=State.up)
            assert (await plane.ask(get())).status == 200
            plane.health(b=State.up, a=State.up)
            upload = post("/v1/files", b"x" * 10).replace(b"application/json", b"text/plain")
            busy = await plane.send(upload[:-1])
            await wait_until(lambda: a.connections + b.connections == 2, what="both are connected")
            clock.advance(IDLE_SECONDS - 2)
            assert a.closed == 0
            clock.advance(4)
            await wait_until(lambda: a.closed == 1, what="the idle connection is closed")
            await busy.send(b"x")
            assert (await busy.response()).status == 200
