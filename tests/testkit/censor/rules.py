"""Decisions of a censor: the name in a ClientHello, rules over it, and residual blocks. Pure.

TCP may deliver a hello in any pieces, and TLS may spread it over several records (RFC 8446 section
4.1.2). Some censors put both together again, some neither; `HelloReader` can be any of them.

For a while after a hit everything between two ends may be disturbed. Bock et al., "Your Censor is
My Censor" (WOOT 2021), describe how long and between which ends: the table here takes the client's
address, the server's address and its port (the "3-tuple").
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from random import Random

MAX_HELLO = 1 << 16
"""Bytes after which a reader gives up; a real hello has a few hundred to a few thousand."""

_HANDSHAKE_RECORD, _CLIENT_HELLO = 22, 1
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_MAX_RECORD = (1 << 14) + 256
_SERVER_NAME, _HOST_NAME = 0, 0
_VERSION_AND_RANDOM = 34

UNRECOGNIZED_NAME = 112
Ends = tuple[str, str, int]
"""The client's address, the server's address, the server's port."""


class Unread(Enum):
    """Why there is no hello."""

    more = "the beginning of one; more is needed"
    not_tls = "not TLS, or cut in a way that this reader does not put together"


@dataclass(frozen=True, slots=True)
class Hello:
    """A complete ClientHello; `sni` is None when it names nobody."""

    sni: str | None


Read = Hello | Unread


class _NotTls(Exception):
    pass


class _More(Exception):
    pass


class _Cursor:
    """Takes vectors off a message that is known to be complete."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        if len(taken) < length:
            raise _NotTls
        self._at += length
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        """Take one whose length is written in `width` bytes before it."""
        return self.take(self.number(width))


def parse_client_hello(data: bytes, *, reassemble_records: bool = True) -> Read:
    """Read the bytes that a client sent first.

    Without `reassemble_records` a hello that goes on in a second record is not understood.
    """
    try:
        return Hello(_server_name(_message(data, reassemble_records)))
    except _More:
        return Unread.more if len(data) < MAX_HELLO else Unread.not_tls
    except _NotTls:
        return Unread.not_tls


def _message(data: bytes, reassemble_records: bool) -> bytes:
    """Return the body of the handshake message, put together from its records."""
    message, at = b"", 0
    while True:
        fragment, at = _record(data, at)
        message += fragment
        if message[0] != _CLIENT_HELLO:
            raise _NotTls
        if len(message) >= _MESSAGE_HEADER:
            end = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER])
            if len(message) >= end:
                return message[_MESSAGE_HEADER:end]
        if not reassemble_records:
            raise _NotTls


def _record(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the content of the record at `at`, and where the next one begins."""
    header = data[at : at + _RECORD_HEADER]
    if header[:1] not in (b"", bytes([_HANDSHAKE_RECORD])) or header[1:2] not in (b"", b"\x03"):
        raise _NotTls
    if len(header) < _RECORD_HEADER:
        raise _More
    length = int.from_bytes(header[3:])
    if not 0 < length <= _MAX_RECORD:
        raise _NotTls
    begin = at + _RECORD_HEADER
    if len(data) < begin + length:
        raise _More
    return data[begin : begin + length], begin + length


def _server_name(body: bytes) -> str | None:
    hello = _Cursor(body)
    hello.take(_VERSION_AND_RANDOM)
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        hello.vector(width)
    extensions = _Cursor(hello.vector(2) if hello else b"")
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_name(_Cursor(_Cursor(content).vector(2)))
    return None


def _host_name(names: _Cursor) -> str | None:
    """Return the host name of RFC 6066 section 3, in small letters."""
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            return name.decode("ascii", "replace").lower()
    return None


class HelloReader:
    """Reads one connection, segment by segment.

    Without `reassemble_tcp` each segment is looked at by itself, and a hello that does not fit
    into one is missed.
    """

    def __init__(self, *, reassemble_tcp: bool = True, reassemble_records: bool = True) -> None:
        self._tcp, self._records = reassemble_tcp, reassemble_records
        self._data = b""

    def feed(self, segment: bytes) -> Read:
        """Return what is known after this segment; after anything but `more` it is over."""
        self._data = self._data + segment if self._tcp else segment
        read = parse_client_hello(self._data, reassemble_records=self._records)
        return Unread.not_tls if read is Unread.more and not self._tcp else read


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


class ResidualTable:
    """Connections to disturb, and until when; times are seconds of any one clock."""

    def __init__(self) -> None:
        self._until: dict[Ends, tuple[float, Residual]] = {}

    def arm(self, ends: Ends, residual: Residual, now: float) -> None:
        """A rule hit: the time begins, unless it is running already."""
        if self._running(ends, now) is None:
            self._until[ends] = (now + residual.seconds, residual)

    def meet(self, ends: Ends, now: float) -> Action | None:
        """A new connection: what befalls it, None if nothing does."""
        residual = self._running(ends, now)
        if residual is None:
            return None
        if residual.retriggers:
            self._until[ends] = (now + residual.seconds, residual)
        return residual.action

    def _running(self, ends: Ends, now: float) -> Residual | None:
        until, residual = self._until.get(ends, (0.0, None))
        return residual if now < until else None
