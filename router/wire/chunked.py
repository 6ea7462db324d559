"""The chunked transfer coding as we write it (RFC 9112 section 7.1)."""

from __future__ import annotations

from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"
_SMALL: Final = 1024
_SIZES: Final = [b"%x\r\n" % size for size in range(_SMALL)]
"""The first lines of small chunks, as events of a stream are: to format one takes 600 instructions,
and each event needs two."""


def chunk(data: bytes) -> bytes:
    """One chunk; `data` must not be empty, since an empty chunk is the last one."""
    size = len(data)
    line = _SIZES[size] if size < _SMALL else b"%x\r\n" % size
    return b"".join((line, data, b"\r\n"))


def whole_chunk(raw: bytes) -> bytes | None:
    """The data of `raw`, if it is exactly one chunk as `chunk` writes it; else None.

    Servers write one chunk per event of a stream, and so it is mostly read.
    """
    begin = raw.find(b"\n", 2, 10) + 1
    size = len(raw) - begin - 2
    if begin == 0 or size <= 0 or raw[-2:] != b"\r\n":
        return None
    line = _SIZES[size] if size < _SMALL else b"%x\r\n" % size
    return raw[begin:-2] if raw[:begin] == line else None
