"""Connections that begin with the PROXY protocol, plain and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvloop

from router.forwarding.client_connection import ClientConnection
from router.process import proxied_listener as proxied_module
from router.process.listener import Acceptor, bind
from tests.testkit.certs import Authority
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import OK, PATIENCE, RawClient, ScriptedMirror, answering, get
from tests.testkit.wait import wait_until_async

V1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\1\x12\x67\0\x50"


@asynccontextmanager
async def proxied(
    tls: ssl.SSLContext | None = None, patience: float | None = 10.0, **router: object
) -> AsyncIterator[tuple[DataPlane, int]]:
    """A data plane whose clients come through a proxy, and its port."""
    async with (
        ScriptedMirror(answering(OK)) as mirror,
        DataPlane([mirror.table()], router) as plane,
    ):
        listen = bind("127.0.0.1:0", "router.listen")
        acceptor = Acceptor(
            listen, lambda source="": ClientConnection(plane.context, source), tls, patience
        )
        await acceptor.resume()
        try:
            yield plane, listen.getsockname()[1]
        finally:
            acceptor.stop()


async def _ask(port: int, *pieces: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer)
    for piece in pieces:
        await client.send(piece)
        await asyncio.sleep(0)
    try:
        return (await client.response()).status
    finally:
        await client.close()


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_address_in_the_header_is_the_client(header: bytes):
    async with proxied() as (plane, port):
        assert await _ask(port, header + get()) == 200
        assert await _ask(port, *(bytes([byte]) for byte in header), get()) == 200
        assert [end.client for end in plane.finished] == ["203.0.113.7"] * 2


async def test_a_header_is_believed_of_trusted_proxies_alone_where_there_are_any():
    async with proxied(trusted_proxies=["192.0.2.0/24"]) as (plane, port):
        assert await _ask(port, V1 + get()) == 200
        assert [end.client for end in plane.finished] == ["127.0.0.1"]
    async with proxied(trusted_proxies=["127.0.0.1"]) as (plane, port):
        assert await _ask(port, V1 + get()) == 200
        assert [end.client for end in plane.finished] == ["203.0.113.7"]


async def test_without_a_header_there_is_no_answer() -> None:
    async with proxied() as (plane, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()
        assert plane.finished == []


async def test_a_header_that_does_not_come_is_not_awaited_for_ever():
    async with proxied(patience=0.05) as (plane, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(V1[:10])
        assert await reader.read() == b""
        writer.close()
        assert len(plane.context.connections) == 0


async def test_tls_begins_behind_the_header(authority: Authority):
    async with proxied(authority.issue("localhost").server_context()) as (plane, port):
        loop = asyncio.get_running_loop()
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        await loop.sock_sendall(sock, V1)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=authority.client_context(), server_hostname="localhost"
        )
        client = RawClient(reader, writer)
        await client.send(get())
        assert (await client.response()).status == 200
        await client.close()
        assert [end.client for end in plane.finished] == ["203.0.113.7"]


@pytest.mark.parametrize("what", ["header", "handshake"])
async def test_silent_connections_of_one_address_do_not_keep_others_out(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, what: str
):
    monkeypatch.setattr(proxied_module, "handshake_limit", lambda: 5)
    tls = authority.issue("localhost").server_context() if what == "handshake" else None
    async with proxied(tls, 10.0 if tls is None else None) as (_, port), AsyncExitStack() as stack:

        async def open_one(source: str) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(source, 0)
            )
            stack.callback(writer.close)
            return reader

        modest = await open_one("127.0.0.3")
        greedy = [await open_one("127.0.0.2") for _ in range(8)]
        for reader in greedy[:4]:
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        if tls is None:
            assert await _ask(port, V1 + get()) == 200
        else:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=authority.client_context(), server_hostname="localhost"
            )
            client = RawClient(reader, writer)
            await client.send(get())
            assert (await client.response()).status == 200
            await client.close()
        assert not modest.at_eof()
        assert not greedy[-1].at_eof()


async def test_it_can_begin_and_end_with_a_reload():
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([mirror.table()]) as plane:
        listen = bind("127.0.0.1:0", "router.listen")
        port = listen.getsockname()[1]
        acceptor = Acceptor(listen, lambda source="": ClientConnection(plane.context, source), None)
        await acceptor.resume()
        assert await _ask(port, get()) == 200
        acceptor.expect_headers(5.0)
        await wait_until_async(lambda: acceptor._server is not None)
        assert await _ask(port, V1 + get()) == 200
        acceptor.expect_headers(None)
        await wait_until_async(lambda: acceptor._server is not None)
        assert await _ask(port, get()) == 200
        acceptor.stop()
        assert [end.client for end in plane.finished] == ["127.0.0.1", "203.0.113.7", "127.0.0.1"]


def test_it_is_the_same_on_uvloop(authority: Authority, monkeypatch: pytest.MonkeyPatch):
    async def all_of_it() -> None:
        await test_the_address_in_the_header_is_the_client(V2)
        await test_without_a_header_there_is_no_answer()
        await test_tls_begins_behind_the_header(authority)
        for what in ("header", "handshake"):
            await test_silent_connections_of_one_address_do_not_keep_others_out(
                authority, monkeypatch, what
            )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_it())
