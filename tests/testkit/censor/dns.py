"""A pretend resolver on the loopback address: UDP and TCP on one port, or HTTPS (RFC 8484).

async with DnsServer(Script({"alpha.mirror.test": [reply("203.0.113.7")]})) as resolver:
    ... resolver.port ... resolver.queries ...
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from aiohttp import web
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Rcode

from tests.testkit.certs import Leaf
from tests.testkit.listener import Conversations
from tests.testkit.ports import HOST

__all__ = ["NOERROR", "NXDOMAIN", "REFUSED", "SERVFAIL", "Reply", "Script"]

TTL = 60

BIND_ATTEMPTS = 20
MEDIA_TYPE = "application/dns-message"


@dataclass(frozen=True, slots=True)
class Reply:
    """One datagram in answer to a query, or one answer over TCP or HTTPS."""

    addresses: tuple[str, ...] = ()
    """IPv4 and IPv6; a query gets those of its type."""
    aliases: tuple[str, ...] = ()
    """A chain of CNAME records from the name asked for; the last one has the addresses."""
    rcode: Rcode = NOERROR
    after: float = 0.0
    """Seconds after the query."""
    wrong_id: bool = False
    truncated: bool = False
    """Over UDP nothing but the flag that says: ask over TCP."""
    forged: bool = False
    """Put in by somebody on the way, who reads UDP only."""

    def wire(self, query: dns.message.Message, *, udp: bool) -> bytes:
        """Return the message that answers `query`."""
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(self.rcode)
        if self.truncated and udp:
            response.flags |= dns.flags.TC
        else:
            response.answer = self._records(query)
        if self.wrong_id:
            response.id ^= 0x5555
        return response.to_wire()

    def _records(self, query: dns.message.Message) -> list[dns.rrset.RRset]:
        question = query.question[0]
        records, owner = [], question.name.to_text()
        for alias in self.aliases:
            target = alias.rstrip(".") + "."
            records.append(dns.rrset.from_text(owner, TTL, "IN", "CNAME", target))
            owner = target
        wanted = dns.rdatatype.to_text(question.rdtype)
        fitting = [a for a in self.addresses if wanted == ("AAAA" if ":" in a else "A")]
        if fitting:
            records.append(dns.rrset.from_text(owner, TTL, "IN", wanted, *fitting))
        return records


def reply(*addresses: str, after: float = 0.0, aliases: tuple[str, ...] = ()) -> Reply:
    """An ordinary answer."""
    return Reply(addresses, aliases, after=after)


SILENCE: tuple[Reply, ...] = ()
Replies = Sequence[Reply]


def forged_first(forged: Reply, genuine: Reply, gap: float) -> Replies:
    """An injector that is nearer than the resolver: its answer comes `gap` seconds sooner."""
    return (replace(forged, forged=True), replace(genuine, after=forged.after + gap))


def genuine_first(forged: Reply, genuine: Reply, gap: float) -> Replies:
    """An injector that is farther away."""
    return (genuine, replace(forged, forged=True, after=genuine.after + gap))


class Script:
    """Replies by name (small letters, no dot at the end); names without any do not exist.

    `rotate` gives a name another of several answers with every query, as a CDN does.
    """

    def __init__(self, names: Mapping[str, Replies] | None = None) -> None:
        self._turns: dict[str, tuple[Replies, ...]] = {}
        self._asked = count()
        for name, replies in (names or {}).items():
            self.set(name, *replies)

    def set(self, name: str, *replies: Reply) -> None:
        """All of these, each at its time, answer every query for `name`; none is silence."""
        self._turns[name] = (replies,)

    def rotate(self, name: str, *replies: Reply) -> None:
        """These take turns."""
        self._turns[name] = tuple((each,) for each in replies)

    def forget(self, name: str) -> None:
        """The name no longer exists."""
        self._turns.pop(name, None)

    def answers(self, query: dns.message.Message, *, udp: bool) -> list[tuple[float, bytes]]:
        """Return what to send, and after how many seconds; over TCP at most one answer."""
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        turns = self._turns.get(name, ((Reply(rcode=NXDOMAIN),),))
        replies = turns[next(self._asked) % len(turns)]
        if not udp:
            replies = [each for each in replies if not each.forged][:1]
        return [(each.after, each.wire(query, udp=udp)) for each in replies]


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and the way it was asked."""

    transport: str
    """udp, tcp or https"""
    name: str
    kind: str
    """A, AAAA, ..."""


class _Answering:
    """Parts that all transports share."""

    def __init__(self, script: Script | None) -> None:
        self.script = script or Script()
        self.queries: list[Query] = []

    def _answers(self, wire: bytes, transport: str) -> list[tuple[float, bytes]]:
        """Return the answers of the script; none to what is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return []
        if not query.question:
            return []
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.queries.append(Query(transport, name, dns.rdatatype.to_text(question.rdtype)))
        return self.script.answers(query, udp=transport == "udp")


class DnsServer(_Answering):
    """Over UDP and TCP; a context manager."""

    def __init__(self, script: Script | None = None, host: str = HOST) -> None:
        super().__init__(script)
        self.host, self.port = host, 0
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._conversations = Conversations(self._converse)
        self._later: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """HOST:PORT"""
        return f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        for left in reversed(range(BIND_ATTEMPTS)):
            self._server = await asyncio.start_server(self._conversations.begin, self.host, 0)
            self.port = self._server.sockets[0].getsockname()[1]
            try:
                self._datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: _Datagrams(self), (self.host, self.port)
                )
            except OSError:
                self._server.close()
                if not left:
                    raise
            else:
                break
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._datagrams is not None
        self._server.close()
        self._datagrams.close()
        await self._conversations.close()
        later = list(self._later)
        for task in later:
            task.cancel()
        await asyncio.gather(*later, return_exceptions=True)

    def reply_to(self, wire: bytes, client: Any) -> None:
        """Answer a datagram, now and later."""
        for after, answer in self._answers(wire, "udp"):
            task = asyncio.create_task(self._send(after, answer, client))
            self._later.add(task)
            task.add_done_callback(self._later.discard)

    async def _send(self, after: float, answer: bytes, client: Any) -> None:
        await asyncio.sleep(after)
        assert self._datagrams is not None
        self._datagrams.sendto(answer, client)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer queries that come with their length before them (RFC 1035 section 4.2.2)."""
        while length := await _exactly(2, reader):
            query = await _exactly(int.from_bytes(length), reader)
            for after, answer in self._answers(query, "tcp"):
                await asyncio.sleep(after)
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()


async def _exactly(length: int, reader: asyncio.StreamReader) -> bytes:
    """Read so many bytes; none at the end of the stream."""
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return b""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._server.reply_to(data, addr)


class DohServer(_Answering):
    """Over HTTPS by POST, at /dns-query; silence is an answer that never comes."""

    def __init__(self, leaf: Leaf, script: Script | None = None, host: str = HOST) -> None:
        super().__init__(script)
        self.host, self.port, self._leaf = host, 0, leaf
        application = web.Application()
        application.router.add_post("/dns-query", self._post)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )

    @property
    def url(self) -> str:
        """By its address, for which the certificate must hold."""
        return f"https://{self.host}:{self.port}/dns-query"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(
            self._runner, self.host, 0, ssl_context=self._leaf.server_context()
        ).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        if request.content_type != MEDIA_TYPE:
            raise web.HTTPUnsupportedMediaType
        answers = self._answers(await request.read(), "https")
        if not answers:
            await asyncio.Event().wait()
        after, answer = answers[0]
        await asyncio.sleep(after)
        return web.Response(body=answer, content_type=MEDIA_TYPE)
