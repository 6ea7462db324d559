"""Pretend resolvers must answer as scripted: to dnspython's client, and by single datagrams."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.testkit.censor.dns import (
    MEDIA_TYPE,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    SILENCE,
    DnsServer,
    DohServer,
    Query,
    Reply,
    Script,
    forged_first,
    genuine_first,
    reply,
)
from tests.testkit.certs import Authority

NAME = "alpha.mirror.test"
FORGED, GENUINE = "10.10.34.34", "203.0.113.7"
HASTE = 0.3


@pytest.fixture
async def resolver() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


@pytest.fixture
async def doh(authority: Authority) -> AsyncIterator[DohServer]:
    async with DohServer(authority.issue("dns.mirror.test")) as server:
        yield server


async def ask(server: DnsServer, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(NAME, kind)
    how = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await how(query, server.host, HASTE, server.port)


def records(message: dns.message.Message) -> list[str]:
    return [item.to_text() for rrset in message.answer for item in rrset]


async def datagrams(server: DnsServer, wanted: int) -> list[bytes]:
    """Everything that comes back for one query, in order."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        query = dns.message.make_query(NAME, "A").to_wire()
        await loop.sock_sendto(client, query, (server.host, server.port))
        async with asyncio.timeout(5):
            return [await loop.sock_recv(client, 4096) for _ in range(wanted)]


@pytest.mark.parametrize("tcp", [False, True])
async def test_addresses_come_by_kind_over_udp_and_tcp(resolver: DnsServer, tcp: bool):
    resolver.script.set(NAME, reply(GENUINE, "203.0.113.8", "2001:db8::7"))
    assert sorted(records(await ask(resolver, tcp=tcp))) == [GENUINE, "203.0.113.8"]
    assert records(await ask(resolver, "AAAA", tcp=tcp)) == ["2001:db8::7"]
    transport = "tcp" if tcp else "udp"
    assert resolver.queries == [Query(transport, NAME, "A"), Query(transport, NAME, "AAAA")]


@pytest.mark.parametrize("rcode", [NXDOMAIN, SERVFAIL, REFUSED])
async def test_a_name_can_be_answered_with_an_error(resolver: DnsServer, rcode: dns.rcode.Rcode):
    resolver.script.set(NAME, Reply(rcode=rcode))
    assert (await ask(resolver)).rcode() == rcode


async def test_unscripted_names_do_not_exist(resolver: DnsServer):
    assert (await ask(resolver)).rcode() == NXDOMAIN
    resolver.script.set(NAME, reply(GENUINE))
    assert records(await ask(resolver)) == [GENUINE]
    resolver.script.forget(NAME)
    assert (await ask(resolver)).rcode() == NXDOMAIN


@pytest.mark.parametrize("tcp", [False, True])
async def test_silence_is_silence(resolver: DnsServer, tcp: bool):
    resolver.script.set(NAME, *SILENCE)
    with pytest.raises(dns.exception.Timeout):
        await ask(resolver, tcp=tcp)
    assert len(resolver.queries) == 1


async def test_aliases_lead_to_the_addresses(resolver: DnsServer):
    resolver.script.set(NAME, reply(GENUINE, aliases=("a.cdn.test", "b.cdn.test")))
    answer = await ask(resolver)
    assert records(answer) == ["a.cdn.test.", "b.cdn.test.", GENUINE]
    assert [rrset.name.to_text() for rrset in answer.answer] == [
        f"{NAME}.",
        "a.cdn.test.",
        "b.cdn.test.",
    ]


@pytest.mark.parametrize("order", [forged_first, genuine_first])
async def test_an_injector_answers_too_but_only_over_udp(resolver: DnsServer, order):
    resolver.script.set(NAME, *order(reply(FORGED), reply(GENUINE), 0.05))
    both = [records(dns.message.from_wire(wire)) for wire in await datagrams(resolver, 2)]
    expected = [[FORGED], [GENUINE]]
    assert both == (expected if order is forged_first else expected[::-1])
    assert records(await ask(resolver, tcp=True)) == [GENUINE]


async def test_a_wrong_id_is_no_answer(resolver: DnsServer):
    resolver.script.set(NAME, Reply((GENUINE,), wrong_id=True))
    with pytest.raises(dns.exception.Timeout):
        await dns.asyncquery.udp(
            dns.message.make_query(NAME, "A"),
            resolver.host,
            HASTE,
            resolver.port,
            ignore_unexpected=True,
            ignore_errors=True,
        )
    assert len(resolver.queries) == 1


async def test_a_truncated_answer_is_complete_over_tcp(resolver: DnsServer):
    resolver.script.set(NAME, Reply((GENUINE,), truncated=True))
    short = await ask(resolver)
    assert short.flags & dns.flags.TC
    assert records(short) == []
    whole = await ask(resolver, tcp=True)
    assert not whole.flags & dns.flags.TC
    assert records(whole) == [GENUINE]


async def test_addresses_rotate(resolver: DnsServer):
    resolver.script.rotate(NAME, reply(GENUINE), reply("203.0.113.8"))
    seen = [records(await ask(resolver)) for _ in range(4)]
    assert seen == [[GENUINE], ["203.0.113.8"]] * 2


async def test_junk_is_not_answered_and_the_next_query_is(resolver: DnsServer):
    resolver.script.set(NAME, reply(GENUINE))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"junk", (resolver.host, resolver.port))
    assert records(await ask(resolver)) == [GENUINE]
    assert len(resolver.queries) == 1


async def test_the_same_script_over_https(doh: DohServer, authority: Authority):
    doh.script.set(NAME, *forged_first(reply(FORGED), reply(GENUINE), 0.0))
    query = dns.message.make_query(NAME, "A", id=0)
    headers = {"content-type": MEDIA_TYPE}
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.post(doh.url, data=query.to_wire(), headers=headers) as answer:
            assert answer.content_type == MEDIA_TYPE
            assert records(dns.message.from_wire(await answer.read())) == [GENUINE]
        async with session.post(doh.url, data=b"junk", headers={"content-type": "a/b"}) as answer:
            assert answer.status == 415
    assert doh.queries == [Query("https", NAME, "A")]


async def test_nothing_is_left_after_closing():
    async with DnsServer(Script({NAME: [reply(GENUINE, after=60)]})) as server:
        with pytest.raises(dns.exception.Timeout):
            await ask(server)
        with pytest.raises(dns.exception.Timeout):
            await ask(server, tcp=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
