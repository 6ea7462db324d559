"""New connections to a mirror: its paths in turn, other names and addresses, and what is held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from monitor.health.snapshot import (
    HealthSnapshot,
    MirrorHealth,
    PathHealth,
    Standing,
    State,
    endpoint_of,
)
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import DROP, FIN, RST, Residual, Rule, divert, everything, exactly
from tests.testkit.certs import Authority
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import loop_test
from tests.testkit.listener import TlsServer
from tests.testkit.raw_http import OK, ScriptedMirror, answering, get, post

OWN, ALT = "own.mirror.test", "alt.mirror.test"
NEAR, FAR = "127.0.1.2", "127.0.2.3"


class TlsScripted(ScriptedMirror):
    """A scripted mirror behind TLS."""

    def __init__(self, authority: Authority, seen: list[tuple[bytes, bytes]]) -> None:
        super().__init__(answering(OK, seen))
        self._context = authority.issue(OWN, ALT).server_context()

    async def __aenter__(self) -> TlsScripted:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._context, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self


@dataclass
class Scenery:
    """A mirror of two names and two addresses, a censor before it, and a data plane to it."""

    plane: DataPlane
    censor: Censor
    port: int
    authority: Authority
    seen: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def hosts(self) -> list[str]:
        """The Host of each request that arrived."""
        heads = [head.decode().split("\r\n") for head, _ in self.seen]
        return [next(li[6:] for li in head if li.startswith("Host: ")) for head in heads]

    def know(self, *paths: PathHealth, quarantine: dict[str, float] | None = None) -> None:
        """Tell the plane these paths."""
        health = MirrorHealth("a", State.up, paths=paths, last_probe=1.0)
        self.plane.context.learn(HealthSnapshot(1, 1.0, "x", {"a": health}, quarantine or {}))

    def told(self) -> set[tuple[Any, ...]]:
        """The failures of paths that control would be told."""
        return {tuple(failure) for failure in self.plane.context.traffic.take_failed()}

    def endpoint(self, address: str) -> str:
        return endpoint_of(address, self.port)


def ok(hostname: str, address: str, usable: bool = True) -> PathHealth:
    return PathHealth(hostname, address, Standing.ok, usable, "ok", latency=5.0)


ALL = (ok(OWN, NEAR), ok(OWN, FAR), ok(ALT, NEAR), ok(ALT, FAR))


@asynccontextmanager
async def scenery(
    folder: Path, wall: Callable[[], float] = time.time, **router: Any
) -> AsyncIterator[Scenery]:
    authority = Authority(folder)
    seen: list[tuple[bytes, bytes]] = []
    async with TlsScripted(authority, seen) as mirror, Censor() as censor:
        port = await censor.listen((NEAR, FAR), ("127.0.0.1", mirror.port))
        table = {
            "id": "a",
            "url": f"https://{OWN}:{port}",
            "hostnames": [ALT],
            "addresses": [NEAR, FAR],
            "ca_file": str(authority.ca_file),
        }
        async with DataPlane([table], router, wall=wall) as plane:
            made = Scenery(plane, censor, port, authority, seen)
            made.know(*ALL)
            yield made


@loop_test
async def test_the_first_path_is_used_under_its_name(tmp_path: Path) -> None:
    async with scenery(tmp_path) as here:
        assert (await here.plane.ask(get())).status == 200
        here.know(ok(ALT, FAR), ok(OWN, NEAR))
        assert (await here.plane.ask(post("/v1/files"))).status == 200
        assert here.hosts == [f"{OWN}:{here.port}", f"{ALT}:{here.port}"]
        assert [(h.sni, h.address) for h in here.censor.log] == [(OWN, NEAR), (ALT, FAR)]
        assert len(here.plane.context.traffic.take_opened()) == 2


@pytest.mark.parametrize(("action", "failure"), [(RST, "connection_reset"), (FIN, "eof_error")])
@loop_test
async def test_after_a_cut_the_request_takes_another_name_and_another_address(
    tmp_path: Path, action: Any, failure: str
) -> None:
    async with scenery(tmp_path) as here:
        here.censor.rules = (Rule(exactly(OWN), action, residual=Residual(60.0)),)
        for _ in range(5):
            assert (await here.plane.ask(post("/v1/files"))).status == 200
        assert here.told() == {("a", OWN, NEAR, "tls_handshake", failure)}
        taken = [(h.sni, h.address, h.residual) for h in here.censor.log]
        assert taken == [(OWN, NEAR, False), *[(ALT, FAR, False)] * 5]
        assert here.plane.totals.get("mirrorgate_attempts", ("a", "tls")) == 0


@loop_test
async def test_silence_costs_half_a_second_once(tmp_path: Path) -> None:
    async with scenery(tmp_path) as here:
        here.censor.rules = (Rule(exactly(OWN), DROP),)
        began = time.monotonic()
        assert (await here.plane.ask(post("/v1/files"))).status == 200
        assert 0.4 < time.monotonic() - began < 5.0
        assert here.told() == {("a", OWN, NEAR, "tls_handshake", "slow")}
        assert [(h.sni, h.address) for h in here.censor.log] == [(OWN, NEAR), (ALT, FAR)]


@loop_test
async def test_a_refusing_address_is_left_for_the_other_with_the_same_name(
    tmp_path: Path,
) -> None:
    async with scenery(tmp_path) as here:
        await here.censor.become("refuse", NEAR)
        for _ in range(3):
            assert (await here.plane.ask(post("/v1/files"))).status == 200
        assert here.hosts == [f"{OWN}:{here.port}"] * 3
        assert here.told() == {("a", OWN, NEAR, "connect", "connection_refused")}


@loop_test
async def test_a_stranger_s_certificate_gets_no_request(tmp_path: Path) -> None:
    stranger = Authority(tmp_path).stranger().issue(OWN, ALT)
    async with TlsServer(stranger.server_context()) as impostor, scenery(tmp_path) as here:
        here.censor.rules = (Rule(exactly(OWN), divert(*impostor.address)),)
        assert (await here.plane.ask(post("/v1/files"))).status == 200
        assert here.hosts == [f"{ALT}:{here.port}"]
        assert here.told() == {("a", OWN, NEAR, "tls_handshake", "ssl_unknown_authority")}
        here.know(ok(OWN, NEAR))
        assert (await here.plane.ask(post("/v1/files"))).status == 502
        assert impostor.heard == b""


@loop_test
async def test_nothing_is_opened_to_what_is_quarantined_and_what_is_open_goes_on(
    tmp_path: Path,
) -> None:
    now, later = time.time(), 0.0
    async with scenery(tmp_path, lambda: now + later) as here:
        assert (await here.plane.ask(get())).status == 200
        held = {here.endpoint(address): now + 50 for address in (NEAR, FAR)}
        here.know(*ALL, quarantine=held)
        assert (await here.plane.ask(get())).status == 200, "over the connection that was kept"
        assert len(here.censor.log) == 1
        (upstream,) = here.plane.context.upstreams
        upstream.close_idle()
        here.plane.context.upstreams.settle(now)
        answer = await here.plane.ask(get())
        assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
        assert len(here.censor.log) == 1
        later = 51.0
        here.plane.context.upstreams.settle(now + 51)
        assert (await here.plane.ask(get())).status == 200


@loop_test
async def test_paths_that_control_leaves_out_are_tried_when_all_others_have_failed(
    tmp_path: Path,
) -> None:
    async with scenery(tmp_path) as here:
        here.know(replace(ALL[0], usable=False), ALL[3])
        assert (await here.plane.ask(post("/v1/files"))).status == 200
        await here.censor.become("refuse", FAR)
        assert (await here.plane.ask(post("/v1/files"))).status == 200
        assert [(h.sni, h.address) for h in here.censor.log] == [(ALT, FAR), (OWN, NEAR)]


@loop_test
async def test_a_path_with_a_certificate_that_was_refused_is_not_used(tmp_path: Path) -> None:
    async with scenery(tmp_path) as here:
        here.know(replace(ALL[0], usable=False, verdict="tls_mitm"), ALL[3])
        await here.censor.become("refuse", FAR)
        assert (await here.plane.ask(get())).status == 502
        assert here.censor.log == []


@asynccontextmanager
async def breaking_off(here: Scenery) -> AsyncIterator[tuple[list[bytes], tuple[str, int]]]:
    """A server that takes a request and closes: what it was sent, and where it is."""
    taken: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(await reader.readuntil(b"\r\n\r\n"))
        writer.transport.abort()

    context = here.authority.issue(OWN, ALT).server_context()
    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server:
        yield taken, server.sockets[0].getsockname()[:2]


@pytest.mark.parametrize(("addresses", "status"), [((NEAR,), 200), ((NEAR, FAR), 502)])
@loop_test
async def test_a_request_that_breaks_off_is_sent_once_more_over_another_address(
    tmp_path: Path, addresses: tuple[str, ...], status: int
) -> None:
    """As it happens to those under way when a firewall shuts an address; there is no other mirror
    to send them to."""
    async with scenery(tmp_path) as here, breaking_off(here) as (taken, place):
        broken = Rule(everything, divert(*place), addresses=addresses)
        here.censor.rules = (broken,)
        body = b'{"model": "m", "messages": []}'
        assert (await here.plane.ask(post("/v1/chat/completions", body))).status == status
        assert len(taken) == len(addresses)
        assert len(here.seen) == (status == 200)
