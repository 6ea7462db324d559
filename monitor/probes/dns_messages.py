"""DNS messages: a question, and what a reply to it says. The only place that knows dnspython."""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from monitor.probes.connect import MAX_ADDRESSES
from monitor.probes.results import DnsReply

RTYPES = ("A", "AAAA")
MAX_MESSAGE = 4096
"""Bytes: a hundred addresses fit; to read one of 64 KiB would hold up everything for a second."""
_MAX_CHAIN = 16
_FAILURES = {
    "NXDOMAIN": "dns_nxdomain_error",
    "SERVFAIL": "dns_servfail_error",
    "REFUSED": "dns_refused_error",
}


class NotAReply(Exception):
    """These bytes do not answer the question."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question, ready to be sent."""

    hostname: str
    rtype: str
    query: dns.message.QueryMessage

    @classmethod
    def about(cls, hostname: str, rtype: str) -> Question:
        """Ask for the addresses of a name; the id is random. Raises UnicodeError.

        Without EDNS: an answer that is too long for it comes over TCP, and no middlebox minds.
        """
        try:
            query = dns.message.make_query(f"{hostname}.", rtype, use_edns=False)
        except dns.exception.DNSException as error:
            raise UnicodeError(f"not a host name: {hostname}") from error
        return cls(hostname, rtype, query)

    def again(self) -> Question:
        """The same with another id."""
        return Question.about(self.hostname, self.rtype)

    @property
    def wire(self) -> bytes:
        """The message."""
        return self.query.to_wire()

    def reply(self, wire: bytes, seconds: float) -> tuple[DnsReply, bool]:
        """Return the content of a message, and whether it was truncated.

        Raises NotAReply when its id or question is not ours, or when it makes no sense.
        """
        if len(wire) > MAX_MESSAGE:
            raise NotAReply
        try:
            message = dns.message.from_wire(wire, ignore_trailing=True)
            ours = self.query.is_response(message)
        except (dns.exception.DNSException, ValueError) as error:
            raise NotAReply from error
        if not ours:
            raise NotAReply
        addresses, chain = _addresses(message, self.query, self.rtype)
        rcode = dns.rcode.to_text(message.rcode())
        truncated = bool(message.flags & dns.flags.TC)
        return DnsReply(self.rtype, seconds, rcode, addresses, chain), truncated


def failure_in(reply: DnsReply) -> str | None:
    """OONI's name for what a reply lacks; None when it has addresses."""
    if reply.rcode == "NOERROR":
        return None if reply.addresses else "dns_no_answer"
    return _FAILURES.get(reply.rcode, "dns_server_misbehaving")


def _addresses(
    message: dns.message.Message, query: dns.message.Message, rtype: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses at the end of the chain of aliases that begins at the name in question."""
    name, answer = query.question[0].name, message.answer
    chain: list[str] = []
    while len(chain) < _MAX_CHAIN:
        alias = message.get_rrset(answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            break
        name = alias[0].target
        chain.append(name.to_text(omit_final_dot=True).lower())
    records = message.get_rrset(answer, name, dns.rdataclass.IN, dns.rdatatype.from_text(rtype))
    return tuple(r.address for r in (records or ()))[:MAX_ADDRESSES], tuple(chain)
