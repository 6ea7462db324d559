"""From names to addresses that may be tried, with resolvers that say what a test wants."""

from collections.abc import Sequence
from typing import Any

import pytest

from monitor.common.config import MirrorConfig
from monitor.common.names import MAX_NAMES, names_of
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.naming import NameService
from monitor.probes.connect import MAX_ADDRESSES
from monitor.probes.resolvers import Resolvers
from monitor.probes.results import TIMED_OUT, DnsObservation, DnsReply

DOH, UDP = "https://9.9.9.9/dns-query", "udp://9.9.9.10"
MIRROR = MirrorConfig("m", "https://mirror.test")


def says(resolver: str, *addresses: str, failure: str | None = None, **more: Any) -> DnsObservation:
    replies = (DnsReply("A", 0.02, addresses=addresses),) if addresses else ()
    lacking = None if addresses else failure or "dns_no_answer"
    return DnsObservation(resolver, "mirror.test", lacking, more.get("seconds", 0.02), replies)


class Scripted(Resolvers):
    """Says what it is told to; the last word is repeated."""

    def __init__(self, specs: Sequence[str], script: Sequence[Sequence[DnsObservation]]) -> None:
        super().__init__(specs)
        self.script, self.asked, self.closed = list(script), 0, False

    async def observe(self, hostname: str, timeout: float) -> tuple[DnsObservation, ...]:
        self.asked += 1
        return tuple(self.script.pop(0) if len(self.script) > 1 else self.script[0])

    async def aclose(self) -> None:
        self.closed = True


def service(
    *script: Sequence[DnsObservation], clock: list[float] | None = None
) -> tuple[NameService, list[Scripted]]:
    made: list[Scripted] = []
    now = clock or [0.0]

    def make(specs: Sequence[str]) -> Scripted:
        made.append(Scripted(specs, script))
        return made[-1]

    names = NameService(
        (UDP, DOH), DiagnosisTiming(last_good=100), resolvers=make, monotonic=lambda: now[0]
    )
    return names, made


async def test_all_resolvers_are_heard_and_the_trusted_one_first():
    names, _ = service([says(UDP, "9.9.9.1", "9.9.9.2"), says(DOH, "9.9.9.2", "9.9.9.3")])
    step = await names.resolve(MIRROR, "mirror.test", 5)
    assert (step.failure, step.addresses) == (None, ("9.9.9.2", "9.9.9.3", "9.9.9.1"))
    assert len(step.dns) == 2
    assert names.believed(step) == frozenset({"9.9.9.2", "9.9.9.3"})


async def test_without_a_trusted_resolver_nobody_can_say_what_to_believe():
    made = Scripted([UDP], [[says(UDP, "9.9.9.1")]])
    names = NameService((UDP,), DiagnosisTiming(), resolvers=lambda specs: made)
    assert names.believed(await names.resolve(MIRROR, "mirror.test", 5)) is None


async def test_private_addresses_are_refused_whoever_gives_them():
    names, _ = service([says(UDP, "10.0.0.1"), says(DOH, "127.0.0.1", "64:ff9b::7f00:1")])
    step = await names.resolve(MIRROR, "mirror.test", 5)
    assert (step.failure, step.addresses) == ("dns_bogon_error", ())


async def test_private_addresses_are_fine_where_the_operator_allows_them():
    names, _ = service([says(UDP, "10.0.0.1"), says(DOH, "10.0.0.1")])
    mirror = MirrorConfig("m", "https://mirror.test", allow_private=True)
    assert (await names.resolve(mirror, "mirror.test", 5)).addresses == ("10.0.0.1",)


@pytest.mark.parametrize("allow_private", [False, True])
async def test_an_answer_that_is_no_hosts_address_is_none(allow_private):
    names, _ = service([says(UDP, "0.0.0.0"), says(DOH, "::", "::ffff:0.0.0.0")])
    mirror = MirrorConfig("m", "https://mirror.test", allow_private=allow_private)
    step = await names.resolve(mirror, "mirror.test", 5)
    assert (step.failure, step.addresses) == ("dns_no_answer", ())


async def test_one_resolver_that_fails_does_not_hide_the_other():
    names, _ = service([says(UDP, failure=TIMED_OUT, seconds=5.0), says(DOH, "9.9.9.1")])
    step = await names.resolve(MIRROR, "mirror.test", 5)
    assert (step.failure, step.addresses, step.seconds) == (None, ("9.9.9.1",), 0.02)


async def test_when_all_fail_the_first_one_says_why():
    names, _ = service([says(UDP, failure=TIMED_OUT, seconds=4.0), says(DOH)])
    step = await names.resolve(MIRROR, "mirror.test", 5)
    assert (step.failure, step.addresses, step.seconds) == (TIMED_OUT, (), 4.0)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_verified_addresses_are_tried_when_no_resolver_answers(scheme):
    clock = [0.0]
    names, _ = service([says(UDP), says(DOH)], clock=clock)
    mirror = MirrorConfig("m", f"{scheme}://mirror.test")
    names.verified("mirror.test", "9.9.9.1")
    names.verified("other.test", "9.9.9.9")
    names.verified("mirror.test", "9.9.9.2")
    clock[0] = 50.0
    names.verified("mirror.test", "9.9.9.1")
    step = await names.resolve(mirror, "mirror.test", 5)
    remembered = ("9.9.9.1", "9.9.9.2") if scheme == "https" else ()
    assert (step.failure, step.addresses) == ("dns_no_answer", remembered)
    assert names.believed(step) is None
    clock[0] = 120.0
    step = await names.resolve(mirror, "mirror.test", 5)
    assert step.addresses == remembered[:1]


async def test_an_address_that_was_verified_comes_first():
    names, _ = service([says(UDP, "9.9.9.1", "9.9.9.2"), says(DOH, "9.9.9.3")])
    names.verified("mirror.test", "9.9.9.2")
    step = await names.resolve(MIRROR, "mirror.test", 5)
    assert step.addresses == ("9.9.9.2", "9.9.9.3", "9.9.9.1")


async def test_addresses_of_an_injected_answer_are_tried_last_and_only_over_tls():
    replies = (
        DnsReply("A", 0.01, addresses=("10.0.0.1",)),
        DnsReply("A", 0.1, addresses=("9.9.9.1",)),
    )
    injected = DnsObservation(UDP, "mirror.test", None, 0.01, replies)
    names, _ = service([injected, says(DOH, "9.9.9.3")])
    assert (await names.resolve(MIRROR, "mirror.test", 5)).addresses == ("9.9.9.3", "9.9.9.1")
    plain = MirrorConfig("m", "http://mirror.test")
    assert (await names.resolve(plain, "mirror.test", 5)).addresses == ("9.9.9.3",)


async def test_addresses_of_the_operator_and_literals_ask_nobody():
    names, made = service([says(UDP, "9.9.9.1")])
    pinned = MirrorConfig("m", "https://mirror.test", addresses=("10.0.0.1",))
    step = await names.resolve(pinned, "mirror.test", 5)
    assert (step.failure, step.addresses) == (None, ("10.0.0.1",))
    assert names.believed(step) is None
    assert (await names.resolve(MIRROR, "127.0.0.1", 5)).addresses == ("127.0.0.1",)
    assert made[0].asked == 0


async def test_a_flood_is_cut():
    flood = [says(UDP, *(f"9.9.{n}.1" for n in range(40))), says(DOH)]
    names, _ = service(flood)
    assert len((await names.resolve(MIRROR, "mirror.test", 5)).addresses) == MAX_ADDRESSES


async def test_other_resolvers_take_over_and_the_former_ones_are_closed():
    names, made = service([says(UDP, "9.9.9.1")])
    names.use((UDP, DOH))
    assert len(made) == 1
    names.use(("system",))
    await names.resolve(MIRROR, "mirror.test", 5)
    await names.aclose()
    assert [resolvers.asked for resolvers in made] == [0, 1]
    assert all(resolvers.closed for resolvers in made)


# --- alternates

MANY = MirrorConfig(
    "m",
    "https://Own.test",
    hostnames=("B.test", "own.test"),
    wildcard="{n}.alt.test",
    wildcard_count=3,
)


def test_names_come_in_a_stable_order_each_once():
    assert names_of(MANY) == ("own.test", "b.test", "1.alt.test", "2.alt.test", "3.alt.test")
    assert names_of(MIRROR) == ("mirror.test",)
    bounded = MirrorConfig("m", "https://a.test", wildcard="{n}.test", wildcard_count=1000)
    assert len(names_of(bounded)) == MAX_NAMES
