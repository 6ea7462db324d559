"""The chunked transfer coding as we write it (RFC 9112 section 7.1)."""

from __future__ import annotations

from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk; `data` must not be empty, since an empty chunk is the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole_chunk(raw: bytes) -> bytes | None:
    """The data of `raw`, if it is exactly one chunk as `chunk` writes it; else None.

    Servers write one chunk per event of a stream, and so it is mostly read.
    """
    end = raw.find(b"\r\n", 1, 10)
    size = len(raw) - end - 4
    if end > 0 and size > 0 and raw[:end] == b"%x" % size and raw.endswith(b"\r\n"):
        return raw[end + 2 : -2]
    return None
