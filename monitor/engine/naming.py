"""From a name to the addresses that may be tried: answers of all resolvers, none of them trusted.

Private addresses are refused from any resolver (`probes/connect.py`), since requests with keys
would go there. What remains is ordered by where it comes from; whether it is the mirror, only its
certificate tells. When no resolver knows an address any more, those that had such a certificate
within a day are tried all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from monitor.common.config import MirrorConfig
from monitor.common.tasks import STOP_WITHIN, Tasks
from monitor.diagnosis.dns import Knowledge, Strikes, is_nowhere, judge_resolvers, usable_addresses
from monitor.diagnosis.timing import NORMAL, DiagnosisTiming
from monitor.diagnosis.verdicts import POISONED
from monitor.engine.address_memory import LastGood
from monitor.probes.connect import as_address, usable
from monitor.probes.dns_transport import Patience
from monitor.probes.resolvers import Resolvers
from monitor.probes.results import NO_ANSWER, DnsObservation, Operation, ProbeFailure, StepResult


class NameService:
    """Resolves the names of mirrors until it is closed."""

    def __init__(
        self,
        specs: Sequence[str] = ("system",),
        pace: DiagnosisTiming = NORMAL,
        *,
        resolvers: Callable[[Sequence[str]], Resolvers] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        tasks: Tasks | None = None,
    ) -> None:
        self._supervisor = tasks or Tasks()
        self._pace = pace
        self._make = resolvers or self._with_patience
        self._monotonic = monotonic
        self._resolvers = self._make(specs)
        self._specs = tuple(specs)
        self._strikes = Strikes({})
        self._last_good = LastGood(pace)
        self._closing: set[asyncio.Task[None]] = set()

    async def resolve(self, mirror: MirrorConfig, hostname: str, timeout: float) -> StepResult:
        """The addresses to try for one of the mirror's names, within `timeout` seconds.

        There may be addresses although `failure` says that no resolver gives any.
        """
        fixed = self._fixed(mirror, hostname)
        if fixed:
            return StepResult(Operation.resolve, None, 0.0, addresses=fixed, hostname=hostname)
        seen = await self._resolvers.observe(hostname, timeout)
        self._strike(seen, self.knowledge(mirror, hostname))
        failure, addresses = None, self._usable(mirror, hostname, seen)
        if not addresses:
            failure = _failure(seen)
            addresses = self._remembered(mirror, hostname)
        good = [o.seconds for o in seen if o.failure is None]
        seconds = min(good) if good else max((o.seconds for o in seen), default=0.0)
        return StepResult(
            Operation.resolve, failure, seconds, addresses=addresses, hostname=hostname, dns=seen
        )

    async def answers(self, hostname: str, timeout: float) -> bool:
        """True if any resolver answers about a name within `timeout` seconds, whatever it says."""
        seen = await self._resolvers.observe(hostname, timeout)
        return any(each.failure not in NO_ANSWER for each in seen)

    def verified(self, hostname: str, address: str) -> None:
        """A certificate for the name was verified at this address."""
        self._last_good.note(hostname, address, self._monotonic())

    def knowledge(self, mirror: MirrorConfig, hostname: str) -> Knowledge:
        """Return the knowledge for judging the answers about a name."""
        return Knowledge(
            verified=frozenset(self._last_good.of(hostname, self._monotonic())),
            trusted=self._resolvers.trusted,
            pinned=frozenset(mirror.addresses),
            allow_private=mirror.allow_private,
        )

    def believed(self, resolution: StepResult) -> frozenset[str] | None:
        """The addresses from resolvers that nobody can forge; None if none of these answered."""
        trusted = self._resolvers.trusted
        told = [a for seen in resolution.dns if seen.resolver in trusted for a in seen.addresses]
        return frozenset(map(_folded, told)) or None

    def use(self, specs: Sequence[str]) -> None:
        """Ask these resolvers from now on; the former ones end what they have begun."""
        if tuple(specs) != self._specs:
            self._close(self._resolvers)
            self._specs, self._resolvers = tuple(specs), self._make(specs)

    async def aclose(self) -> None:
        """Close all connections to resolvers."""
        self._close(self._resolvers)
        await asyncio.wait(self._closing, timeout=STOP_WITHIN)

    def _close(self, resolvers: Resolvers) -> None:
        task = self._supervisor.job("resolvers", resolvers.aclose)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _with_patience(self, specs: Sequence[str]) -> Resolvers:
        pace = self._pace
        return Resolvers(specs, patience=Patience(pace.dns_tries, pace.dns_try, pace.late_window))

    def _fixed(self, mirror: MirrorConfig, hostname: str) -> tuple[str, ...]:
        literal = as_address(hostname)
        return mirror.addresses or (() if literal is None else (str(literal),))

    def _usable(
        self, mirror: MirrorConfig, hostname: str, seen: Sequence[DnsObservation]
    ) -> tuple[str, ...]:
        """The best source first; answers of a resolver that lies come last, and over TLS only.

        Of several answers to one question the latest is the likeliest: who forges is nearer.
        """
        order = [o.resolver for o in seen]
        ranked = self._strikes.in_order(order, self._monotonic(), self._pace)
        heard = sorted(seen, key=lambda o: ranked.index(o.resolver))
        good = usable_addresses(heard, self.knowledge(mirror, hostname))
        latest = [reply for o in heard for reply in reversed(o.replies)]
        doubtful = [a for r in latest for a in r.addresses] if mirror.scheme == "https" else []
        try:
            return usable((*good, *doubtful), mirror.allow_private)
        except ProbeFailure:
            return ()

    def _remembered(self, mirror: MirrorConfig, hostname: str) -> tuple[str, ...]:
        return self._last_good.of(hostname, self._monotonic()) if mirror.scheme == "https" else ()

    def _strike(self, seen: Sequence[DnsObservation], known: Knowledge) -> None:
        for resolver, finding in judge_resolvers(seen, known).items():
            if finding.verdict in POISONED:
                self._strikes = self._strikes.struck(resolver, self._monotonic(), self._pace)


def _folded(address: str) -> str:
    return str(as_address(address) or address)


def _failure(seen: Sequence[DnsObservation]) -> str:
    """Failure of a name without address: all are private, or what the first resolver says."""
    if not all(is_nowhere(address) for o in seen for address in o.addresses):
        return "dns_bogon_error"
    return next((o.failure for o in seen if o.failure), "dns_no_answer")
