"""A mirror seen from another place: through a proxy of the operator's, or by another instance."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest

from dashboard.common.config import DashboardConfig
from dashboard.common.steps import all_at_once
from dashboard.public import rows
from dashboard.public.documents import nodes_document
from monitor.common.audit import Actor
from monitor.common.config import (
    MirrorConfig,
    MonitorConfig,
    MonitorTimeouts,
    SniConfig,
    VantageConfig,
)
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Level
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.diagnose import Inspection, inspector
from monitor.engine.metrics import FAMILIES
from monitor.engine.monitor import Monitor
from monitor.health.snapshot import (
    HealthBoard,
    HealthSnapshot,
    MirrorHealth,
    Override,
    State,
)
from monitor.probes.proxied import VantageDown, through
from monitor.probes.results import TIMED_OUT
from monitor.store.lease import Holder
from monitor.store.store import Store
from router.cli.probe_report import json_of, text_of
from router.cluster.views import Views
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import RST, Rule, exactly
from tests.testkit.certs import Authority
from tests.testkit.clock import ManualClock
from tests.testkit.listener import unanswered_port
from tests.testkit.ports import HOST, free_port
from tests.testkit.proxy import PASSWORD, Proxy
from tests.testkit.wait import wait_until_async

NAME, THERE = "mirror.test", "hk-1"
CONTROL = "example.org"


class Mirror:
    """Answers as OpenAI does without a key; keeps the heads of requests."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.port = 0


@asynccontextmanager
async def serving(authority: Authority) -> AsyncIterator[Mirror]:
    mirror = Mirror()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            mirror.heads.append(await reader.readuntil(b"\r\n\r\n"))
            body = b'{"error": {"message": "no key"}}'
            writer.write(b"HTTP/1.1 401 x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()

    leaf = authority.issue(NAME, CONTROL)
    server = await asyncio.start_server(serve, HOST, 0, ssl=leaf.server_context())
    async with server:
        mirror.port = server.sockets[0].getsockname()[1]
        yield mirror


def config_of(proxy: str) -> MonitorConfig:
    return MonitorConfig(
        vantages=(VantageConfig(THERE, proxy),),
        sni=SniConfig((CONTROL,)),
        timeouts=MonitorTimeouts(connect=1.5),
    )


def mirror_at(port: int, authority: Authority, **more) -> MirrorConfig:
    return MirrorConfig(
        "m", f"https://{NAME}:{port}", addresses=(HOST,), ca_file=str(authority.ca_file), **more
    )


async def inspected(mirror: MirrorConfig, config: MonitorConfig) -> Inspection:
    async with inspector(config, DiagnosisTiming(), lambda doing: None) as by:
        return await by.inspect(mirror)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_an_address_that_answers_from_there_alone_is_blocked_from_here(authority, scheme):
    with unanswered_port() as port:
        async with serving(authority) as mirror, Proxy() as proxy:
            proxy.routes[HOST, port] = (HOST, mirror.port)
            seen = await inspected(mirror_at(port, authority), config_of(proxy.url(scheme)))
    finding = seen.finding
    assert (finding.verdict, finding.level) == ("ip_port_block", Level.suspected)
    assert f"From {THERE} the same address {HOST} answers as {NAME}" in str(finding.evidence[0])
    assert any(f"{THERE}: {HOST}" in line for line in text_of(seen, 0.0, "en"))
    (there,) = json_of(seen, 0.0)["vantages"]
    assert (there["vantage"], there["ok"], there["verdict"]) == (THERE, True, "ok")


async def test_a_block_that_was_suspected_is_confirmed_by_an_answer_from_there(authority):
    async with (
        serving(authority) as mirror,
        Censor((Rule(exactly(NAME), RST),)) as censor,
        Proxy() as proxy,
    ):
        port = await censor.listen((HOST,), (HOST, mirror.port))
        proxy.routes[HOST, port] = (HOST, mirror.port)
        config = config_of(proxy.url("socks5"))
        seen = await inspected(mirror_at(port, authority, api_key="sk-of-the-mirror"), config)
    assert (seen.finding.verdict, seen.finding.level) == ("sni_block_rst", Level.confirmed)
    assert mirror.heads
    assert not any(b"sk-of-the-mirror" in head for head in mirror.heads)


@pytest.mark.parametrize("scheme", ["socks5", "http"])
async def test_a_server_that_is_down_is_down_from_everywhere(authority, scheme):
    async with Proxy() as proxy:
        seen = await inspected(mirror_at(free_port(), authority), config_of(proxy.url(scheme)))
    assert seen.finding.verdict == "connection_refused"
    assert f"From {THERE} {HOST} fails as {NAME} as well" in str(seen.finding.evidence[-1])


@pytest.mark.parametrize("scheme", ["socks5", "http"])
@pytest.mark.parametrize("fault", ["password", "gone"])
async def test_a_proxy_that_cannot_be_used_says_nothing_of_the_mirror(authority, scheme, fault):
    async with Proxy() as proxy:
        url = proxy.url(scheme, "wrong-" + PASSWORD)
        if fault == "gone":
            url = url.replace(str(proxy.port), str(free_port()))
        seen = await inspected(mirror_at(free_port(), authority), config_of(url))
    assert seen.finding.verdict == "connection_refused"
    assert len(seen.finding.evidence) == 1
    ((name, _),) = seen.lost
    assert name == THERE
    everything = "\n".join(text_of(seen, 0.0, "en")) + str(json_of(seen, 0.0))
    assert "the vantage cannot be used: the proxy" in everything
    assert PASSWORD not in everything


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(*answers: bytes, then: str = "close") -> Serve:
    """A proxy that gives one of these answers to each thing that it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for answer in answers:
                await reader.read(4096)
                writer.write(answer)
                await writer.drain()
            if then == "hang":
                while await reader.read(4096):
                    pass
        if then == "reset":
            writer.transport.abort()
        writer.close()

    return serve


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """The port; ends when all that is served has ended."""
    served: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_server(accept, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*served)


def hangs_for(request: bytes) -> Serve:
    """A proxy that never answers what begins like this, and anything else with 400."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if (await reader.read(4096)).startswith(request):
                while await reader.read(4096):
                    pass
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    return serve


@pytest.mark.parametrize(
    ("scheme", "serve", "reason"),
    [
        ("http", says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "the proxy refuses"),
        ("http", says(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"), "the proxy refuses"),
        ("http", says(b"<html>" + b"sign in \n" * 300), "the proxy refuses"),
        ("http", says(then="reset"), "the proxy"),
        ("http", says(then="hang"), "the proxy does not answer"),
        ("socks5", says(b"\x05\xff"), "the proxy refuses"),
        ("socks5", says(b"\x05\x00", b"\x05\x63" + bytes(8)), "the proxy refuses"),
        ("socks5", says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "the proxy refuses"),
        ("socks5", says(then="reset"), "the proxy"),
        ("socks5", says(then="hang"), "the proxy does not answer"),
        ("http", hangs_for(b"CONNECT"), None),
        ("socks5", says(b"\x05\x00", then="hang"), None),
    ],
)
async def test_only_of_a_proxy_that_works_a_silence_is_the_mirrors(scheme, serve, reason):
    async with listening(serve) as port:
        dial = through(f"{scheme}://{HOST}:{port}")
        if reason is None:
            connection, step = await dial("192.0.2.1", 443, 1.0, NAME)
            assert (connection, step.failure) == (None, TIMED_OUT)
            return
        with pytest.raises(VantageDown, match=reason) as caught:
            await dial("192.0.2.1", 443, 1.0, NAME)
    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()


async def test_the_monitor_shows_both_and_names_the_vantage(authority, tmp_path):
    totals, board = MetricRegistry(FAMILIES), HealthBoard("here")
    store = await Store.open(f"sqlite:///{tmp_path}/m.db")
    with unanswered_port() as port:
        async with serving(authority) as served, Proxy() as proxy:
            proxy.routes[HOST, port] = (HOST, served.port)
            mirror = mirror_at(port, authority, api_key="sk-of-the-mirror")
            config = MonitorConfig(
                interval=0.2,
                fall=1,
                vantages=(VantageConfig(THERE, proxy.url("socks5")),),
            )
            monitor = Monitor(config, (mirror,), store, board, totals, lambda snapshot: None)
            await monitor.start()
            try:
                await wait_until_async(
                    lambda: board.current.of("m").verdict == "ip_port_block", 60.0
                )
                health = board.current.of("m")
                again = HealthSnapshot.from_json(board.current.to_json()).of("m")
                monitor.configure(MonitorConfig(interval=0.2), (mirror,))
                await wait_until_async(lambda: not board.current.of("m").vantages, 60.0)
            finally:
                await monitor.stop()
                await store.close()
    (there,) = health.vantages
    assert (health.state, there.name, there.state) == (State.down, THERE, State.up)
    assert "first_byte" in there.latency
    assert again == health
    assert not any(b"authorization" in head.lower() for head in served.heads)
    row = rows.node(mirror, health, DashboardConfig(), there.at, 60.0)
    document = all_at_once(nodes_document([row], "here", there.at))
    assert document["vantages"] == ["here", THERE]
    seen = document["nodes"][0]["vantages"]
    assert {name: each["state"] for name, each in seen.items()} == {"here": "down", THERE: "up"}


async def test_a_proxy_through_which_nothing_works_speaks_for_no_fault_of_a_server(
    authority, tmp_path
):
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    board = HealthBoard("here")
    store = await Store.open(f"sqlite:///{tmp_path}/m.db")
    nothing = await asyncio.start_server(hang_up, HOST, 0)
    async with nothing, serving(authority) as served, Proxy() as proxy:
        dead = free_port()
        down = mirror_at(dead, authority)
        mirrors = (down, replace(mirror_at(served.port, authority), id="good"))
        for port in (served.port, dead):
            proxy.routes[HOST, port] = nothing.sockets[0].getsockname()
        config = MonitorConfig(
            interval=0.2, fall=1, vantages=(VantageConfig(THERE, proxy.url("http")),)
        )
        totals = MetricRegistry(FAMILIES)
        monitor = Monitor(config, mirrors, store, board, totals, lambda snapshot: None)

        def told(there: State) -> bool:
            """True if the good mirror is seen so from there, and the other one down."""
            seen = [board.current.of(mirror).vantages for mirror in ("m", "good")]
            return [[each.state for each in one] for one in seen] == [[State.down], [there]]

        def blamed() -> bool:
            paths = board.current.of("m").paths
            return any(each.code == "fails_from_too" for path in paths for each in path.evidence)

        await monitor.start()
        try:
            await wait_until_async(lambda: told(State.down) and not blamed(), 60.0)
            del proxy.routes[HOST, served.port]
            await wait_until_async(lambda: told(State.up) and blamed(), 60.0)
        finally:
            await monitor.stop()
            await store.close()


PACE = replace(DiagnosisTiming().shortened(1.0), start_jitter=0.01, gap=0.01)


class Place:
    """An instance's monitor with a store of its own door, and its view of the others."""

    def __init__(self, name: str, store: Store, mirror: MirrorConfig, clock: ManualClock) -> None:
        self.board, self.store = HealthBoard(name), store
        config = MonitorConfig(interval=0.2, fall=1, sni=SniConfig((CONTROL,)))
        totals = MetricRegistry(FAMILIES)
        self.monitor = Monitor(
            config, (mirror,), store, self.board, totals, lambda snapshot: None, pace=PACE
        )
        self.monitor.history.shares = True
        self.views = Views(
            store, name, lambda: self.board.current, self.monitor.see_from, monotonic=clock
        )

    @property
    def health(self) -> MirrorHealth:
        return self.board.current.of("m")

    async def live(self) -> None:
        """Renew the lease and write what is waiting, as it does every few seconds."""
        await self.store.renew(0.0)
        await self.store.flush()


@asynccontextmanager
async def place(
    name: str, url: str, mirror: MirrorConfig, clock: ManualClock
) -> AsyncIterator[Place]:
    store = await Store.open(url)
    await store.hold(name, Holder(f"boot-of-{name}", 1, "1", f"{name}.example"))
    made = Place(name, store, mirror, clock)
    await made.monitor.start()
    try:
        yield made
    finally:
        await made.monitor.stop()
        await store.close()


async def test_a_name_that_is_blocked_for_one_instance_alone_is_told_as_such(authority, store_url):
    clock = ManualClock()
    async with (
        serving(authority) as served,
        Censor((Rule(exactly(NAME), RST),)) as censor,
        place("tokyo", store_url, mirror_at(served.port, authority), clock) as tokyo,
    ):
        port = await censor.listen((HOST,), (HOST, served.port))
        async with place("shanghai", store_url, mirror_at(port, authority), clock) as shanghai:

            async def told_of_each_other() -> MirrorHealth:
                """Some seconds pass in which both probe."""
                clock.advance(5.0)
                for each, other in ((tokyo, shanghai), (shanghai, tokyo)):
                    await each.live()
                    await other.views.turn()
                return shanghai.health

            def settled() -> bool:
                states = (tokyo.health.state, shanghai.health.state)
                return states == (State.up, State.down)

            await wait_until_async(settled, 60.0)
            deadline = asyncio.get_running_loop().time() + 60.0
            while (health := await told_of_each_other()).level != "confirmed":
                assert asyncio.get_running_loop().time() < deadline, health
                await asyncio.sleep(0.1)
            seen_from_tokyo = tokyo.health
            await tokyo.monitor.stop()

            async def silent() -> bool:
                clock.advance(5.0)
                await shanghai.views.turn()
                return [v.state for v in shanghai.health.vantages] == [State.unknown]

            while not await silent():
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.1)
    (path,) = health.paths
    assert health.verdict == path.verdict == "sni_block_rst"
    assert health.evidence[0] == Code.works_from(vantage="tokyo", name=NAME, address=HOST)
    assert [(v.name, v.state) for v in health.vantages] == [("tokyo", State.up)]
    (of_shanghai,) = seen_from_tokyo.vantages
    assert (of_shanghai.name, of_shanghai.state) == ("shanghai", State.down)
    assert seen_from_tokyo.state is State.up
    row = rows.node(mirror_at(port, authority), health, DashboardConfig(), time.time(), 60.0)
    told = all_at_once(nodes_document([row], "shanghai", time.time()))["nodes"][0]["vantages"]
    assert {name: each["state"] for name, each in told.items()} == {
        "shanghai": "down",
        "tokyo": "up",
    }


async def test_an_override_of_one_instance_holds_on_the_others(authority, store_url):
    clock, by = ManualClock(), Actor("anna")
    async with (
        serving(authority) as served,
        place("tokyo", store_url, mirror_at(served.port, authority), clock) as tokyo,
        place("shanghai", store_url, mirror_at(served.port, authority), clock) as shanghai,
    ):
        for wish in (Override.drain, Override.maintenance, Override.use):
            until = time.time() + 3600 if wish is Override.maintenance else None
            await tokyo.monitor.set_wish("m", wish, until, by)
            await shanghai.monitor.catch_up()
            assert (shanghai.health.wish, shanghai.health.wish_until) == (wish, until)
        # read before an order of this instance, and taken after it: the order stands
        await shanghai.monitor.set_wish("m", Override.drain, None, by)
        stale = {"m": (Override.use, None)}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(shanghai.store, "wishes", AsyncMock(return_value=stale))
            await shanghai.monitor.catch_up()
        assert shanghai.health.wish is Override.drain
        await shanghai.monitor.catch_up()
        assert shanghai.health.wish is Override.drain
