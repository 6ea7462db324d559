"""Asks a scene's resolvers, one that anybody can forge and one over HTTPS, and judges them."""

from monitor.diagnosis.dns import Knowledge, judge_dns
from monitor.probes.dns_transport import Patience
from monitor.probes.resolvers import Resolvers
from tests.testkit.censor.dns_script import (
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
from tests.testkit.censor.scene import Scene
from tests.testkit.censor.watching import Diagnosed

GENUINE = ("104.16.1.1", "104.16.1.2", "104.16.1.3", "104.16.1.4")
"""Addresses that nobody connects to; others would be taken for bogus."""
BOGUS, WRONG = "10.10.34.34", "8.7.198.46"
"""Of forged answers: one that no public server has, and one whose certificate is refused."""
PATIENCE = Patience(tries=2, each=1.5, late=0.3)
TIMEOUT = 6.0
GAP = 0.1


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


async def judge_name(scene: Scene, probes: int) -> list[Diagnosed]:
    """Ask all resolvers about the scene's name."""
    plain, doh = scene.world.resolver, scene.world.doh
    specs = [f"udp://{plain.address}", doh.url]
    resolvers = Resolvers(specs, patience=PATIENCE, trust=scene.world.trust)
    try:
        seen = await resolvers.observe(scene.hostname, TIMEOUT)
    finally:
        await resolvers.aclose()
    known = Knowledge(trusted=frozenset({doh.url}), refused=frozenset({WRONG}))
    return [Diagnosed(judge_dns(seen, known))]
