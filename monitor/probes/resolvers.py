"""All resolvers of the configuration, asked side by side; each answer is an observation.

What a resolver says is not judged here: private addresses, contradictions and failures are kept
as they came. Whoever connects to an address must have passed it through `connect.usable` first.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from monitor.common.resolver_spec import ResolverSpec, parse_resolver
from monitor.probes.dns_https import HttpsResolver
from monitor.probes.dns_messages import RTYPES, NotAReply, Question, failure_in
from monitor.probes.dns_transport import MAX_REPLIES, Patience, over_tcp, over_udp
from monitor.probes.failures import failure_of
from monitor.probes.results import DnsObservation, DnsReply, ProbeFailure
from monitor.probes.system_resolver import SystemResolver, nameserver

_MISBEHAVING = "dns_server_misbehaving"
_SAYS_LITTLE = "dns_no_answer"
"""Of two failures the other one tells more: a name may well have addresses of one kind only."""
_SLACK = 0.5
"""Seconds: each exchange keeps the limit by itself; this is for the case that it does not."""

_DNS_PORT = 53

Ask = Callable[[str, float], Awaitable[DnsObservation]]
Exchange = Callable[[Question, float], Awaitable[tuple[DnsReply, ...]]]
Answer = tuple[tuple[DnsReply, ...], str | None]
"""The replies to one question, or how it failed."""


class Resolvers:
    """Asks about names until it is closed."""

    def __init__(
        self,
        specs: Sequence[str],
        *,
        patience: Patience | None = None,
        trust: ssl.SSLContext | None = None,
        system: SystemResolver | None = None,
        server: Callable[[], str | None] = nameserver,
        port: int = _DNS_PORT,
    ) -> None:
        """`trust` takes the place of the system's authorities for DNS over HTTPS; `server` tells
        the address of the system resolver's own server, None to leave that alone."""
        self._patience = patience or Patience()
        self._system = system or SystemResolver()
        self._server, self._port = server, port
        self._trust = trust
        self._https: list[HttpsResolver] = []
        self.specs = tuple(parse_resolver(text) for text in dict.fromkeys(specs))
        self.trusted = frozenset(spec.text for spec in self.specs if spec.trusted)
        """Those whose answers nobody on the way can change."""
        self._asks = [self._ask(spec) for spec in self.specs]
        self._running = 0
        self._idle = asyncio.Event()

    async def observe(self, hostname: str, timeout: float) -> tuple[DnsObservation, ...]:
        """Observe the answers of all resolvers about a name, in their order, within `timeout`
        seconds."""
        self._running += 1
        try:
            return tuple(await asyncio.gather(*(ask(hostname, timeout) for ask in self._asks)))
        finally:
            self._running -= 1
            self._idle.set()

    async def aclose(self) -> None:
        """Give back all connections, those in use as soon as what runs on them has ended.

        What hangs in the system's resolver ends by itself.
        """
        while self._running:
            self._idle.clear()
            await self._idle.wait()
        await asyncio.gather(*(resolver.aclose() for resolver in self._https))

    def _ask(self, spec: ResolverSpec) -> Ask:
        """Ask this resolver about one name."""
        if spec.kind == "system":
            return self._ask_the_system
        exchange = self._exchange(spec)

        async def ask(hostname: str, timeout: float) -> DnsObservation:
            started = time.perf_counter()
            answers = await asyncio.gather(
                *(_answer(exchange, hostname, rtype, timeout) for rtype in RTYPES)
            )
            ended = time.perf_counter() - started
            return _observation(spec.text, hostname, answers, ended)

        return ask

    def _exchange(self, spec: ResolverSpec) -> Exchange:
        if spec.kind == "https":
            https = HttpsResolver(spec.text, self._system, self._trust)
            self._https.append(https)

            async def over_https(question: Question, timeout: float) -> tuple[DnsReply, ...]:
                return (await https.ask(question, timeout),)

            return over_https

        async def over_a_socket(question: Question, timeout: float) -> tuple[DnsReply, ...]:
            if spec.kind == "tcp":
                return (await over_tcp(question, spec.address, spec.port, timeout),)
            return await over_udp(question, spec.address, spec.port, self._patience, timeout)

        return over_a_socket

    async def _ask_the_system(self, hostname: str, timeout: float) -> DnsObservation:
        """The system's answer, and if its server is heard to answer twice, these answers too."""
        started = time.perf_counter()
        failure, found = None, []
        listening = asyncio.create_task(self._contradictions(hostname, timeout))
        try:
            try:
                found = await self._system.addresses(hostname, timeout)
            except (OSError, UnicodeError) as error:
                failure = failure_of(error)
            seconds = time.perf_counter() - started
            left = max(timeout - seconds, 0.0)
            await asyncio.wait({listening}, timeout=min(self._patience.late + _SLACK, left))
            twice = listening.result() if listening.done() else ()
        finally:
            listening.cancel()
            await asyncio.wait({listening})
        by_system = (DnsReply("any", seconds, addresses=tuple(found)),) if found else ()
        replies = by_system + twice
        failure = None if any(reply.addresses for reply in replies) else failure
        return DnsObservation("system", hostname, failure, seconds, replies[:MAX_REPLIES])

    async def _contradictions(self, hostname: str, timeout: float) -> tuple[DnsReply, ...]:
        """Different replies of the system resolver's server to one question; `getaddrinfo` takes
        the first and hides the others.

        A server on this machine, and names that no such server is asked for, are left alone.
        """
        address = self._server() if "." in hostname.rstrip(".") else None
        if address is None:
            return ()
        once = replace(self._patience, tries=1)

        async def exchange(question: Question, timeout: float) -> tuple[DnsReply, ...]:
            return await over_udp(question, address, self._port, once, timeout)

        answers = await asyncio.gather(
            *(_answer(exchange, hostname, rtype, timeout) for rtype in RTYPES)
        )
        return tuple(
            reply
            for replies, _ in answers
            if len({(each.rcode, frozenset(each.addresses)) for each in replies}) > 1
            for reply in replies
        )


async def _answer(exchange: Exchange, hostname: str, rtype: str, timeout: float) -> Answer:
    try:
        question = Question.about(hostname, rtype)
        async with asyncio.timeout(timeout + _SLACK):
            return (await exchange(question, timeout)), None
    except NotAReply:
        return (), _MISBEHAVING
    except ProbeFailure as error:
        return (), error.failure
    except (OSError, EOFError, UnicodeError) as error:
        return (), failure_of(error)


def _observation(
    resolver: str, hostname: str, answers: Sequence[Answer], ended: float
) -> DnsObservation:
    replies = sorted((r for answer, _ in answers for r in answer), key=lambda r: r.seconds)
    good = next((reply for reply in replies if reply.addresses), None)
    if good is not None:
        kept = tuple(replies[:MAX_REPLIES])
        return DnsObservation(resolver, hostname, None, good.seconds, kept)
    failures = [failure for reply in replies if (failure := failure_in(reply))]
    failures += [failure for _, failure in answers if failure]
    failure = next((f for f in failures if f != _SAYS_LITTLE), _SAYS_LITTLE)
    return DnsObservation(resolver, hostname, failure, ended, tuple(replies[:MAX_REPLIES]))
