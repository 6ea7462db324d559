"""Inflating of compressed responses, within bounds: some mirrors compress though asked not to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

READABLE: Final = (b"gzip", b"x-gzip", b"deflate")
MOST_INFLATED = 64 << 20
"""Bytes out of one response; more than this is a decompression bomb."""
_AT_ONCE: Final = 64 << 10
_ANY_HEADER = zlib.MAX_WBITS | 32
_NO_HEADER = -zlib.MAX_WBITS
"""Some servers' "deflate" lacks the header that RFC 9110, section 8.4.1.2, wants."""


class CannotInflate(Exception):
    """The bytes are not in the coding that was named, or too long once inflated."""


class Inflater:
    """Inflates one answer as it comes, in pieces of bounded size."""

    __slots__ = ("_begun", "_engine", "_fed", "_whole", "over", "size")

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(_ANY_HEADER)
        self._begun = b""
        """The first bytes, until it is clear that they are a header."""
        self._fed = False
        """True if the current member has begun."""
        self._whole = False
        """True if a member has ended; what follows may be another one, or nothing of interest."""
        self.over = False
        """True if what followed was no further member: all of the rest is not read."""
        self.size = 0

    def __repr__(self) -> str:
        return f"<Inflater {self.size} B>"

    def ends_whole(self) -> bool:
        """True if the last member has ended, with the right checksum and length; nothing more is
        fed then."""
        if self._fed and not self.over:
            try:
                self._engine.flush()  # what was kept back for the bound of one piece
            except zlib.error:
                return False
            return self._engine.eof
        return self.over or self._whole

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Return the content of a piece. Raises CannotInflate."""
        while piece and not self.over:
            self._fed = True
            out = self._inflated(piece)
            self.size += len(out)
            if self.size > MOST_INFLATED:
                raise CannotInflate("it is too long")
            yield out
            piece = self._engine.unconsumed_tail
            if self._engine.eof:  # another member may follow (RFC 1952, section 2.2)
                piece = self._engine.unused_data
                self._engine, self._whole = zlib.decompressobj(_ANY_HEADER), True
                self._fed = False

    def _inflated(self, piece: bytes) -> bytes:
        try:
            out = self._engine.decompress(piece, _AT_ONCE)
        except zlib.error as error:
            if self._whole:
                self.over = True  # the engine would give the same piece back for ever
                return b""
            if self.size:
                raise CannotInflate(str(error)) from error
            return self._without_header(self._begun + piece)
        if not self.size and not out:
            self._begun = (self._begun + piece)[:_AT_ONCE]
        return out

    def _without_header(self, piece: bytes) -> bytes:
        self._engine = zlib.decompressobj(_NO_HEADER)
        try:
            return self._engine.decompress(piece, _AT_ONCE)
        except zlib.error as error:
            raise CannotInflate(str(error)) from error


def inflated(body: bytes, most: int) -> tuple[bytes, bool]:
    """The content of a compressed body, at most `most` bytes of it; and True if that is all.

    Raises CannotInflate.
    """
    inflater, pieces = Inflater(), list[bytes]()
    for piece in inflater.feed(body):
        pieces.append(piece)
        if inflater.size > most:
            return b"".join(pieces)[:most], False
    return b"".join(pieces), True
