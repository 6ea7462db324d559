"""The cells of the diagnosis matrix: what the network does, and what has to be said of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.testkit.censor.dns_script import reply
from tests.testkit.censor.naming import GENUINE, judge_name, lies
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
from tests.testkit.censor.scene import RESIDUAL, Scene
from tests.testkit.censor.transfers import SLOW, judge_transfers
from tests.testkit.censor.watching import TIMEOUT, Diagnosed

Arrange = Callable[[Scene, bool], Awaitable[None]]
"""Makes a scene's network behave so; the second argument: whether the censor remembers."""
Examine = Callable[[Scene, int], Awaitable[list[Diagnosed]]]
"""Finds out what is wrong; the number is `Cell.probes`."""


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
    """True if the last of them has to confirm that a name is blocked, on every path."""
    examine: Examine = Scene.diagnose


def named(action: Action) -> Arrange:
    """The censor does this to the mirror's name."""

    async def arrange(scene: Scene, remembers: bool) -> None:
        kept = Residual(RESIDUAL, DROP if action is DROP else RST) if remembers else None
        scene.censor.rules = (Rule(exactly(scene.hostname), action, residual=kept),)

    return arrange


def diverted(kind: str) -> Arrange:
    """Connections with the mirror's name end at another server."""

    async def arrange(scene: Scene, remembers: bool) -> None:
        await named(divert(*scene.world.others[kind].address))(scene, remembers)

    return arrange


def standing(mode: str) -> Arrange:
    """The first address refuses or swallows connections."""

    async def arrange(scene: Scene, remembers: bool) -> None:
        await scene.censor.become(mode, scene.addresses[0])

    return arrange


def ruled(*rules: Rule) -> Arrange:
    """The network does this to everybody."""

    async def arrange(scene: Scene, remembers: bool) -> None:
        scene.censor.rules = rules

    return arrange


def said(lie: str) -> Arrange:
    """The resolver over UDP says that; the trusted one tells the truth."""

    async def arrange(scene: Scene, remembers: bool) -> None:
        scene.world.resolver.script.set(scene.hostname, *lies(lie))
        scene.world.doh.script.set(scene.hostname, reply(*GENUINE[:2]))

    return arrange


async def unknown_name(scene: Scene, remembers: bool) -> None:
    """Nobody knows the name."""


async def rotating(scene: Scene, remembers: bool) -> None:
    """A CDN gives everybody another of its addresses each time."""
    for script in (scene.world.resolver.script, scene.world.doh.script):
        script.rotate(scene.hostname, *(reply(address) for address in GENUINE))


async def passing(scene: Scene, remembers: bool) -> None:
    """Nothing is wrong."""


def _is(*verdicts: str) -> frozenset[str]:
    return frozenset(verdicts)


SYMPTOMS = (
    Cell("pass", passing, _is("ok")),
    Cell("rst", named(RST), _is("sni_block_rst"), remembers=True, episodes=2, confirms=True),
    Cell("fin", named(FIN), _is("sni_block_fin"), remembers=True, episodes=2, confirms=True),
    Cell("drop", named(DROP), _is("sni_block_drop"), remembers=True, episodes=2, confirms=True),
    Cell("alert", named(alert()), _is("tls_alert")),
    Cell("blockpage", named(BLOCK_PAGE), _is("block_page"), remembers=True),
    Cell("rst_mid", named(RST_MID), _is("tls_reset_late"), remembers=True),
    Cell("mitm", diverted("mitm"), _is("tls_mitm"), remembers=True),
    Cell("expired", diverted("expired"), _is("cert_expired")),
    Cell("wrong-host", diverted("wrong-host"), _is("ssl_invalid_hostname")),
    Cell("every name reset", ruled(Rule(every_hello, RST)), _is("tls_block")),
    Cell("every byte reset", ruled(Rule(everything, RST)), _is("ip_port_block")),
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


async def restarting(scene: Scene, remembers: bool) -> None:
    """The server goes down at a moment of the experiment, is away, and comes back."""
    scene.censor.rules = (Rule(exactly(scene.hostname), RST, chance=0.5),)

    async def restart() -> None:
        await asyncio.sleep(scene.rng.uniform(0.0, 0.2))
        scene.censor.cut()
        await scene.censor.become("refuse")
        await asyncio.sleep(scene.rng.uniform(0.2, 2.0))
        scene.censor.rules = ()
        await scene.censor.become("serve")

    scene.meanwhile(restart())


async def slow(scene: Scene, remembers: bool) -> None:
    """The server is too slow for a while, then it is not, and so on."""
    late = Rule(everything, Relay("late", delay=TIMEOUT * 1.5))
    scene.censor.rules = (late,)

    async def breathe() -> None:
        while True:
            for rules in ((late,), ()):
                scene.censor.rules = rules
                await asyncio.sleep(scene.rng.uniform(1.0, 4.0))

    scene.meanwhile(breathe())


async def stranger_resets(scene: Scene, remembers: bool) -> None:
    """A server that resets names it does not serve, and once in a while its own."""
    scene.censor.rules = (
        Rule(other_than(scene.hostname), RST),
        Rule(exactly(scene.hostname), RST, chance=0.1),
    )


async def down(scene: Scene, remembers: bool) -> None:
    """Our own uplink fails: nothing connects, and the anchors say so."""
    scene.online = False
    scene.censor.rules = (Rule(everything, DROP),)
    if scene.rng.random() < 0.5:
        await scene.censor.become("swallow")


LOST_ONCE = Relay("lost once", delay=TIMEOUT * 0.2)
LOST_OFTEN = End("lost often", Ending.drop)
"""On a link that loses 20 of 100 packets every fifth hello comes late, and about one in a hundred
is lost three times, which takes longer than a probe waits."""

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
