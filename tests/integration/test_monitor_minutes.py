"""Diagnoses of the monitor over many minutes, at its usual pace, on a clock of their own.

A mirror of two names and two addresses behind a censor; time passes only while nothing happens. A
round trip takes 40 ms as far as the monitor knows, and none in truth: a reset that comes without a
delay is sooner than any server's, one after 50 ms may be the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from monitor.common.config import MirrorConfig, MonitorConfig, SniConfig
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.timing import NORMAL
from monitor.diagnosis.verdicts import BLOCKS
from monitor.engine.address_memory import RoundTrips
from monitor.engine.metrics import FAMILIES
from monitor.engine.monitor import Monitor
from monitor.engine.prober import Prober
from monitor.health.snapshot import HealthBoard, HealthSnapshot, MirrorHealth, PathHealth, State
from monitor.store.store import Store
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import (
    DROP,
    RST,
    Residual,
    Rule,
    divert,
    every_hello,
    exactly,
    other_than,
)
from tests.testkit.certs import Authority
from tests.testkit.listener import TlsServer
from tests.testkit.virtual_time import virtual_time

OWN, ALT, CONTROL = "own.mirror.test", "alt.mirror.test", "control.test"
ADDRESSES = ("127.0.1.2", "127.0.2.3")
BODY = b'{"error": {"code": null}}'
ANSWER = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(BODY),
    BODY,
)
WALL = 1.8e9
RESIDUAL = 180.0
"""Seconds that a censor remembers."""
SUSPECTED_WITHIN, CONFIRMED_WITHIN, BACK_WITHIN = 90.0, 2 * NORMAL.residual_hold + 60, RESIDUAL + 30
LASTS = 450.0
FROM_SERVER = replace(RST, delay=0.05)
Rules = tuple[Rule, ...]


class FarAway(RoundTrips):
    """Every address is 40 ms away."""

    def of(self, address: str) -> float | None:
        return 0.04


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was shown, with its time since the beginning of the trouble."""

    shown: list[tuple[float, MirrorHealth]]
    hellos: list[tuple[float, str]]
    """With the mirror's own name: when, and to which address."""

    def paths(self) -> list[tuple[float, PathHealth]]:
        return [(at, path) for at, health in self.shown for path in health.paths]

    def first(self, of: Callable[[PathHealth], bool]) -> float:
        """When this was first true of a path under the own name."""
        own = ((at, path) for at, path in self.paths() if path.hostname == OWN)
        return next((at for at, path in own if of(path)), float("inf"))


def trouble(
    folder: Path,
    rules: Callable[[TlsServer], Rules],
    *,
    lasts: float = LASTS,
    addresses: tuple[str, ...] = ADDRESSES,
) -> tuple[Seen, Seen]:
    """Run the monitor through a trouble: what was seen during it, and after its end."""
    with virtual_time() as run:
        return run(_trouble(folder, rules, lasts, addresses))


async def _trouble(
    folder: Path,
    rules: Callable[[TlsServer], Rules],
    lasts: float,
    addresses: tuple[str, ...],
) -> tuple[Seen, Seen]:
    loop, snapshots = asyncio.get_running_loop(), list[tuple[float, HealthSnapshot]]()
    authority = Authority(folder)
    context = authority.issue(OWN, ALT).server_context()
    async with TlsServer(context, ANSWER) as server, TlsServer(context) as silent:
        async with Censor(clock=loop.time) as censor:
            port = await censor.listen(addresses, server.address)
            url, ca_file = f"https://{OWN}:{port}", str(authority.ca_file)
            mirror = MirrorConfig("hk", url, hostnames=(ALT,), addresses=addresses, ca_file=ca_file)

            def show(snapshot: HealthSnapshot) -> None:
                snapshots.append((loop.time(), snapshot))

            anchor = "{}:{}".format(*server.address)
            async with _watching(folder, mirror, anchor, show):
                await asyncio.sleep(60.0)
                began = loop.time()
                censor.rules = rules(silent)
                await asyncio.sleep(lasts)
                ended, censor.rules = loop.time(), ()
                await asyncio.sleep(BACK_WITHIN + 30)
    return tuple(  # type: ignore[return-value]
        Seen(
            [(at - since, s.of("hk")) for at, s in snapshots if since <= at < until],
            [(h.at - since, h.address) for h in censor.handshakes(OWN, None, since, until)],
        )
        for since, until in ((began, ended), (ended, float("inf")))
    )


@asynccontextmanager
async def _watching(
    folder: Path, mirror: MirrorConfig, anchor: str, show: Callable[[HealthSnapshot], None]
) -> AsyncIterator[None]:
    loop, prober = asyncio.get_running_loop(), Prober()
    prober.round_trips = FarAway()
    store = await Store.open(f"sqlite:///{folder / 'minutes.db'}")
    monitor = Monitor(
        MonitorConfig(sni=SniConfig(control=(CONTROL,)), anchors=(anchor,)),
        (mirror,),
        store,
        HealthBoard("here"),
        MetricRegistry(FAMILIES),
        show,
        clock=lambda: WALL + loop.time(),
        monotonic=loop.time,
        rng=Random(1),
        prober=prober,
    )
    await monitor.start()
    try:
        yield
    finally:
        await monitor.stop()
        await store.close()


def assert_shown_rarely(seen: Seen) -> None:
    """No address gets the name more often than the budget of suspected names allows."""
    for address in ADDRESSES:
        times = [at for at, to in seen.hellos if to == address]
        most = NORMAL.suspicious_most
        apart = [later - first for first, later in zip(times, times[most:], strict=False)]
        assert all(seconds >= NORMAL.suspicious_window for seconds in apart), times


def assert_known_until_the_end(seen: Seen, verdict: str) -> None:
    """Once it is said of a path that its name is blocked, nothing else is."""
    for address in ADDRESSES:
        said = [p.verdict for _, p in seen.paths() if (p.hostname, p.address) == (OWN, address)]
        if verdict in said:
            assert set(said[said.index(verdict) :]) == {verdict}


def back_after(seen: Seen) -> float:
    """When the mirror's own name was in use again, and first."""
    return next(at for at, h in seen.shown if h.paths[0].hostname == OWN and h.paths[0].usable)


REMEMBERED_RST = Rule(exactly(OWN), RST, residual=Residual(RESIDUAL, RST))
REMEMBERED_DROP = Rule(exactly(OWN), DROP, residual=Residual(RESIDUAL, DROP))
STRANGERS = Rule(other_than(OWN, ALT), FROM_SERVER)
"""The server resets names that it does not know."""


@pytest.mark.parametrize(
    ("rules", "verdict", "within"),
    [
        pytest.param((Rule(exactly(OWN), RST),), "sni_block_rst", 60.0, marks=pytest.mark.prove),
        pytest.param((REMEMBERED_RST,), "sni_block_rst", CONFIRMED_WITHIN, marks=pytest.mark.prove),
        ((REMEMBERED_DROP,), "sni_block_drop", CONFIRMED_WITHIN),
        pytest.param(
            (Rule(exactly(OWN), RST), STRANGERS), "sni_block_rst", 60.0, marks=pytest.mark.prove
        ),
        pytest.param(
            (REMEMBERED_RST, STRANGERS),
            "sni_block_rst",
            CONFIRMED_WITHIN,
            marks=pytest.mark.prove,
        ),
    ],
    ids=["rst", "rst, remembered", "drop, remembered", "rst, strangers", "both"],
)
def test_a_block_is_confirmed_in_time_and_left_in_time(
    tmp_path: Path, rules: Rules, verdict: str, within: float
) -> None:
    seen, after = trouble(tmp_path, lambda silent: rules)
    assert seen.first(lambda path: path.level == "suspected") <= SUSPECTED_WITHIN
    assert seen.first(lambda p: (p.verdict, p.level) == (verdict, "confirmed")) <= within
    assert {path.verdict for _, path in seen.paths()} & BLOCKS <= {verdict, "residual_block"}
    assert State.down not in {health.state for _, health in (*seen.shown, *after.shown)}
    assert_known_until_the_end(seen, verdict)
    assert_shown_rarely(seen)
    assert back_after(after) <= BACK_WITHIN


def test_a_name_that_is_dropped_is_suspected_although_another_one_works(tmp_path: Path) -> None:
    """To the socket this one looks like a server that is silent: the censor's kernel has taken our
    hello. So it is suspected for as long as it lasts."""
    seen, after = trouble(tmp_path, lambda silent: (Rule(exactly(OWN), DROP),))
    suspected = seen.first(lambda p: (p.verdict, p.level) == ("sni_block_drop", "suspected"))
    assert suspected <= SUSPECTED_WITHIN
    assert "confirmed" not in {path.level for _, path in seen.paths()}
    assert State.degraded in {health.state for _, health in seen.shown}
    assert_known_until_the_end(seen, "sni_block_drop")
    assert_shown_rarely(seen)
    assert back_after(after) <= BACK_WITHIN


def test_a_backend_that_answers_no_request_is_left_although_it_shakes_hands(
    tmp_path: Path,
) -> None:
    seen, _ = trouble(
        tmp_path, lambda silent: (Rule(exactly(OWN), divert(*silent.address)),), lasts=200.0
    )
    assert seen.first(lambda path: path.verdict == "http_timeout") <= SUSPECTED_WITHIN
    last = {(p.hostname, p.verdict, p.usable) for p in seen.shown[-1][1].paths}
    assert last == {(OWN, "http_timeout", False), (ALT, "ok", True)}


@pytest.mark.parametrize(
    ("rule", "blocks"),
    [
        pytest.param(Rule(exactly(OWN), FROM_SERVER), {"sni_block_rst"}, marks=pytest.mark.prove),
        pytest.param(Rule(every_hello, FROM_SERVER), set(), marks=pytest.mark.prove),
    ],
    ids=["lost name", "dead backends"],
)
def test_interference_that_the_server_may_cause_is_at_most_suspected(
    tmp_path: Path, rule: Rule, blocks: set[str]
) -> None:
    seen, _ = trouble(tmp_path, lambda silent: (rule,), lasts=LASTS)
    assert {path.verdict for _, path in seen.paths()} & BLOCKS == blocks
    assert "confirmed" not in {path.level for _, path in seen.paths()}
    told = {each.code for _, path in seen.paths() for each in path.evidence}
    assert told & {"may_be_the_server", "nothing_is_answered"}


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [(REMEMBERED_RST, "sni_block_rst"), (REMEMBERED_DROP, "sni_block_drop")],
    ids=["rst", "drop"],
)
def test_a_name_that_shuts_the_only_address_is_hardly_ever_shown(
    tmp_path: Path, rule: Rule, verdict: str
) -> None:
    """The other name is in use as soon as the censor has forgotten, and stays so for half an hour;
    then one look costs it another residual time."""
    seen, _ = trouble(tmp_path, lambda silent: (rule,), lasts=2100.0, addresses=ADDRESSES[:1])
    first, second = (at for at, _ in seen.hellos)
    assert second - first >= NORMAL.costly_look
    between = [path for at, path in seen.paths() if path.hostname == OWN and at < second]
    own = [path for path in between if path.verdict == verdict]
    assert {path.level for path in own} == {"suspected"}
    assert "not_shown_again" in {each.code for each in own[-1].evidence}
    alt = [(at, path) for at, path in seen.paths() if path.hostname == ALT and at > first]
    back = next(at for at, path in alt if path.usable and path.verdict == "ok" and at > first + 30)
    assert back <= first + RESIDUAL + 30
    assert all(path.verdict == "ok" for at, path in alt if back <= at < second)
    states = {health.state for at, health in seen.shown if back + 5 <= at < second}
    assert states == {State.degraded}


def test_a_name_that_is_left_alone_stays_so_over_a_restart(tmp_path: Path) -> None:
    with virtual_time() as run:
        before, after = run(_restarted(tmp_path))
    assert len(before) == 1
    assert after == []


async def _restarted(folder: Path) -> tuple[list[float], list[float]]:
    """The times of hellos with the blocked name, before and after a restart of the monitor."""
    loop, shown = asyncio.get_running_loop(), list[HealthSnapshot]()
    authority = Authority(folder)
    context = authority.issue(OWN, ALT).server_context()
    async with TlsServer(context, ANSWER) as server, Censor(clock=loop.time) as censor:
        port = await censor.listen(ADDRESSES[:1], server.address)
        url, ca_file = f"https://{OWN}:{port}", str(authority.ca_file)
        mirror = MirrorConfig("hk", url, hostnames=(ALT,), addresses=ADDRESSES[:1], ca_file=ca_file)
        censor.rules = (REMEMBERED_RST,)
        anchor = "{}:{}".format(*server.address)
        async with _watching(folder, mirror, anchor, shown.append):
            await asyncio.sleep(RESIDUAL + 60)
        restarted = loop.time()
        async with _watching(folder, mirror, anchor, shown.append):
            await asyncio.sleep(NORMAL.costly_look / 2)
    assert [path.verdict for path in shown[-1].of("hk").paths] == ["ok", "sni_block_rst"]
    return (
        [seen.at for seen in censor.handshakes(OWN, until=restarted)],
        [seen.at for seen in censor.handshakes(OWN, since=restarted)],
    )
