"""The test censor must do to connections what its rules say, and to no others."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from monitor.probes.failures import failure_of
from monitor.probes.stream import PlainStream, TlsStream
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import (
    BLOCK_PAGE,
    DROP,
    FIN,
    PASS,
    RST,
    RST_MID,
    Action,
    Relay,
    Residual,
    Rule,
    alert,
    below,
    divert,
    every_hello,
    everything,
    exactly,
    not_tls,
    other_than,
    throttle,
    without_name,
)
from tests.testkit.certs import Authority
from tests.testkit.listener import TlsServer
from tests.testkit.wait import wait_until_async

BLOCKED, CONTROL = "blocked.mirror.test", "control.mirror.test"
ONE, TWO = "127.0.0.2", "127.0.0.3"
BODY = bytes(range(256)) * 256
HASTE, PATIENCE = 0.4, 10.0
"""Seconds of silence after which a client gives up that expects nothing, and one that does."""


@dataclass
class Met:
    """Observations of a client."""

    failure: str | None
    received: int
    first: bytes
    body: int = 0
    seconds: float = 0.0


@pytest.fixture
async def upstream(authority: Authority) -> AsyncIterator[tuple[str, int]]:
    """A TLS server that answers any line with BODY and closes."""

    tls = authority.issue("*.mirror.test").server_context()
    async with TlsServer(tls, BODY) as server:
        yield server.address


@pytest.fixture
async def censor() -> AsyncIterator[Censor]:
    async with Censor() as censor:
        yield censor


@pytest.fixture
async def port(censor: Censor, upstream: tuple[str, int]) -> int:
    return await censor.listen([ONE, TWO], upstream)


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


async def meet(
    trust: ssl.SSLContext,
    port: int,
    name: str = BLOCKED,
    address: str = ONE,
    *,
    download: bool = False,
    patience: float = PATIENCE,
) -> Met:
    """Connect, shake hands, and download if asked to; so many seconds for each step."""
    met, started = Met(None, 0, b""), time.monotonic()
    with socket.socket() as connection:
        connection.setblocking(False)
        try:
            async with asyncio.timeout(patience):
                await asyncio.get_running_loop().sock_connect(connection, (address, port))
                stream = TlsStream(PlainStream(connection), trust, name)
            try:
                async with asyncio.timeout(patience):
                    await stream.handshake()
                if download:
                    met.body = await _download(stream, met, patience)
            finally:
                met.received, met.first = stream.received, stream.first_bytes
        except (OSError, EOFError) as error:
            met.failure = failure_of(error)
    met.seconds = time.monotonic() - started
    return met


async def _download(stream: TlsStream, met: Met, patience: float) -> int:
    await stream.write(b"all of it\n")
    while True:
        async with asyncio.timeout(patience):
            data = await stream.read()
        if not data:
            return met.body
        met.body += len(data)


async def test_without_rules_everything_passes_and_is_noted(
    censor: Censor, port: int, trust: ssl.SSLContext
):
    met = await meet(trust, port, address=TWO, download=True)
    assert (met.failure, met.body) == (None, len(BODY))
    (seen,) = censor.log
    assert (seen.source, seen.address, seen.port) == ("127.0.0.1", TWO, port)
    assert (seen.sni, seen.action, seen.residual) == (BLOCKED, "pass", False)


@pytest.mark.parametrize(
    ("action", "failure", "first"),
    [
        (RST, "connection_reset", b""),
        (FIN, "eof_error", b""),
        (DROP, "generic_timeout_error", b""),
        (alert(), "ssl_failed_handshake", b"\x15\x03\x03\x00\x02\x02\x70"),
        (BLOCK_PAGE, "ssl_failed_handshake", b"HTTP/1.1 200 OK"),
        (RST_MID, "connection_reset", b"\x16\x03\x03"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_the_blocked_name_suffers_and_the_other_does_not(
    censor: Censor,
    port: int,
    trust: ssl.SSLContext,
    action: Action,
    failure: str,
    first: bytes,
):
    censor.rules = (Rule(exactly(BLOCKED), action),)
    met = await meet(trust, port, patience=HASTE if action is DROP else PATIENCE)
    assert met.failure == failure
    assert met.first.startswith(first)
    assert bool(met.received) == bool(first)
    assert (await meet(trust, port, CONTROL, download=True)).body == len(BODY)
    assert [seen.action for seen in censor.handshakes(sni=BLOCKED)] == [action.name]


@pytest.mark.parametrize("kind", ["another authority", "expired", "another name"])
async def test_another_server_can_take_the_connection(
    censor: Censor,
    port: int,
    trust: ssl.SSLContext,
    authority: Authority,
    tmp_path: Path,
    kind: str,
):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    leaf, failure = {
        "another authority": (Authority(tmp_path).issue(BLOCKED), "ssl_unknown_authority"),
        "expired": (authority.issue(BLOCKED, not_after=yesterday), "ssl_invalid_certificate"),
        "another name": (authority.issue("else.test", local=False), "ssl_invalid_hostname"),
    }[kind]
    async with TlsServer(leaf.server_context()) as impostor:
        censor.rules = (Rule(exactly(BLOCKED), divert(*impostor.address)),)
        assert (await meet(trust, port, download=True)).failure == failure
        assert (await meet(trust, port, CONTROL, download=True)).failure is None
        assert impostor.heard == b""


async def test_a_throttle_slows_and_a_cap_freezes(censor: Censor, port: int, trust: ssl.SSLContext):
    censor.rules = (Rule(exactly(BLOCKED), throttle(200_000)),)
    slow = await meet(trust, port, download=True)
    fast = await meet(trust, port, CONTROL, download=True)
    assert (slow.body, fast.body) == (len(BODY), len(BODY))
    assert slow.seconds >= len(BODY) / 200_000
    censor.rules = (Rule(exactly(BLOCKED), Relay("freeze", freeze_after=16384)),)
    frozen = await meet(trust, port, download=True, patience=2.0)
    assert frozen.failure == "generic_timeout_error"
    assert frozen.received == 16384


async def test_a_delay_delays(censor: Censor, port: int, trust: ssl.SSLContext):
    censor.rules = (Rule(everything, Relay(delay=0.2)),)
    met = await meet(trust, port)
    assert met.failure is None
    assert met.seconds >= 0.2


async def test_rules_cover_names_suffixes_addresses_and_what_is_no_tls(
    censor: Censor, port: int, trust: ssl.SSLContext
):
    async def resets(name: str, address: str = ONE) -> bool:
        return (await meet(trust, port, name, address)).failure == "connection_reset"

    censor.rules = (Rule(below("mirror.test"), RST),)
    assert await resets("a.b.mirror.test")
    assert await resets("mirror.test")
    assert not await resets("othermirror.test")
    censor.rules = (Rule(other_than(CONTROL), RST),)
    assert await resets("mirror.test")
    assert not await resets(CONTROL)
    censor.rules = (Rule(every_hello, RST, addresses={TWO}),)
    assert await resets(CONTROL, TWO)
    assert not await resets(CONTROL, ONE)
    censor.rules = (Rule(without_name, RST),)
    assert await resets("127.0.0.1")
    censor.rules = (Rule(not_tls, RST),)
    assert not await resets(CONTROL)
    reader, writer = await asyncio.open_connection(ONE, port)
    writer.write(b"\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_hit_disturbs_the_address_and_port_for_a_while(
    upstream: tuple[str, int], trust: ssl.SSLContext
):
    now = 100.0
    residual = Residual(60.0)
    rules = [Rule(exactly(BLOCKED), RST, residual=residual)]
    async with Censor(rules, clock=lambda: now) as censor:
        port = await censor.listen([ONE, TWO], upstream)
        assert (await meet(trust, port, CONTROL)).failure is None
        assert (await meet(trust, port, BLOCKED)).failure == "connection_reset"
        assert (await meet(trust, port, CONTROL)).failure == "connection_reset"
        assert (await meet(trust, port, CONTROL, TWO)).failure is None
        hit, spared = censor.log[1], censor.log[2]
        assert (hit.residual, spared.residual) == (False, True)
        now += residual.seconds
        assert (await meet(trust, port, CONTROL)).failure is None


@pytest.mark.parametrize("retriggers", [True, False])
async def test_a_residual_block_may_begin_anew_when_it_is_met(
    upstream: tuple[str, int], trust: ssl.SSLContext, retriggers: bool
):
    now = 100.0
    async with Censor(clock=lambda: now) as censor:
        port = await censor.listen([ONE], upstream)
        residual = Residual(180, DROP, retriggers)
        censor.rules = (Rule(exactly(BLOCKED), RST, residual=residual),)
        await meet(trust, port)
        now = 250.0
        held = await meet(trust, port, CONTROL, patience=HASTE)
        assert held.failure == "generic_timeout_error"
        now = 281.0
        patience = HASTE if retriggers else PATIENCE
        failed = (await meet(trust, port, CONTROL, patience=patience)).failure is not None
        assert failed is retriggers


async def say_something(censor: Censor, port: int) -> None:
    """Connect, say what is no TLS, and leave when the censor has seen it."""
    before = len(censor.log)
    _, writer = await asyncio.open_connection(ONE, port)
    writer.write(b"\n")
    await wait_until_async(lambda: len(censor.log) > before)
    writer.transport.abort()


async def test_chance_decides_with_the_given_dice(upstream: tuple[str, int]):
    async with Censor([Rule(everything, RST, chance=0.5)], rng=Random(7)) as censor:
        port = await censor.listen([ONE], upstream)
        for _ in range(40):
            await say_something(censor, port)
    dice = Random(7)
    expected = ["rst" if dice.random() < 0.5 else "pass" for _ in range(40)]
    assert [seen.action for seen in censor.log] == expected


async def test_an_address_can_refuse_swallow_and_come_back(
    censor: Censor, port: int, trust: ssl.SSLContext
):
    await censor.become("refuse", ONE)
    assert (await meet(trust, port)).failure == "connection_refused"
    assert (await meet(trust, port, address=TWO)).failure is None
    await censor.become("swallow", ONE)
    for _ in range(5):
        assert (await meet(trust, port, patience=HASTE)).failure == "generic_timeout_error"
    await censor.become("serve")
    assert (await meet(trust, port)).failure is None
    assert {seen.address for seen in censor.log[:1]} == {TWO}


async def test_rules_change_while_connections_are_open_and_can_be_cut(
    censor: Censor, port: int, trust: ssl.SSLContext
):
    reader, writer = await asyncio.open_connection(
        ONE, port, ssl=trust, server_hostname=BLOCKED, limit=1 << 20
    )
    censor.rules = (Rule(exactly(BLOCKED), RST),)
    assert (await meet(trust, port)).failure == "connection_reset"
    writer.write(b"all of it\n")
    assert await reader.read() == BODY, "an open connection is not touched by a new rule"
    writer.close()
    censor.rules = (Rule(exactly(BLOCKED), PASS),)
    reader, writer = await asyncio.open_connection(ONE, port, ssl=trust, server_hostname=BLOCKED)
    censor.cut(TWO)
    assert (await meet(trust, port)).failure is None
    censor.cut(ONE)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_dead_upstream_is_a_reset_and_closing_ends_everything(
    trust: ssl.SSLContext, upstream: tuple[str, int]
):
    async with Censor([Rule(everything, DROP, addresses={TWO})]) as censor:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = await censor.listen([ONE], nobody.getsockname())
            assert (await meet(trust, port)).failure == "connection_reset"
        held = await censor.listen([TWO], upstream)
        _, writer = await asyncio.open_connection(TWO, held)
        writer.write(b"\n")
        await wait_until_async(lambda: len(censor.log) == 2)
    assert len(asyncio.all_tasks()) == 1
    writer.close()
    assert (await meet(trust, held, address=TWO)).failure == "connection_refused"
