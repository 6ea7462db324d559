"""The server name that a censor reads in a ClientHello (RFC 8446 section 4.1.2).

TCP may deliver a hello in any pieces, and TLS may spread it over several records. Some censors put
both together again, some neither; `HelloReader` can be any of them.
"""

from dataclasses import dataclass
from enum import Enum

MAX_HELLO = 1 << 16
"""Bytes after which a reader gives up; a real hello has a few hundred to a few thousand."""

_HANDSHAKE_RECORD, _CLIENT_HELLO = 22, 1
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_MAX_RECORD = (1 << 14) + 256
_SERVER_NAME, _HOST_NAME = 0, 0
_VERSION_AND_RANDOM = 34


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
