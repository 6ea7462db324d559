"""The last bans, allowances and issued keys of an instance, in a file that its processes inherit.

Control writes all of them when something has changed. A worker that starts reads them before it
serves, so that it refuses the clients and knows the keys that its siblings do, also while
control is silent. The file is anonymous: it ends with the instance.

A new content is written beside the one that holds, and counts when the header names it: whoever is
killed on the way leaves the former one. A reader that was overtaken notices by the checksum.

Control leaves all counters to its successor in another file of this kind
(`control/instance_metrics.py`).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Sequence

from monitor.common.ipc import Message

_HEADER = struct.Struct("<QQI")
"""Where the content is, how long it is, and its CRC-32; all 0: nothing was written yet."""
_STORE = struct.Struct("<QQ")
"""Behind the header: device and inode of the database file that control has open; 0: none."""
_BEGIN = _HEADER.size + _STORE.size
_TRIES = 5
"""A writer pauses for far longer than a reader takes (`router/control/handover.py`)."""


def create(name: str = "mirrorgate-lists") -> int:
    """A descriptor of an empty file; the caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(fd, _BEGIN)
    return fd


class LastLists:
    """The file, as control writes it and workers read it."""

    def __init__(self, fd: int) -> None:
        """`fd` stays the caller's."""
        self._fd = fd

    def __repr__(self) -> str:
        return f"<LastLists of {self._header()[1]} bytes>"

    def write(self, messages: Sequence[bytes]) -> None:
        """Put these encoded messages in the place of all former ones. Raises OSError."""
        content = b"\n".join(messages)  # JSON has no line break outside of an escape
        start, length, _ = self._header()
        begin = start + length or _BEGIN
        if start >= _BEGIN + len(content):
            begin = _BEGIN
        _write_all(self._fd, content, begin)
        _write_all(self._fd, _HEADER.pack(begin, len(content), zlib.crc32(content)), 0)
        os.ftruncate(self._fd, begin + len(content))

    def read(self) -> list[Message]:
        """The messages that were written last; none when there are none."""
        for _ in range(_TRIES):
            start, length, checksum = self._header()
            if not start or start + length > os.fstat(self._fd).st_size:
                break
            content = os.pread(self._fd, length, start)
            if zlib.crc32(content) == checksum:
                return [json.loads(line) for line in content.split(b"\n")]
        return []

    @property
    def store_file(self) -> tuple[int, int] | None:
        """The database file that an earlier control process had open, by device and inode."""
        device, inode = _STORE.unpack(os.pread(self._fd, _STORE.size, _HEADER.size))
        return (device, inode) if inode else None

    @store_file.setter
    def store_file(self, identity: tuple[int, int] | None) -> None:
        _write_all(self._fd, _STORE.pack(*(identity or (0, 0))), _HEADER.size)

    def _header(self) -> tuple[int, int, int]:
        start, length, checksum = _HEADER.unpack(os.pread(self._fd, _HEADER.size, 0))
        return start, length, checksum


def _write_all(fd: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
