"""Bytes that are made on the fly, the same for the same seed, for large uploads and downloads."""

import hashlib
import io
import random
from collections.abc import Iterator
from typing import BinaryIO, cast

BLOCK = 1 << 16


def blocks(size: int, seed: int = 0) -> Iterator[bytes]:
    """Yield `size` bytes in blocks; no two blocks are alike, so that none can be lost unseen."""
    base = random.Random(seed).randbytes(BLOCK)
    for number in range(-(-size // BLOCK)):
        block = number.to_bytes(8, "big") + base[8:]
        yield block[: size - number * BLOCK]


def payload(size: int, seed: int = 0) -> bytes:
    """Return the same bytes at once."""
    return b"".join(blocks(size, seed))


def sha256_of(size: int, seed: int = 0) -> str:
    """Return the SHA-256 of the same bytes, in hex."""
    digest = hashlib.sha256()
    for block in blocks(size, seed):
        digest.update(block)
    return digest.hexdigest()


def generated_file(size: int, seed: int = 0) -> BinaryIO:
    """Return the same bytes as a seekable binary file, of which only one block is in memory."""
    # RawIOBase has all that IO[bytes] promises to those who read; typeshed does not say so.
    return cast(BinaryIO, _GeneratedFile(size, seed))


class _GeneratedFile(io.RawIOBase):
    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._base = random.Random(seed).randbytes(BLOCK)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        number, offset = divmod(self._position, BLOCK)
        end = min(BLOCK, self._size - number * BLOCK)
        rest = (number.to_bytes(8, "big") + self._base[8:])[offset : max(end, 0)]
        count = min(len(rest), len(buffer))
        buffer[:count] = rest[:count]
        self._position += count
        return count
