"""Answers of a pretend resolver: scripted replies to each name. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rcode import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, Rcode

__all__ = ["NOERROR", "NXDOMAIN", "REFUSED", "SERVFAIL", "Reply", "Script"]

TTL = 60


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
