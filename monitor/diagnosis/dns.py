"""Meaning of several resolvers' answers to one question. The first matching rule decides.

Order and weights follow OONI's analysis (https://github.com/ooni/data, `rules.py`): a certificate
that verifies clears an answer, whatever else looks odd, and a disagreement alone proves nothing,
because content networks answer each asker differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.diagnosis.verdicts import POISONED
from monitor.probes.connect import as_address, is_of_a_host, is_public
from monitor.probes.results import DnsObservation, DnsReply, Operation, StepResult


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Further knowledge for judging answers."""

    verified: frozenset[str] = frozenset()
    """Addresses whose certificate for the name verified."""
    refused: frozenset[str] = frozenset()
    """Addresses that showed a certificate which did not."""
    trusted: frozenset[str] = frozenset()
    """Resolvers that nobody on the way can forge: asked over TLS."""
    pinned: frozenset[str] = frozenset()
    """Addresses that the operator configured."""
    forged: frozenset[str] = frozenset()
    """Addresses that were given in place of true ones before (`forged_in`)."""
    allow_private: bool = False
    cdn_of: Callable[[str], str] = lambda address: ""


def is_bogon(address: str) -> bool:
    """True if no server on the Internet can have this address.

    Mapped IPv4 addresses count as what they stand for, and all of Teredo (2001::/32), which
    injectors use for forged AAAA answers (GFWatch), is bogus.
    """
    parsed = as_address(address)
    if parsed is None or not is_public(parsed):
        return True
    return isinstance(parsed, IPv6Address) and parsed.teredo is not None


def is_nowhere(address: str) -> bool:
    """True if no host at all has this address, in no network."""
    parsed = as_address(address)
    return parsed is None or not is_of_a_host(parsed)


def judge_dns(observations: Sequence[DnsObservation], known: Knowledge) -> Finding:
    """The finding on a hostname: that of the resolver with the worst one.

    A resolver that lies does not make the mirror unreachable; whether there is an address to go
    to is another question, see `usable_addresses`.
    """
    findings = [finding for _, finding in judge_resolvers(observations, known).items()]
    if not findings:
        return Finding("unknown", rule="dns-0")
    return max(findings, key=lambda found: (found.blocked, found.down, -found.ok))


def judge_resolvers(observations: Sequence[DnsObservation], known: Knowledge) -> dict[str, Finding]:
    """One finding for each resolver."""
    everything = _Everything(tuple(observations), known)
    return {seen.resolver: _judge(seen, everything) for seen in observations}


def forged_in(observations: Sequence[DnsObservation], known: Knowledge) -> frozenset[str]:
    """The addresses that these answers show to be forged: one question got two answers, one leads
    to the mirror by its certificate, and the other to somebody else by its own."""
    questions = [
        [reply.addresses for reply in seen.replies if reply.rtype == kind]
        for seen in observations
        for kind in {reply.rtype for reply in seen.replies} - {"any"}
    ]
    false = known.refused - known.verified
    return frozenset(
        address
        for answers in questions
        if any(known.verified.issuperset(answer) for answer in answers if answer)
        for answer in answers
        if false.issuperset(answer)
        for address in answer
    )


def usable_addresses(observations: Sequence[DnsObservation], known: Knowledge) -> tuple[str, ...]:
    """Addresses to try, the best source first: pinned, verified, trusted, then other resolvers'."""
    findings = judge_resolvers(observations, known)
    trusted = [a for seen in observations if seen.resolver in known.trusted for a in seen.addresses]
    local = [
        address
        for seen in observations
        if findings[seen.resolver].verdict not in POISONED
        for address in seen.addresses
    ]
    verified = [a for seen in observations for a in seen.addresses if a in known.verified]
    ordered = dict.fromkeys((*sorted(known.pinned), *verified, *trusted, *local))
    return tuple(a for a in ordered if known.allow_private or not is_bogon(a))


@dataclass(frozen=True, slots=True)
class _Everything:
    observations: tuple[DnsObservation, ...]
    known: Knowledge

    @property
    def trusted(self) -> tuple[DnsObservation, ...]:
        return tuple(seen for seen in self.observations if seen.resolver in self.known.trusted)

    @property
    def trusted_addresses(self) -> frozenset[str]:
        return self.known.pinned | {a for seen in self.trusted for a in seen.addresses}

    def bogus(self, address: str) -> bool:
        return is_nowhere(address) or (is_bogon(address) and not self.known.allow_private)


def _judge(seen: DnsObservation, all_: _Everything) -> Finding:
    known, addresses = all_.known, set(seen.addresses)
    if injected := _injected(seen, all_):
        return injected
    if forged := addresses & (known.forged - known.verified):
        told = Code.known_forged(resolver=seen.resolver, addresses=_some(forged))
        return Finding("dns_poisoned", Level.confirmed, 1.0, 0.0, 0.0, "dns-2", (told,))
    if addresses & known.verified:
        verified = (Code.address_verified(resolver=seen.resolver),)
        return Finding("ok", Level.cleared, 0.0, 0.0, 1.0, "dns-3", verified)
    if addresses and all(map(all_.bogus, addresses)):
        return _bogon(seen, all_)
    if addresses & known.refused and not addresses & all_.trusted_addresses and all_.trusted:
        heard = [each.resolver for each in all_.trusted if each.failure is None]
        wrong = Code.address_refused(
            addresses=_some(addresses & known.refused),
            resolver=seen.resolver,
            trusted=tuple(heard or sorted(known.trusted)),
        )
        evidence = (wrong, Code.may_be_stale())
        return Finding("dns_poisoned", Level.suspected, 0.9, 0.05, 0.05, "dns-5", evidence)
    return _compared(seen, all_) if addresses else _failed(seen, all_)


def _injected(seen: DnsObservation, all_: _Everything) -> Finding | None:
    """Two different answers to one question: a resolver gives one, whatever it says.

    A query that the network has doubled may get two answers of a content network, both true.
    """
    for kind in {reply.rtype for reply in seen.replies} - {"any"}:
        replies = [reply for reply in seen.replies if reply.rtype == kind]
        if len({(reply.rcode, frozenset(reply.addresses)) for reply in replies}) < 2:
            continue
        told = tuple(map(_reply, replies[:4]))
        twice = Code.answered_twice(kind=kind, resolver=seen.resolver, replies=told)
        if bad := next((reply for reply in replies if _untrue(reply, all_)), None):
            evidence = (twice, Code.cannot_be_true(addresses=_some(bad.addresses)))
            return Finding("dns_injection", Level.confirmed, 0.98, 0.02, 0.0, "dns-1", evidence)
        if not _all_true(replies, all_):
            evidence = (twice, Code.one_answer_only())
            return Finding("dns_injection", Level.suspected, 0.9, 0.05, 0.05, "dns-1", evidence)
    return None


def _all_true(replies: Sequence[DnsReply], all_: _Everything) -> bool:
    """True if every answer leads to the mirror, or all of them into one content network."""
    if not all(reply.addresses for reply in replies):
        return False
    addresses = {address for reply in replies for address in reply.addresses}
    networks = {all_.known.cdn_of(address) for address in addresses}
    return addresses <= all_.known.verified or (len(networks) == 1 and "" not in networks)


def _reply(reply: DnsReply) -> Evidence:
    answer = _some(reply.addresses) if reply.addresses else reply.rcode
    return Code.reply(answer=answer, ms=reply.seconds * 1000)


def _untrue(reply: DnsReply, all_: _Everything) -> bool:
    refused = set(reply.addresses) & all_.known.refused
    return bool(refused) or any(map(all_.bogus, reply.addresses))


def _bogon(seen: DnsObservation, all_: _Everything) -> Finding:
    bogus = Code.not_public(resolver=seen.resolver, addresses=_some(seen.addresses))
    others = [o for o in all_.trusted if o.resolver != seen.resolver and o.failure is None]
    if any(not all(map(is_bogon, other.addresses)) for other in others):
        evidence = (bogus, Code.trusted_gives_public(), Code.may_be_stale())
        return Finding("dns_poisoned", Level.suspected, 0.95, 0.05, 0.0, "dns-4", evidence)
    verdict = "dns_down" if all(map(is_nowhere, seen.addresses)) else "dns_bogon"
    return Finding(verdict, Level.none, 0.1, 0.9, 0.0, "dns-4", (bogus,))


def _compared(seen: DnsObservation, all_: _Everything) -> Finding:
    resolver, addresses = seen.resolver, set(seen.addresses)
    trusted = all_.trusted_addresses
    if resolver in all_.known.trusted or addresses & trusted:
        same = Code.as_trusted(resolver=resolver)
        return Finding("ok", Level.none, 0.0, 0.0, 0.9, "dns-6", (same,))
    cdns = {cdn for a in trusted if (cdn := all_.known.cdn_of(a))}
    if cdns & {all_.known.cdn_of(a) for a in addresses}:
        near = Code.same_network(resolver=resolver)
        return Finding("ok", Level.none, 0.2, 0.0, 0.8, "dns-6", (near,))
    if not trusted:
        alone = Code.nothing_to_compare(resolver=resolver, addresses=_some(addresses))
        return Finding("ok", Level.none, 0.0, 0.0, 0.0, "dns-8", (alone,))
    differs = Code.differs_from_trusted(
        resolver=resolver, addresses=_some(addresses), trusted=_some(trusted)
    )
    return Finding("dns_inconsistent", Level.none, 0.3, 0.0, 0.0, "dns-8", (differs,))


def _failed(seen: DnsObservation, all_: _Everything) -> Finding:
    why = judge_step(StepResult(Operation.resolve, seen.failure, seen.seconds)).seen or ""
    fails = Code.resolver_fails(resolver=seen.resolver, failure=why)
    others = [other for other in all_.trusted if other.resolver != seen.resolver]
    if any(other.failure is None for other in others):
        evidence = (fails, Code.trusted_answers())
        return Finding("dns_blocked", Level.suspected, 0.9, 0.1, 0.0, "dns-7", evidence)
    if others or seen.resolver in all_.known.trusted:
        evidence = (fails, Code.trusted_fails())
        return Finding("dns_down", Level.none, 0.1, 0.9, 0.0, "dns-7", evidence)
    evidence = (fails, Code.none_trusted())
    return Finding("dns_down", Level.none, 0.5, 0.5, 0.0, "dns-7", evidence)


def _some(addresses: Sequence[str] | set[str] | frozenset[str]) -> tuple[str, ...] | Evidence:
    shown = addresses if isinstance(addresses, tuple) else tuple(sorted(addresses))
    if len(shown) <= 3:
        return shown
    return Code.addresses_and_more(addresses=shown[:3], count=len(shown) - 3)


@dataclass(frozen=True, slots=True)
class Strikes:
    """Recent false answers of each resolver: those that gave any go to the end of the queue."""

    times: Mapping[str, tuple[float, ...]]

    def struck(self, resolver: str, now: float, pace: DiagnosisTiming) -> Strikes:
        """One poisoned answer more; times are monotonic."""
        recent = (*self._recent(resolver, now, pace), now)[-pace.resolver_strikes :]
        return Strikes({**self.times, resolver: recent})

    def demoted(self, resolver: str, now: float, pace: DiagnosisTiming) -> bool:
        """True if it is asked last for now."""
        return len(self._recent(resolver, now, pace)) >= pace.resolver_strikes

    def in_order(
        self, resolvers: Sequence[str], now: float, pace: DiagnosisTiming
    ) -> tuple[str, ...]:
        """As configured, with those that are demoted at the end."""
        return tuple(sorted(resolvers, key=lambda name: self.demoted(name, now, pace)))

    def _recent(self, resolver: str, now: float, pace: DiagnosisTiming) -> tuple[float, ...]:
        kept = self.times.get(resolver, ())
        return tuple(at for at in kept if now - at < pace.resolver_demotion)
