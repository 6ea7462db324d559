"""The cells of the diagnosis matrix: what the network does, and what has to be said of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from monitor.common.config import MirrorConfig, MonitorTimeouts
from monitor.diagnosis.dns import Knowledge, judge_dns
from monitor.diagnosis.throughput import SAMPLES, Sample, judge_throughput
from monitor.probes.dns_transport import Patience
from monitor.probes.opening import Budget, open_path
from monitor.probes.resolvers import Resolvers
from monitor.probes.results import Way
from monitor.probes.throughput import BulkLimits, measure
from tests.scenarios.diagnosis_setup import RESIDUAL, Setup
from tests.testkit.censor.dns import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    SILENCE,
    Replies,
    Reply,
    forged_first,
    genuine_first,
    reply,
)
from tests.testkit.censor.path_watcher import TIMEOUT, Diagnosed
from tests.testkit.censor.rules import (
    BLOCK_PAGE,
    BYTE_CAP,
    DROP,
    FIN,
    RST,
    RST_MID,
    Action,
    End,
    Ending,
    Relay,
    Residual,
    Rule,
    alert,
    divert,
    every_hello,
    everything,
    exactly,
    other_than,
    throttle,
)

GENUINE = ("104.16.1.1", "104.16.1.2", "104.16.1.3", "104.16.1.4")
"""Addresses that nobody connects to; others would be taken for bogus."""
BOGUS, WRONG = "10.10.34.34", "8.7.198.46"
"""Of forged answers: one that no public server has, and one whose certificate is refused."""
PATIENCE = Patience(tries=2, each=3.0, late=1.0)
NAMING_TIMEOUT = 10.0
GAP = 0.1

USUAL = 250_000.0
"""Bytes per second that the mirror is taken to have had in the past; little, because all mirrors
and clients of a test share one event loop."""
SLOW = 16_000
"""Less than a tenth of that."""
AT_ONCE = 100
LIMITS = BulkLimits(whole=30.0, stall=3.0)
TIMEOUTS = MonitorTimeouts(connect=5.0, handshake=5.0)
_WHOLE = 60.0
Arrange = Callable[[Setup, bool], Awaitable[None]]
"""Makes a set-up's network behave so; the second argument: whether the censor remembers."""
Examine = Callable[[Setup, int], Awaitable[list[Diagnosed]]]
"""Finds out what is wrong; the number is `Cell.probes`."""
LOST_ONCE = Relay("lost once", delay=TIMEOUT * 0.2)
LOST_OFTEN = End("lost often", Ending.drop)
"""On a link that loses 20 of 100 packets every fifth hello comes late, and about one in a hundred
is lost three times, which takes longer than a probe waits."""


def lies(name: str) -> Replies:
    """Return what the resolver over UDP says of a name that is tampered with in this way."""
    genuine = reply(*GENUINE[:2])
    return {
        "nx": (Reply(rcode=NXDOMAIN),),
        "servfail": (Reply(rcode=SERVFAIL),),
        "refused": (Reply(rcode=REFUSED),),
        "silence": SILENCE,
        "wrong id": (Reply(GENUINE[:2], wrong_id=True),),
        "bogon": (reply(BOGUS),),
        "wrong address": (reply(WRONG),),
        "two answers, forged first": forged_first(reply(BOGUS), genuine, GAP),
        "two answers, forged last": genuine_first(reply(WRONG), genuine, GAP),
        "truncated": (Reply(GENUINE[:2], truncated=True),),
        "other addresses": (reply(*GENUINE[2:]),),
    }[name]


async def judge_name(setup: Setup, probes: int) -> list[Diagnosed]:
    """Ask all resolvers about the set-up's name."""
    plain, doh = setup.servers.resolver, setup.servers.doh
    specs = [f"udp://{plain.address}", doh.url]
    resolvers = Resolvers(specs, patience=PATIENCE, trust=setup.servers.trust)
    try:
        seen = await resolvers.observe(setup.hostname, NAMING_TIMEOUT)
    finally:
        await resolvers.aclose()
    known = Knowledge(trusted=frozenset({doh.url}), refused=frozenset({WRONG}))
    return [Diagnosed(judge_dns(seen, known))]


async def judge_transfers(setup: Setup, probes: int) -> list[Diagnosed]:
    """Fetch the same over each path several times; one finding for each path."""
    return list(await asyncio.gather(*(_judge(setup, address) for address in setup.addresses)))


async def _judge(setup: Setup, address: str) -> Diagnosed:
    samples = await asyncio.gather(*(_transfer(setup, address) for _ in range(SAMPLES)))
    return Diagnosed(judge_throughput(samples, USUAL, others_normal=True))


async def _transfer(setup: Setup, address: str) -> Sample:
    mirror = MirrorConfig(
        id="mirror",
        url=f"https://{setup.hostname}:{setup.port}",
        bulk_path="/bulk",
        ca_file=str(setup.servers.ca_file),
    )
    way, contexts = Way(setup.hostname, address), setup.servers.contexts
    async with (
        setup.servers.transfers,
        open_path(mirror, way, contexts, TIMEOUTS, Budget.of(_WHOLE)) as found,
    ):
        assert found.stream is not None, found.failure
        transfer = await measure(found.stream, mirror, setup.hostname, "tests", LIMITS)
    return Sample(transfer.received, transfer.goodput, transfer.failure is not None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of network."""

    name: str
    arrange: Arrange
    verdicts: frozenset[str]
    """The right ones, for the first address; empty for a negative control, where any will do
    that is no confirmed block."""
    elsewhere: frozenset[str] | None = None
    """The right ones for a second address, if they differ."""
    remembers: bool = False
    """True if it makes sense that the censor remembers."""
    addresses: tuple[int, ...] = (1, 2)
    """How many addresses the mirror has, in each variant."""
    probes: int = 1
    """Routine probes within which a failure must show."""
    episodes: int = 1
    """How often the mirror is diagnosed in a row, with what was believed before in mind."""
    confirms: bool = False
    """True if the last of them has to confirm that a name is blocked, on every path, where the
    censor remembers; where it does not, a server that has lost the name looks the same."""
    examine: Examine = Setup.diagnose


def named(action: Action) -> Arrange:
    """The censor does this to the mirror's name."""

    async def arrange(setup: Setup, remembers: bool) -> None:
        kept = Residual(RESIDUAL, DROP if action is DROP else RST) if remembers else None
        setup.censor.rules = (Rule(exactly(setup.hostname), action, residual=kept),)

    return arrange


def diverted(kind: str) -> Arrange:
    """Connections with the mirror's name end at another server."""

    async def arrange(setup: Setup, remembers: bool) -> None:
        await named(divert(*setup.servers.others[kind].address))(setup, remembers)

    return arrange


def standing(mode: str) -> Arrange:
    """The first address refuses or swallows connections."""

    async def arrange(setup: Setup, remembers: bool) -> None:
        await setup.censor.become(mode, setup.addresses[0])

    return arrange


def ruled(*rules: Rule) -> Arrange:
    """The network does this to everybody."""

    async def arrange(setup: Setup, remembers: bool) -> None:
        setup.censor.rules = rules

    return arrange


def said(lie: str) -> Arrange:
    """The resolver over UDP says that; the trusted one tells the truth."""

    async def arrange(setup: Setup, remembers: bool) -> None:
        setup.servers.resolver.script.set(setup.hostname, *lies(lie))
        setup.servers.doh.script.set(setup.hostname, reply(*GENUINE[:2]))

    return arrange


async def unknown_name(setup: Setup, remembers: bool) -> None:
    """Nobody knows the name."""


async def rotating(setup: Setup, remembers: bool) -> None:
    """A CDN gives everybody another of its addresses each time."""
    for script in (setup.servers.resolver.script, setup.servers.doh.script):
        script.rotate(setup.hostname, *(reply(address) for address in GENUINE))


async def passing(setup: Setup, remembers: bool) -> None:
    """Nothing is wrong."""


def _is(*verdicts: str) -> frozenset[str]:
    return frozenset(verdicts)


SYMPTOMS = (
    Cell("pass", passing, _is("ok")),
    Cell("rst", named(RST), _is("sni_block_rst"), remembers=True, episodes=2, confirms=True),
    Cell("fin", named(FIN), _is("sni_block_fin"), remembers=True, episodes=2, confirms=True),
    # Silence lasts longer here than the censor remembers: it is confirmed where minutes pass.
    Cell("drop", named(DROP), _is("sni_block_drop"), remembers=True, episodes=2),
    Cell("alert", named(alert()), _is("tls_alert")),
    Cell("blockpage", named(BLOCK_PAGE), _is("block_page"), remembers=True),
    Cell("rst_mid", named(RST_MID), _is("tls_reset_late"), remembers=True),
    Cell("mitm", diverted("mitm"), _is("tls_mitm"), remembers=True),
    Cell("expired", diverted("expired"), _is("cert_expired")),
    Cell("wrong-host", diverted("wrong-host"), _is("ssl_invalid_hostname")),
    Cell("every name reset", ruled(Rule(every_hello, RST)), _is("tls_reset")),
    Cell("every byte reset", ruled(Rule(everything, RST)), _is("tls_reset")),
    Cell(
        "every name met with silence",
        ruled(Rule(every_hello, DROP)),
        _is("tls_timeout"),
        addresses=(1,),
    ),
    Cell("refused", standing("refuse"), _is("connection_refused"), elsewhere=_is("ok")),
    Cell("syn-drop", standing("swallow"), _is("ip_unreachable"), _is("ok")),
    Cell("throttle", named(throttle(SLOW)), _is("throttled"), examine=judge_transfers),
    Cell("cap of 16 KiB", named(BYTE_CAP), _is("byte_cap_freeze"), examine=judge_transfers),
    *(
        Cell(f"dns {lie}", said(lie), _is(verdict), addresses=(1,), examine=judge_name)
        for lie, verdict in (
            ("nx", "dns_blocked"),
            ("servfail", "dns_blocked"),
            ("refused", "dns_blocked"),
            ("silence", "dns_blocked"),
            ("wrong id", "dns_blocked"),
            ("bogon", "dns_poisoned"),
            ("wrong address", "dns_poisoned"),
            ("two answers, forged first", "dns_injection"),
            ("two answers, forged last", "dns_injection"),
            ("truncated", "ok"),
        )
    ),
    Cell("dns nx everywhere", unknown_name, _is("dns_down"), addresses=(1,), examine=judge_name),
)


async def restarting(setup: Setup, remembers: bool) -> None:
    """The server goes down at a moment of the experiment, is away, and comes back."""
    setup.censor.rules = (Rule(exactly(setup.hostname), RST, chance=0.5),)

    async def restart() -> None:
        await asyncio.sleep(setup.rng.uniform(0.0, 0.2))
        setup.censor.cut()
        await setup.censor.become("refuse")
        await asyncio.sleep(setup.rng.uniform(0.2, 2.0))
        setup.censor.rules = ()
        await setup.censor.become("serve")

    setup.meanwhile(restart())


async def slow(setup: Setup, remembers: bool) -> None:
    """The server is too slow for a while, then it is not, and so on."""
    late = Rule(everything, Relay("late", delay=TIMEOUT * 1.5))
    setup.censor.rules = (late,)

    async def breathe() -> None:
        while True:
            for rules in ((late,), ()):
                setup.censor.rules = rules
                await asyncio.sleep(setup.rng.uniform(1.0, 4.0))

    setup.meanwhile(breathe())


async def stranger_resets(setup: Setup, remembers: bool) -> None:
    """A server that resets names it does not serve, and once in a while its own."""
    setup.censor.rules = (
        Rule(other_than(setup.hostname), RST),
        Rule(exactly(setup.hostname), RST, chance=0.1),
    )


async def down(setup: Setup, remembers: bool) -> None:
    """Our own uplink fails: nothing connects, and the anchors say so."""
    setup.online = False
    setup.censor.rules = (Rule(everything, DROP),)
    if setup.rng.random() < 0.5:
        await setup.censor.become("swallow")


NEGATIVE = (
    Cell("server restart", restarting, _is(), probes=20, episodes=2),
    Cell("5 % random RST", ruled(Rule(everything, RST, chance=0.05)), _is(), probes=60, episodes=3),
    Cell("slow server", slow, _is(), probes=5, episodes=3),
    Cell(
        "20 % loss",
        ruled(
            Rule(everything, LOST_OFTEN, chance=0.2**3),
            Rule(everything, LOST_ONCE, chance=0.2),
        ),
        _is(),
        probes=60,
    ),
    Cell("unknown names reset", stranger_resets, _is(), probes=60, episodes=2),
    Cell("name that its server has lost", named(RST), _is(), episodes=3),
    Cell("dead backends of a load balancer", ruled(Rule(every_hello, RST)), _is(), episodes=2),
    Cell("own uplink down", down, _is("local_network_down"), probes=1),
    Cell(
        "rotating CDN addresses",
        rotating,
        _is("ok", "dns_inconsistent"),
        addresses=(1,),
        episodes=4,
        examine=judge_name,
    ),
    Cell(
        "other CDN addresses",
        said("other addresses"),
        _is("dns_inconsistent"),
        addresses=(1,),
        examine=judge_name,
    ),
    Cell("steady transfers", passing, _is("ok"), examine=judge_transfers),
)
