"""Visitors who ask too much, read too slowly or hold connections, over real sockets."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from dashboard.admin.app import build_admin_app
from dashboard.common import connections
from dashboard.common.connections import serve_on_unix_socket
from dashboard.public.app import build_public_app, public_gate
from dashboard.public.live import LIVE
from monitor.common.bans import Ban
from monitor.health.snapshot import State
from tests.testkit.dashboard import BROWSER, NOW, FakeCommands, FakeSources, listening
from tests.testkit.ports import HOST
from tests.testkit.wait import wait_until_async

LIMIT = 20.0
"""Seconds for what must happen; the event ends the wait."""
GET = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def sources() -> FakeSources:
    return FakeSources()


@pytest.fixture
def moment() -> list[float]:
    """The clock of the budget, which stands still."""
    return [1000.0]


@pytest.fixture
async def port(sources, moment):
    app = build_public_app(sources, lambda: NOW, monotonic=lambda: moment[0])
    async with listening(app, public_gate(app)) as port:
        yield port


def limited(sources: FakeSources, each: float = 10.0, total: float = 400.0) -> None:
    sources.dashboard_ = replace(
        sources.dashboard_, requests_per_second=each, total_requests_per_second=total
    )


async def connect(
    port: int, source: str = HOST
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, port, local_addr=(source, 0))


async def read(reader: asyncio.StreamReader) -> bytes:
    """All until the end, whichever way it comes."""
    try:
        return await asyncio.wait_for(reader.read(), LIMIT)
    except ConnectionError:
        return b"reset"


async def exchange(port: int, sent: bytes, source: str = HOST) -> tuple[bytes, bytes]:
    """Head and body of the one answer on a connection that the server ends."""
    reader, writer = await connect(port, source)
    writer.write(sent)
    head, _, body = (await read(reader)).partition(b"\r\n\r\n")
    writer.close()
    return head, body


def request(path: str, **fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *(f"{n}: {v}" for n, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def spend(port: int, source: str, times: int) -> list[int]:
    """Statuses of so many requests, one after the other."""
    connector = TCPConnector(local_addr=(source, 0))
    async with ClientSession(f"http://{HOST}:{port}", connector=connector) as client:
        told = []
        for _ in range(times):
            async with client.get("/api/v1/health") as response:
                told.append(response.status)
        return told


@pytest.mark.parametrize(
    ("path", "accept", "kind", "said"),
    [
        ("/", BROWSER["Accept"], "text/html", "Too many requests"),
        ("/banned", "*/*", "text/plain", "Too many pages"),
        ("/api/v1/nodes", BROWSER["Accept"], "application/json", "Too many pages"),
        ("/feed.atom", "*/*", "text/plain", "Too many pages"),
        ("/static/style.css", "*/*", "text/plain", "Too many pages"),
        ("/nowhere", BROWSER["Accept"], "text/html", "Too many requests"),
    ],
)
async def test_a_visitor_over_his_budget_is_told_when_to_come_back(
    sources, moment, port, path, accept, kind, said
):
    limited(sources, each=0.5)
    asked = request(path, Accept=accept)
    assert await spend(port, "127.0.0.2", 3) == [200, 200, 200]
    kept, kept_writer = await connect(port, "127.0.0.3")
    kept_writer.write(GET * 3)
    await asyncio.wait_for(kept.readuntil(b"HTTP/1.1 200"), LIMIT)
    kept_writer.write(asked)
    on_kept = (await read(kept)).split(b"HTTP/1.1 429", 1)[1]
    kept_writer.close()
    for told in (on_kept, b"\r\n\r\n".join(await exchange(port, asked, "127.0.0.2"))):
        head, _, body = told.partition(b"\r\n\r\n")
        fields = head.decode().lower()
        assert "retry-after: 2\r\n" in f"{fields}\r\n"
        assert "cache-control: no-store" in fields
        assert "content-security-policy" in fields
        assert f"content-type: {kind}" in fields
        assert said in body.decode()
        assert ("access-control-allow-origin" in fields) == path.startswith(("/api", "/feed"))
        if kind == "application/json":
            assert json.loads(body)["error"]["message"]
    moment[0] += 2
    assert await spend(port, "127.0.0.2", 1) == [200]


async def test_all_visitors_together_have_a_budget(sources, moment, port):
    limited(sources, total=5)
    for number in range(2, 7):
        assert await spend(port, f"127.0.0.{number}", 1) == [200]
    head, body = await exchange(port, request("/", Accept="text/html"), "127.0.0.8")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"Retry-After: 1" in head
    assert "the API itself is not affected" in body.decode()
    moment[0] += 1
    assert await spend(port, "127.0.0.8", 1) == [200]


async def test_malformed_requests_count_against_the_visitor_and_are_not_logged(
    sources, port, caplog
):
    limited(sources, each=0.5)
    for status in (b"400", b"400", b"400", b"429"):
        head, _ = await exchange(port, b"GET / HTTP/1.1\r\nno field\r\n\r\n", "127.0.0.2")
        assert head.split()[1] == status
    assert not caplog.records


async def test_head_of_a_refused_visitor_has_no_body(sources, port):
    limited(sources, each=0.5)
    await spend(port, "127.0.0.2", 3)
    head, body = await exchange(port, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "127.0.0.2")
    assert b" 429 " in head
    assert body == b""


async def test_clients_of_a_trusted_proxy_have_a_budget_each(sources, port):
    limited(sources, each=0.5)
    for client in ("192.0.2.1", "192.0.2.2"):
        for status in (b"200", b"200", b"200", b"429"):
            asked = request("/robots.txt", x=client, Connection="close")
            head, _ = await exchange(port, asked, "127.0.0.9")
            assert head.split()[1] == status


@pytest.mark.parametrize("most", [None, 5])
async def test_one_visitor_cannot_hold_many_connections(sources, port, most):
    """Whatever its rate may be; `most`: None is the default of the setting."""
    if most is not None:
        sources.dashboard_ = replace(sources.dashboard_, max_connections_per_visitor=most)
    limited(sources, each=0, total=0)
    held = [await connect(port, "127.0.0.2") for _ in range(most or 32)]
    head, _ = await exchange(port, GET, "127.0.0.2")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert await spend(port, "127.0.0.3", 1) == [200]
    held.pop()[1].close()
    await wait_until_async(lambda: _admitted(port, "127.0.0.2"), LIMIT)
    for _, writer in held:
        writer.close()


@pytest.mark.parametrize(("connections", "live"), [(32, 8), (8, 2), (2, 1), (0, 12)])
async def test_a_quarter_of_a_visitors_connections_may_follow_changes(
    sources, port, connections, live
):
    sources.dashboard_ = replace(sources.dashboard_, max_connections_per_visitor=connections)
    limited(sources, each=0, total=0)
    async with AsyncExitStack() as stack:
        for address in ("127.0.0.2", "127.0.0.3"):
            for _ in range(live):
                reader, writer = await connect(port, address)
                stack.callback(writer.close)
                writer.write(request("/events"))
                assert b" 200 " in await asyncio.wait_for(reader.readline(), LIMIT)
        if connections:
            head, _ = await exchange(port, request("/events", Connection="close"), "127.0.0.2")
            assert b" 503 " in head


async def _admitted(port: int, source: str) -> bool:
    return await spend(port, source, 1) == [200]


async def test_when_all_connections_are_taken_the_one_idle_for_longest_goes(monkeypatch, sources):
    app = build_public_app(sources, lambda: NOW)
    gate = public_gate(app)
    monkeypatch.setattr(connections.Connections.__init__, "__defaults__", (None, 8))
    async with listening(app, gate) as port:
        held = [await connect(port, f"127.0.0.{number}") for number in range(2, 10)]
        assert await spend(port, "127.0.0.20", 1) == [200]
        assert await read(held[0][0]) in (b"", b"reset")
        held[-1][1].write(GET)
        assert b"200" in await asyncio.wait_for(held[-1][0].readline(), LIMIT)
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
async def test_a_visitor_who_sends_no_whole_request_is_cut(monkeypatch, port, sent):
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.2)
    reader, writer = await connect(port)
    writer.write(sent)
    dripping = asyncio.create_task(_drip(writer)) if sent else None
    assert await read(reader) in (b"", b"reset")
    if dripping is not None:
        dripping.cancel()
    writer.close()


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def test_a_visitor_who_does_not_read_answers_is_cut(monkeypatch, sources, port):
    monkeypatch.setattr(connections, "NEXT_REQUEST", 0.5)
    limited(sources, each=0, total=0)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (HOST, port))
        asked = request("/static/style.css") * 20_000  # more answers than buffers hold
        sending = asyncio.create_task(loop.sock_sendall(client, asked))

        def ended() -> bool:
            return bool(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) or _is_reset(client)

        await wait_until_async(ended, LIMIT, "the server to reset the connection")
        sending.cancel()


def _is_reset(client: socket.socket) -> bool:
    """True if the peer has reset it, without reading anything (tcp(7): TCP_INFO, its state)."""
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 7


async def test_a_slow_reader_of_a_refusal_is_not_waited_for(monkeypatch, sources, port):
    monkeypatch.setattr(connections, "REFUSED", 0.2)
    limited(sources, each=0.5)
    await spend(port, "127.0.0.2", 3)
    reader, writer = await connect(port, "127.0.0.2")
    assert await read(reader) in (b"", b"reset")
    writer.close()


async def test_the_metrics_listener_has_the_same_bounds(monkeypatch, sources):
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.2)
    app = build_admin_app(sources, FakeCommands(), trusted=False)
    async with listening(app, None) as port:
        reader, writer = await connect(port)
        writer.write(b"GET /metr")
        assert await read(reader) in (b"", b"reset")
        writer.close()
        asked = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        for _ in range(100):
            head, _ = await exchange(port, asked)
            assert head.startswith(b"HTTP/1.1 200")


async def test_commands_on_the_socket_have_no_budget(tmp_path: Path, sources):
    app = build_admin_app(sources, FakeCommands(), trusted=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        async with AsyncExitStack() as stack:
            await serve_on_unix_socket(app, sock, stack)
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(b"GET /api/admin/bans HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200" in (await read(reader)).partition(b"\r\n")[0]
            writer.close()


async def test_many_who_come_at_once_are_all_answered(sources, port):
    limited(sources, total=0)
    asked = request("/api/v1/health", Connection="close")
    told = await asyncio.gather(*(exchange(port, asked, f"127.0.1.{n}") for n in range(1, 101)))
    assert {head.split()[1] for head, _ in told} == {b"200"}


async def test_a_visitor_by_ipv6_is_told_of_his_address_and_of_the_network_that_is_banned(
    sources, port
):
    """Behind a proxy, so that the address need not be one of this machine."""
    asked = {"path": "/banned/me?lang=en", "x": "2001:db8:1:2::5", "Connection": "close"}
    _, page = await exchange(port, request(**asked), "127.0.0.9")
    assert b"Your address 2001:db8:1:2::5 is not banned" in page
    sources.banned_visitors = ("2001:db8:1:2::5",)
    sources.bans_ = (Ban("b1", "2001:db8:1:2::/64", NOW, None, "operator", "operator"),)
    _, page = await exchange(port, request(**asked), "127.0.0.9")
    assert b"2001:db8:1:2::5 is banned" in page
    assert b"2001:db8:1:2::/64</dd>" in page
    _, page = await exchange(
        port, request(**{**asked, "path": "/?lang=en", **BROWSER}), "127.0.0.9"
    )
    assert b"Your address is banned (id b1)" in page


async def test_readers_of_events_who_read_nothing_are_left_behind(monkeypatch, sources, moment):
    """Three addresses, none of which reads; a good reader goes on, and their places are free."""
    monkeypatch.setattr("dashboard.public.live.WRITE_WITHIN", 0.2)
    monkeypatch.setattr("dashboard.public.live.LOOK_EVERY", 0.001)
    limited(sources, each=0, total=0)
    clock = [NOW]
    app = build_public_app(sources, lambda: clock[0])
    async with listening(app, public_gate(app)) as port, AsyncExitStack() as stack:
        for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.bind((address, 0))
            sock.setblocking(False)
            stack.callback(sock.close)
            await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
            await asyncio.get_running_loop().sock_sendall(sock, request("/events"))
        good, writer = await connect(port, "127.0.0.5")
        stack.callback(writer.close)
        writer.write(request("/events"))
        live = app[LIVE]
        await wait_until_async(lambda: len(live._readers) == 4, LIMIT)
        rounds = 0
        while len(live._readers) > 1:
            states = (State.up, State.down)[rounds % 2]
            sources.health = tuple(replace(each, state=states) for each in sources.health)
            rounds, clock[0] = rounds + 1, clock[0] + 1
            told = await asyncio.wait_for(good.readuntil(b"event: parts"), LIMIT)
            assert told
            assert rounds < 300
        assert {reader.visitor for reader in live._readers} == {b"127.0.0.5"}
