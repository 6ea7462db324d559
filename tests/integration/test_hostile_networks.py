"""Names that lie, TLS that is not what it should be, mirrors that come and go, redirects: the key
goes nowhere else, and the next request is none the worse.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from monitor.health.snapshot import State
from tests.testkit.certs import Authority
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.raw_http import OK, ScriptedMirror, answering, get, post, read_request

NAME = "api.mirror.test"
PUBLIC = "93.184.216.34"
PRIVATE = {
    "loopback": "127.0.0.1",
    "private": "10.1.2.3",
    "link-local": "169.254.169.254",
    "unique local": "fd00::8",
    "mapped": "::ffff:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1",
    "loopback of IPv6": "::1",
    "unspecified": "0.0.0.0",
    "shared": "100.64.0.1",
}


class Network:
    """Name server of a data plane, and internet: public addresses lead to the loopback one."""

    def __init__(self, mirror: ScriptedMirror, plane: DataPlane) -> None:
        self._port = mirror.port
        self.answers: list[str] = []
        self.dialled: list[str] = []
        loop = cast(Any, asyncio.get_running_loop())
        self._connect: Callable[..., Coroutine[Any, Any, None]] = loop.sock_connect
        loop.sock_connect = self._dial
        plane.context.opener.resolver = self

    async def addresses(self, hostname: str, timeout: float) -> list[str]:
        assert hostname == NAME
        if not self.answers:
            raise socket.gaierror(socket.EAI_NODATA, "no address")
        return self.answers

    async def _dial(self, sock: socket.socket, address: tuple[str, int]) -> None:
        if address[1] == self._port:
            self.dialled.append(address[0])
        await self._connect(sock, ("127.0.0.1", address[1]) if address[0] == PUBLIC else address)


def named(mirror: ScriptedMirror, **more: Any) -> dict[str, Any]:
    return {"id": "a", "url": f"http://{NAME}:{mirror.port}", **more}


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
@loop_test
async def test_a_name_that_comes_to_mean_a_private_address_is_not_followed(address: str) -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([named(mirror)]) as plane:
        network = Network(mirror, plane)
        upload = post("/v1/files", b"x").replace(b"application/json", b"text/plain")
        network.answers = [PUBLIC]
        assert (await plane.ask(upload)).status == 200
        network.answers = [address]
        answer = await plane.ask(upload)
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        network.answers = [address, PUBLIC]
        assert (await plane.ask(upload)).status == 200
        assert set(network.dialled) == {PUBLIC}
        assert mirror.connections == 2


@loop_test
async def test_a_private_address_is_followed_where_the_operator_allows_it() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([named(mirror, allow_private=True)]) as plane:
            Network(mirror, plane).answers = ["127.0.0.1"]
            assert (await plane.ask(get())).status == 200


@loop_test
async def test_a_name_without_an_address_is_an_error_and_no_more() -> None:
    async with ScriptedMirror(answering(OK)) as mirror, DataPlane([named(mirror)]) as plane:
        network = Network(mirror, plane)
        assert (await plane.ask(get())).status == 502
        assert plane.totals.get("mirrorgate_attempts", ("a", "resolve")) == 1
        network.answers = [PUBLIC]
        assert (await plane.ask(get())).status == 200


@loop_test
async def test_a_name_with_a_thousand_addresses_costs_no_more_than_a_few_tries() -> None:
    async with ScriptedMirror(answering(OK)) as mirror:
        async with DataPlane([named(mirror, allow_private=True)]) as plane:
            network = Network(mirror, plane)
            network.answers = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(1000)]
            assert (await plane.ask(get())).status == 502
            assert 1 <= len(network.dialled) <= 16
            network.answers = ["127.0.0.1"]
            assert (await plane.ask(get())).status == 200


class BadTls:
    """A mirror whose first handshake is made with one context, and all later ones with another."""

    def __init__(self, first: ssl.SSLContext | None, later: ssl.SSLContext) -> None:
        self._first = first
        self._later = later
        self.connections = 0
        self.requests = 0
        self.plain = b""
        """What came where the handshake was never answered."""

    async def __aenter__(self) -> BadTls:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        context = self._first if self.connections == 1 else self._later
        try:
            if context is None:
                self.plain += await reader.read()
                return
            await writer.start_tls(context)
            await read_request(reader)
            self.requests += 1
            writer.write(OK)
            await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    def table(self, ca_file: object) -> dict[str, Any]:
        url = f"https://{NAME}:{self.port}"
        return {"id": "a", "url": url, "addresses": ["127.0.0.1"], "ca_file": str(ca_file)}


def _old(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, speaking TLS 1.0 alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("wrong", ["expired", "other name", "self-signed", "TLS 1.0", "silent"])
@loop_test
async def test_tls_that_is_not_right_gets_no_request_and_nothing_weaker(
    wrong: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours, theirs = (Authority(tmp_path_factory.mktemp(name)) for name in ("ours", "theirs"))
    past = datetime.now(UTC) - timedelta(days=1)
    good = ours.issue(NAME, local=False).server_context
    contexts: dict[str, Callable[[], ssl.SSLContext | None]] = {
        "expired": ours.issue(NAME, local=False, not_after=past).server_context,
        "other name": ours.issue("other.mirror.test", local=False).server_context,
        "self-signed": theirs.issue(NAME, local=False).server_context,
        "TLS 1.0": lambda: _old(good()),
        "silent": lambda: None,
    }
    timeouts = {"tls": 1.5 if wrong == "silent" else 20.0}
    async with BadTls(contexts[wrong](), good()) as mirror:
        async with DataPlane([mirror.table(ours.ca_file)], {"timeouts": timeouts}) as plane:
            answer = await plane.ask(get())
            assert (answer.status, answer.error["code"]) == (502, "upstream_error")
            assert (mirror.connections, mirror.requests) == (1, 0)
            assert b"sk-x" not in mirror.plain
            assert plane.totals.get("mirrorgate_attempts", ("a", "tls")) == 1
            assert (await plane.ask(get())).status == 200


@loop_test
async def test_a_redirect_into_our_own_network_is_never_followed() -> None:
    async with ScriptedMirror(answering(OK), "trap") as trap:
        where = b"http://127.0.0.1:%d/v1/models" % trap.port
        redirect = b"HTTP/1.1 307 X\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where
        async with (
            ScriptedMirror(answering(redirect)) as mirror,
            DataPlane([mirror.table()]) as plane,
        ):
            answer = await plane.ask(get())
            assert (answer.status, answer["location"]) == (307, where.decode())
        assert trap.connections == 0


@loop_test
async def test_a_mirror_that_comes_and_goes_costs_no_request_while_another_one_is_there() -> None:
    refused = {"id": "a", "url": "http://127.0.0.1:1", "addresses": ["127.0.0.1"]}
    async with ScriptedMirror(answering(OK), "a") as a, ScriptedMirror(answering(OK), "b") as b:
        async with DataPlane([a.table(), b.table()]) as plane:
            for turn in range(20):
                there = turn % 2 == 0
                plane.context.configure(
                    plane.config([a.table() if there else refused, b.table()]),
                    plane.context.snapshot,
                )
                plane.health(a=State.up if turn % 3 else State.down, b=State.up)
                answers = [await plane.ask(post()) for _ in range(5)]
                assert {answer.status for answer in answers} == {200}
            assert plane.in_flight == 0
