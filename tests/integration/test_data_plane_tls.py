"""TLS to mirrors: nothing is sent before the certificate has been verified for the name."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.testkit.blocking_peers import FIN, Peer, PeerListener
from tests.testkit.certs import Authority
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import OK, get, read_request
from tests.testkit.wait import wait_until_async as wait_until


class TlsMirror:
    """A mirror with a certificate, that remembers whether anything was sent to it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.requests = 0

    async def __aenter__(self) -> TlsMirror:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await read_request(reader)
            self.requests += 1
            writer.write(OK)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    def table(self, ca_file: Path) -> dict[str, object]:
        return {
            "id": "a",
            "url": f"https://api.mirror.test:{self.port}",
            "addresses": ["127.0.0.1"],
            "ca_file": str(ca_file),
        }


async def test_a_mirror_with_its_own_name_and_a_known_issuer_is_served_from(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.issue("api.mirror.test", local=False).server_context()
    async with TlsMirror(context) as mirror, DataPlane([mirror.table(authority.ca_file)]) as plane:
        assert (await plane.ask(get())).status == 200
        assert mirror.requests == 1


@pytest.mark.parametrize("wrong", ["name", "time", "issuer"])
async def test_a_certificate_that_does_not_verify_gets_no_request(
    tmp_path: Path, wrong: str
) -> None:
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    leaf = {
        "name": lambda: ours.issue("other.mirror.test", local=False),
        "time": lambda: ours.issue("api.mirror.test", local=False, not_after=yesterday),
        "issuer": lambda: theirs.issue("api.mirror.test", local=False),
    }[wrong]()
    async with TlsMirror(leaf.server_context()) as mirror:
        async with DataPlane([mirror.table(ours.ca_file)]) as plane:
            answer = await plane.ask(get())
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert "certificate" in answer.error["message"]
            assert plane.totals.get("mirrorgate_attempts", ("a", "tls")) == 1
        assert mirror.requests == 0


@loop_test
async def test_a_body_that_ends_with_its_tls_connection_arrives_whole_at_a_slow_client(
    tmp_path: Path,
) -> None:
    authority, body = Authority(tmp_path), bytes(range(256)) * 20_000
    with PeerListener(authority.issue().server_context()) as listening:
        async with DataPlane([listening.table(str(authority.ca_file))]) as plane:
            accepted = asyncio.create_task(asyncio.to_thread(listening.accepted))
            client = await asyncio.to_thread(Peer.connected, plane.port, None, 16 << 10)
            await asyncio.to_thread(client.send, get(version="1.0"))
            mirror = await accepted
            await asyncio.to_thread(mirror.head)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
            sending = asyncio.create_task(asyncio.to_thread(mirror.send, head + body))
            (exchange,) = plane.context.exchanges
            upstream: Any = exchange._response._connection.transport  # type: ignore[attr-defined]
            await wait_until(lambda: not upstream.is_reading(), what="back-pressure")
            assert b" 200 " in await asyncio.to_thread(client.head)
            reading = asyncio.create_task(asyncio.to_thread(client.rest))
            await sending
            await asyncio.to_thread(mirror.finish)
            got, how = await reading
            assert (len(got), got == body, how) == (len(body), True, FIN)
            client.close()
            mirror.close()
