"""What the JSON of an answer says of its use, noted while it passes.

Nearly all answers are kept whole until they end. Of those that are not, as embeddings or images may
be megabytes, beginning and end are; there the outermost object has its `usage`.
"""

from __future__ import annotations

import re
from collections import deque

from router.metering.reading import duration_near_begin, parsed, usage_near_end, usage_of_answer
from router.metering.usage import Usage

MOST_KEPT = 64 << 10
"""Bytes of the beginning that are kept, and of the end."""
_IMAGE = re.compile(rb'(?<!\\)"(?:b64_json|url)"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}"')
_LONGEST = 32
"""Bytes of such a key, with what follows it, at most; and the one before."""
_SAYS_ERROR = re.compile(rb'\s*\{\s*"error"\s*:\s*[{"]')


class JsonTap:
    """Reads one JSON answer."""

    __slots__ = (
        "_carry",
        "_counts_images",
        "_end",
        "_end_size",
        "_head",
        "error",
        "images",
        "size",
    )

    def __init__(self, counts_images: bool) -> None:
        self._counts_images = counts_images
        self._carry = b""
        self._head = b""
        self._end: deque[bytes] = deque()
        self._end_size = 0
        self.size = 0
        self.images = 0
        self.error = False
        """Whether it says that there is no answer."""

    def __repr__(self) -> str:
        return f"<JsonTap {self.size} B>"

    def feed(self, piece: bytes) -> None:
        """Note a piece."""
        self.size += len(piece)
        if self._counts_images:
            self._count(piece)
        room = MOST_KEPT - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if piece:
            self._keep_end(piece)

    def _keep_end(self, piece: bytes) -> None:
        self._end.append(piece[-MOST_KEPT:])
        self._end_size += len(self._end[-1])
        while self._end_size - len(self._end[0]) >= MOST_KEPT:
            self._end_size -= len(self._end.popleft())

    def _count(self, piece: bytes) -> None:
        text, known = self._carry + piece, len(self._carry)
        self.images += sum(found.end() > known for found in _IMAGE.finditer(text))
        self._carry = text[-_LONGEST:]

    def usage(self) -> Usage | None:
        """What it has said, after its end."""
        end = b"".join(self._end)
        if len(self._head) + len(end) < self.size:
            return usage_near_end(self._head, end) or duration_near_begin(self._head)
        data = parsed(self._head + end)
        if data is None:
            self.error = _SAYS_ERROR.match(self._head) is not None
            return None
        self.error = bool(data.get("error"))
        return usage_of_answer(data)
