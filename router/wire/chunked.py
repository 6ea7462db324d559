"""The chunked transfer coding as we write it (RFC 9112 section 7.1)."""

from __future__ import annotations

from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"
_SMALL: Final = 1024
_SIZES: Final = [b"%x\r\n" % size for size in range(_SMALL)]
"""The first lines of small chunks, as events of a stream are: to format one takes 600 instructions,
and each event needs two."""


def _line_of(length: int) -> bytes:
    """The first line of the chunk that takes so many bytes in all; empty if none does."""
    for digits in range((length.bit_length() + 3) // 4, 0, -1):
        size = length - digits - 4
        line = b"%x\r\n" % max(size, 0)
        if size > 0 and len(line) == digits + 2:
            return line
    return b""


_LINES: Final = [_line_of(length) for length in range(_SMALL)]
"""The same lines by what the whole chunk takes: so one that was read need not be searched for its
line's end."""


def chunk(data: bytes) -> bytes:
    """One chunk; `data` must not be empty, since an empty chunk is the last one."""
    size = len(data)
    line = _SIZES[size] if size < _SMALL else b"%x\r\n" % size
    return b"".join((line, data, b"\r\n"))


def whole_chunk(raw: bytes) -> bytes | None:
    """The data of `raw`, if it is exactly one chunk as `chunk` writes it; else None.

    Servers write one chunk per event of a stream, and so it is mostly read.
    """
    length = len(raw)
    line = _LINES[length] if length < _SMALL else _line_of(length)
    if not line or not raw.startswith(line) or raw[-2:] != b"\r\n":
        return None
    return raw[len(line) : -2]
