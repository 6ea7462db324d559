"""Rules of a censor over the bytes that it read of a connection. Pure."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.testkit.censor.hello import Hello, Read, Unread


class Ending(StrEnum):
    """Ways to end a connection that is not relayed."""

    rst = "rst"
    fin = "fin"
    drop = "drop"  # never a word, and never an end


@dataclass(frozen=True, slots=True)
class End:
    """Do not relay: wait `delay` seconds, say something or nothing, and end."""

    name: str
    ending: Ending
    say: bytes = b""
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Relay:
    """Relay, within limits on what goes to the client; sizes are bytes on the wire."""

    name: str = "pass"
    delay: float = 0.0
    """Seconds before the upstream hears the first byte."""
    rate: float | None = None
    """Bytes a second."""
    freeze_after: int | None = None
    """Bytes after which nothing more arrives."""
    reset_after: int | None = None
    """Bytes after which the connection is reset."""
    divert: tuple[str, int] | None = None
    """Another server that answers in place of the upstream, e.g. with its own certificate."""


Action = End | Relay

UNRECOGNIZED_NAME, HANDSHAKE_FAILURE = 112, 40

PASS = Relay()
RST = End("rst", Ending.rst)
FIN = End("fin", Ending.fin)
DROP = End("drop", Ending.drop)
BLOCK_PAGE = End(
    "blockpage",
    Ending.fin,
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
    b"<html><title>Blocked</title><p>This site has been blocked.</html>",
)
RST_MID = Relay("rst_mid", reset_after=80)
"""A ServerHello has about 130 bytes with its record header."""
BYTE_CAP = Relay("freeze", freeze_after=16 * 1024)


def alert(description: int = UNRECOGNIZED_NAME) -> End:
    """A fatal TLS alert (RFC 8446 section 6), as of a server that does not know the name."""
    return End("alert", Ending.fin, bytes([21, 3, 3, 0, 2, 2, description]))


def throttle(rate: float) -> Relay:
    """So many bytes a second."""
    return Relay("throttle", rate=rate)


def divert(host: str, port: int) -> Relay:
    """Another server takes the connection."""
    return Relay("mitm", divert=(host, port))


@dataclass(frozen=True, slots=True)
class Residual:
    """After a hit, what befalls everybody from that source to that address and port."""

    seconds: float
    action: Action = RST
    retriggers: bool = False
    """True if any further connection within the time makes it begin anew."""


Covers = Callable[[Read], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """`action` for connections that `covers` accepts, with probability `chance`."""

    covers: Covers
    action: Action
    chance: float = 1.0
    residual: Residual | None = None
    addresses: Collection[str] | None = None
    """The addresses connected to for which it holds; None for all."""


def exactly(name: str) -> Covers:
    """Hellos for this name."""
    return lambda read: isinstance(read, Hello) and read.sni == name


def below(name: str) -> Covers:
    """Hellos for this name or one that ends with it after a dot."""
    return lambda read: (
        isinstance(read, Hello) and f".{read.sni or ''}".endswith(f".{name}") and bool(read.sni)
    )


def other_than(*names: str) -> Covers:
    """Hellos for any other name, or for none."""
    return lambda read: isinstance(read, Hello) and read.sni not in names


def every_hello(read: Read) -> bool:
    """Whatever is TLS."""
    return isinstance(read, Hello)


def without_name(read: Read) -> bool:
    """Hellos that name nobody."""
    return read == Hello(None)


def not_tls(read: Read) -> bool:
    """True if it is not TLS, as far as the censor can read."""
    return read is Unread.not_tls


def everything(read: Read) -> bool:
    """Any connection on which a byte was sent."""
    return True


def decide(rules: Sequence[Rule], read: Read, address: str, rng: Random) -> Rule:
    """Return the first rule that applies; one that lets it pass if none does."""
    for rule in rules:
        here = rule.addresses is None or address in rule.addresses
        if here and rule.covers(read) and (rule.chance >= 1 or rng.random() < rule.chance):
            return rule
    return Rule(everything, PASS)
