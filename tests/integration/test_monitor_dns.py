"""Resolvers against scripted servers: over UDP, TCP and HTTPS, and the system's."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web

from monitor.common.config import DnsConfig, MirrorConfig, MonitorConfig
from monitor.diagnosis.dns import Knowledge, judge_dns
from monitor.engine.diagnose import probe_once
from monitor.probes.connect import MAX_ADDRESSES
from monitor.probes.dns_transport import MAX_REPLIES, Patience
from monitor.probes.resolvers import Resolvers
from monitor.probes.results import TIMED_OUT, DnsObservation
from monitor.probes.system_resolver import MAX_THREADS, Busy, SystemResolver, nameserver
from tests.testkit.certs import Authority
from tests.testkit.ports import free_port
from tests.testkit.wait import wait_until, wait_until_async

SOON = Patience(tries=2, each=0.3, late=0.3)
Script = Callable[[dns.message.Message], Sequence[tuple[float, bytes]]]
"""What is sent back to a question: how many seconds later, and what."""


def reply(query: dns.message.Message, *records: str, rcode: str = "NOERROR") -> dns.message.Message:
    """An answer; a record is "A 192.0.2.1" or "CNAME other.test" or "name A 192.0.2.1"."""
    message = dns.message.make_response(query)
    message.set_rcode(dns.rcode.from_text(rcode))
    wanted = dns.rdatatype.to_text(query.question[0].rdtype)
    for record in records:
        *owner, rtype, value = record.split()
        name = owner[0] + "." if owner else query.question[0].name
        value = f"{value}." if rtype == "CNAME" else value
        if rtype in (wanted, "CNAME"):
            message.answer.append(dns.rrset.from_text(name, 60, "IN", rtype, value))
    return message


def at_once(*records: str, rcode: str = "NOERROR") -> Script:
    return lambda query: [(0.0, reply(query, *records, rcode=rcode).to_wire())]


class Server(asyncio.DatagramProtocol):
    """A resolver that follows a script over UDP, and another one over TCP, on one port."""

    def __init__(self, script: Script, over_tcp: Script | None = None) -> None:
        self.script, self.over_tcp = script, over_tcp or script
        self.questions: list[tuple[str, dns.message.Message]] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.questions.append(("udp", query))
        loop = asyncio.get_running_loop()
        for delay, wire in self.script(query):
            loop.call_later(delay, self._send, wire, addr)

    def _send(self, wire: bytes, addr: tuple[str, int]) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(wire, addr)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            (size,) = struct.unpack("!H", await reader.readexactly(2))
            query = dns.message.from_wire(await reader.readexactly(size))
            self.questions.append(("tcp", query))
            for _, wire in self.over_tcp(query):
                writer.write(struct.pack("!H", len(wire)) + wire)
        writer.close()


@contextlib.asynccontextmanager
async def serving(
    script: Script, over_tcp: Script | None = None, server: Server | None = None
) -> AsyncIterator[tuple[Server, str]]:
    """The server and its "ADDRESS:PORT"."""
    server, loop = server or Server(script, over_tcp), asyncio.get_running_loop()
    port = free_port()  # for both: no outgoing connection takes it
    tcp = await asyncio.start_server(server.serve_tcp, "127.0.0.1", port)
    udp, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        udp.close()
        tcp.close()
        await tcp.wait_closed()


async def ask(
    *specs: str, name: str = "mirror.test", timeout: float = 10.0, patience: Patience = SOON, **more
) -> tuple[DnsObservation, ...]:
    async with contextlib.aclosing(Resolvers(specs, patience=patience, **more)) as resolvers:
        return await resolvers.observe(name, timeout)


async def test_both_kinds_of_addresses_and_the_aliases_are_found():
    script = at_once(
        "CNAME edge.cdn.test",
        "edge.cdn.test CNAME e1.cdn.test",
        "e1.cdn.test A 192.0.2.1",
        "e1.cdn.test AAAA 2001:db8::1",
        "unrelated.test A 192.0.2.9",
    )
    async with serving(script) as (_, at):
        for scheme in ("udp", "tcp"):
            (seen,) = await ask(f"{scheme}://{at}")
            assert (seen.failure, seen.hostname) == (None, "mirror.test")
            assert sorted(seen.addresses) == ["192.0.2.1", "2001:db8::1"]
            assert seen.chain == ("edge.cdn.test", "e1.cdn.test")
            assert 0 < seen.seconds < 5


async def test_a_forged_reply_is_kept_beside_the_genuine_one_that_comes_later():
    def injected(query):
        forged, genuine = reply(query, "A 10.0.0.1"), reply(query, "A 192.0.2.1")
        return [(0.0, forged.to_wire()), (0.1, genuine.to_wire())]

    async with serving(injected) as (_, at):
        (seen,) = await ask(f"udp://{at}")
    replies = [r for r in seen.replies if r.rtype == "A"]
    assert [r.addresses for r in replies] == [("10.0.0.1",), ("192.0.2.1",)]
    assert replies[0].seconds < replies[1].seconds
    assert replies[1].seconds >= 0.09
    assert seen.seconds == replies[0].seconds


async def test_a_reply_after_the_window_is_not_waited_for():
    def late(query):
        return [(0.0, reply(query, "A 10.0.0.1").to_wire()), (9.0, b"")]

    async with serving(late) as (_, at):
        started = time.perf_counter()
        (seen,) = await ask(f"udp://{at}", patience=Patience(late=0.05))
    assert len([r for r in seen.replies if r.rtype == "A"]) == 1
    assert time.perf_counter() - started < 5


async def test_replies_that_do_not_fit_the_question_are_as_if_they_had_not_come():
    def strange(query):
        other_id = reply(query, "A 10.0.0.1")
        other_id.id = (query.id + 1) % 65536
        other_name = dns.message.make_response(dns.message.make_query("evil.test.", "A"))
        other_name.id = query.id
        return [
            (0.0, other_id.to_wire()),
            (0.0, other_name.to_wire()),
            (0.0, query.to_wire()),
            (0.0, b"\x00"),
            (0.05, reply(query, "A 192.0.2.1").to_wire()),
        ]

    async with serving(strange) as (_, at):
        (seen,) = await ask(f"udp://{at}")
    assert seen.addresses == ("192.0.2.1",)
    assert len([r for r in seen.replies if r.rtype == "A"]) == 1


async def test_a_lost_question_is_asked_again_with_another_id():
    async with serving(lambda query: []) as (server, at):
        answered = at_once("A 192.0.2.1")
        server.script = lambda q: answered(q) if len(server.questions) > 2 else []
        (seen,) = await ask(f"udp://{at}")
    assert seen.addresses == ("192.0.2.1",)
    ids = [query.id for _, query in server.questions]
    assert len(ids) == 4
    assert len(set(ids)) > 2


class Slow(Server):
    """Answers a question when it is asked again, and what was asked again never."""

    def __init__(self) -> None:
        super().__init__(lambda query: [])
        self.first: dict[int, tuple[dns.message.Message, tuple[str, int]]] = {}

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        super().datagram_received(data, addr)
        query = self.questions[-1][1]
        before = self.first.setdefault(query.question[0].rdtype, (query, addr))
        if before[0] is not query:
            self._send(reply(before[0], "A 192.0.2.1").to_wire(), before[1])


async def test_an_answer_that_takes_longer_than_a_try_is_taken_with_the_next_one():
    async with serving(lambda query: [], server=Slow()) as (server, at):
        (seen,) = await ask(f"udp://{at}", patience=Patience(tries=2, each=1.0, late=0.01))
    assert (seen.failure, seen.addresses) == (None, ("192.0.2.1",))
    assert seen.seconds >= 1.0
    assert len(server.questions) == 4


async def test_silence_ends_after_all_tries():
    async with serving(lambda query: []) as (server, at):
        (seen,) = await ask(f"udp://{at}", patience=Patience(tries=2, each=0.05))
    assert (seen.failure, seen.replies) == (TIMED_OUT, ())
    assert len(server.questions) == 4


async def test_the_whole_is_limited_too():
    async with serving(lambda query: []) as (_, at):
        started = time.perf_counter()
        (seen,) = await ask(f"udp://{at}", timeout=0.1, patience=Patience(each=50))
    assert seen.failure == TIMED_OUT
    assert time.perf_counter() - started < 5


async def test_a_window_that_is_longer_than_the_limit_does_not_cost_the_answer():
    async with serving(at_once("A 192.0.2.1")) as (_, at):
        (seen,) = await ask(f"udp://{at}", timeout=1.0, patience=Patience(late=50))
    assert (seen.failure, seen.addresses) == (None, ("192.0.2.1",))


async def test_a_truncated_reply_is_asked_for_again_over_tcp():
    def truncated(query):
        message = reply(query, "A 10.0.0.1")
        message.flags |= dns.flags.TC
        return [(0.0, message.to_wire())]

    async with serving(truncated, at_once("A 192.0.2.1", "A 192.0.2.2")) as (server, at):
        (seen,) = await ask(f"udp://{at}")
    assert seen.addresses == ("192.0.2.1", "192.0.2.2")
    assert {transport for transport, _ in server.questions} == {"udp", "tcp"}


@pytest.mark.parametrize(
    ("rcode", "failure"),
    [
        ("NXDOMAIN", "dns_nxdomain_error"),
        ("SERVFAIL", "dns_servfail_error"),
        ("REFUSED", "dns_refused_error"),
        ("NOTIMP", "dns_server_misbehaving"),
        ("NOERROR", "dns_no_answer"),
    ],
)
async def test_failures_carry_their_names(rcode, failure):
    async with serving(at_once(rcode=rcode)) as (_, at):
        udp, tcp = await ask(f"udp://{at}", f"tcp://{at}")
    assert (udp.failure, tcp.failure) == (failure, failure)
    assert {r.rcode for r in udp.replies} == {rcode}


async def test_a_resolver_that_is_not_there_is_refused_at_once():
    port = free_port()
    udp, tcp = await ask(f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}", timeout=20)
    assert (udp.failure, tcp.failure) == ("connection_refused", "connection_refused")


async def test_a_flood_of_addresses_and_of_replies_is_cut():
    def flood(query):
        wire = reply(query, *(f"A 192.0.2.{n}" for n in range(40))).to_wire()
        return [(0.0, wire)] * 100

    async with serving(flood) as (_, at):
        (seen,) = await ask(f"udp://{at}", patience=Patience(late=50), timeout=20)
    assert len(seen.replies) <= MAX_REPLIES
    assert len(seen.replies[0].addresses) == MAX_ADDRESSES


async def test_a_message_that_would_take_long_to_read_is_not_read():
    def long(query):
        return [
            (0.0, reply(query, *(f"A 10.{n // 256}.{n % 256}.1" for n in range(3000))).to_wire())
        ]

    async with serving(at_once("A 192.0.2.1"), long) as (_, at):
        (seen,) = await ask(f"tcp://{at}")
    assert (seen.failure, seen.addresses) == ("dns_server_misbehaving", ())


async def test_aliases_that_go_round_in_a_circle_end():
    script = at_once("CNAME a.test", "a.test CNAME b.test", "b.test CNAME a.test")
    async with serving(script) as (_, at):
        (seen,) = await ask(f"udp://{at}")
    assert seen.failure == "dns_no_answer"
    assert len(seen.chain) <= 16


async def test_a_dead_resolver_does_not_delay_or_hide_the_others():
    async with serving(lambda query: []) as (_, dead), serving(at_once("A 192.0.2.1")) as (_, good):
        seen = await ask(f"udp://{dead}", f"udp://{good}")
    assert [observation.failure for observation in seen] == [TIMED_OUT, None]
    assert [observation.resolver for observation in seen] == [f"udp://{dead}", f"udp://{good}"]


# --- as the operator configures them


async def test_the_resolvers_of_the_configuration_are_the_ones_that_are_asked():
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error": {"code": "invalid_api_key"}}'
        head = f"HTTP/1.1 401 No\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    mirror_server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = mirror_server.sockets[0].getsockname()[1]
    mirror = MirrorConfig("m", f"http://mirror.test:{port}", allow_private=True)
    async with serving(at_once("A 127.0.0.1")) as (server, at):
        config = MonitorConfig(dns=DnsConfig(resolvers=(f"udp://{at}",)))
        report = await probe_once(mirror, config)
    mirror_server.close()
    await mirror_server.wait_closed()
    assert (report.verdict, report.probe.resolution.addresses) == ("ok", ("127.0.0.1",))
    assert server.questions


# --- over HTTPS


@contextlib.asynccontextmanager
async def doh(
    authority: Authority, script: Script, **options
) -> AsyncIterator[tuple[str, Collection[int]]]:
    """A DoH server; its port as text, and the number of questions on each connection."""
    connections: dict[object, int] = {}
    answer_with = options.get("answer_with", {})

    async def answer(request: web.Request) -> web.Response:
        assert request.content_type == "application/dns-message"
        connections[request.transport] = connections.get(request.transport, 0) + 1
        query = dns.message.from_wire(await request.read())
        body = b"".join(wire for _, wire in script(query))
        return web.Response(
            **{"body": body, "content_type": "application/dns-message", **answer_with}
        )

    app = web.Application()

    async def answer_elsewhere(request: web.Request) -> web.Response:
        query = dns.message.from_wire(await request.read())
        body = b"".join(wire for _, wire in script(query))
        return web.Response(body=body, content_type="application/dns-message")

    app.router.add_post("/dns-query", answer)
    app.router.add_post("/elsewhere", answer_elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    names = options.get("names", ())
    leaf = authority.issue(*names, local=not names)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=leaf.server_context())
    await site.start()
    try:
        yield str(runner.addresses[0][1]), connections.values()
    finally:
        await runner.cleanup()


async def test_dns_over_https_at_an_address_and_at_a_name(authority: Authority):
    async with doh(authority, at_once("A 192.0.2.1", "AAAA 2001:db8::1")) as (port, _):
        for host in ("127.0.0.1", "localhost"):
            url = f"https://{host}:{port}/dns-query"
            (seen,) = await ask(url, trust=authority.client_context())
            assert (seen.resolver, seen.failure) == (url, None)
            assert sorted(seen.addresses) == ["192.0.2.1", "2001:db8::1"]


async def test_connections_to_a_doh_server_are_kept_and_given_back(authority: Authority):
    async with doh(authority, at_once("A 192.0.2.1")) as (port, questions):
        url = f"https://127.0.0.1:{port}/dns-query"
        resolvers = Resolvers([url], trust=authority.client_context())
        for _ in range(3):
            await resolvers.observe("mirror.test", 10)
        await resolvers.aclose()
        assert sum(questions) == 6
        assert len(questions) <= 2


async def test_a_doh_server_of_a_stranger_is_not_believed(authority: Authority):
    async with doh(authority, at_once("A 192.0.2.1")) as (port, questions):
        (seen,) = await ask(f"https://127.0.0.1:{port}/dns-query")
        assert seen.failure == "ssl_unknown_authority"
        assert not questions
    async with doh(authority, at_once("A 192.0.2.1"), names=("other.test",)) as (port, questions):
        url = f"https://127.0.0.1:{port}/dns-query"
        (seen,) = await ask(url, trust=authority.client_context())
        assert seen.failure == "ssl_invalid_hostname"
        assert not questions


@pytest.mark.parametrize(
    "answer_with",
    [
        {"status": 500},
        {"status": 307, "headers": {"Location": "/elsewhere"}},
        {"content_type": "text/html"},
        {"body": b"junk"},
        {"body": b"x" * 70000},
    ],
    ids=["500", "redirect", "html", "junk", "long"],
)
async def test_a_non_dns_answer_of_a_doh_server_is_misbehaviour(authority: Authority, answer_with):
    script = at_once("A 192.0.2.1")
    async with doh(authority, script, answer_with=answer_with) as (port, _):
        url = f"https://127.0.0.1:{port}/dns-query"
        (seen,) = await ask(url, trust=authority.client_context())
    assert seen.failure == "dns_server_misbehaving"


async def test_a_doh_server_that_closes_without_an_answer_is_asked_once_more():
    accepted: list[int] = []

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (seen,) = await ask(f"https://127.0.0.1:{port}/dns-query")
    server.close()
    await server.wait_closed()
    assert seen.failure is not None
    assert len(accepted) <= 8


# --- the system's


async def test_the_system_knows_the_loopback():
    (seen,) = await ask("system", name="localhost")
    assert "127.0.0.1" in seen.addresses
    assert (seen.resolver, seen.replies[0].rtype) == ("system", "any")


async def test_a_hanging_system_resolver_holds_few_threads_and_nobody_else():
    release = threading.Event()
    asked: list[str] = []

    def hang(name: str) -> list[str]:
        asked.append(name)
        release.wait(30)
        return ["192.0.2.1"]

    system = SystemResolver(hang)
    try:
        for n in range(MAX_THREADS + 4):
            with pytest.raises(TimeoutError):
                await system.addresses(f"host-{n}.test", 0.001)
        with pytest.raises(Busy):
            await system.addresses("one-more.test", 0.001)
        with pytest.raises(TimeoutError):
            await system.addresses("host-0.test", 0.001)
        wait_until(lambda: len(asked) == MAX_THREADS)
        hanging = [t for t in threading.enumerate() if t.name.startswith("resolve host-")]
        assert len(hanging) == MAX_THREADS
        assert all(thread.daemon for thread in hanging)
        (seen,) = await ask("system", system=system, timeout=0.01)
        assert seen.failure == TIMED_OUT
    finally:
        release.set()

    async def works_again() -> bool:
        with contextlib.suppress(TimeoutError):
            return await system.addresses("host-0.test", 5) == ["192.0.2.1"]
        return False

    assert await wait_until_async(works_again)


def _system(address: str) -> SystemResolver:
    return SystemResolver(lambda name: [address])


async def test_a_second_answer_of_the_systems_own_server_is_heard():
    def forged_first(query: dns.message.Message) -> Sequence[tuple[float, bytes]]:
        forged, true = (reply(query, f"A {a}").to_wire() for a in ("203.0.113.66", "203.0.113.7"))
        return [(0.0, forged), (0.1, true)]

    async with serving(forged_first) as (_, at):
        (seen,) = await ask(
            "system",
            system=_system("203.0.113.66"),
            server=lambda: "127.0.0.1",
            port=int(at.partition(":")[2]),
            patience=Patience(tries=2, each=5.0, late=2.0),
        )
    assert [r.addresses for r in seen.replies if r.rtype == "A"] == [
        ("203.0.113.66",),
        ("203.0.113.7",),
    ]
    assert judge_dns([seen], Knowledge()).verdict == "dns_injection"


async def test_a_server_that_agrees_with_itself_adds_nothing_to_what_the_system_says():
    async with serving(at_once("A 203.0.113.9")) as (server, at):
        (seen,) = await ask(
            "system",
            system=_system("203.0.113.7"),
            server=lambda: "127.0.0.1",
            port=int(at.partition(":")[2]),
        )
    assert server.questions
    assert seen.addresses == ("203.0.113.7",)


async def test_a_silent_server_does_not_cost_the_systems_answer():
    async with serving(lambda query: []) as (_, at):
        (seen,) = await ask(
            "system",
            system=_system("203.0.113.7"),
            server=lambda: "127.0.0.1",
            port=int(at.partition(":")[2]),
            patience=Patience(tries=2, each=60.0, late=0.1),
            timeout=60.0,
        )
    assert seen.addresses == ("203.0.113.7",)
    assert seen.seconds < 30


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("# a remark\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n", "", "192.0.2.53"),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.54\n", "192.0.2.54"),
        ("nameserver 127.0.0.1\n", "nameserver 192.0.2.54\n", None),
        ("nameserver ::1\n", "", None),
        ("nameserver 2001:db8::53\n", "", "2001:db8::53"),
        ("search example.com\nnameserver\nnameserver x\n", "", None),
        ("", "nameserver 192.0.2.54\n", None),
    ],
)
def test_the_systems_server_is_the_first_that_is_listed_beyond_this_machine(
    tmp_path, first, second, found
):
    files = [tmp_path / "resolv.conf", tmp_path / "behind-the-stub.conf"]
    for file, text in zip(files, (first, second), strict=True):
        file.write_text(text)
    assert nameserver(files) == found
    assert nameserver([tmp_path / "missing"]) is None


async def test_a_name_that_nobody_can_ask_for_is_a_failure_like_others():
    name = "x" * 70 + ".test"
    async with serving(at_once("A 192.0.2.1")) as (server, at):
        udp, system = await ask(f"udp://{at}", "system", name=name)
    assert udp.failure == "unknown_failure"
    assert system.failure is not None
    assert not server.questions
