"""A request's body on its way: collected while it can still be looked into and repeated, else
passed on as it comes, in the framing it came with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from router.admission.capacity import Arriving, Memory
from router.upstream.model_names import FormNames, renamed_json
from router.wire.chunked import LAST_CHUNK, chunk
from router.wire.request import RequestHead

EARLY: Final = 64 << 10
"""Bytes of a streamed body kept while no connection is ready; then the client has to wait. As many
of a body that is collected are kept however little memory is left."""
PIECE: Final = 64
"""Bytes that each piece takes beside its own: an object of Python (33, in steps of 16) and a place
in a list. A body may come in very many pieces."""

_UNSAID: Final = (b"", b"text/plain", b"application/x-www-form-urlencoded")


def is_json(head: RequestHead) -> bool:
    """True if the body is said to be JSON, so that it can be looked into."""
    return b"json" in head.look.get(b"content-type", b"").lower()


def is_small_text(head: RequestHead) -> bool:
    """True if the body may be JSON that is not said to be any, as `curl -d` and a browser's `fetch`
    send it: it is passed on as it is, and can be repeated."""
    media = head.look.get(b"content-type", b"").partition(b";")[0].strip(b" \t").lower()
    return media in _UNSAID


class RequestBody:
    """The body of one request."""

    __slots__ = (
        "_client",
        "_form",
        "_kept",
        "_limit",
        "_memory",
        "_parts",
        "chunked",
        "collected",
        "complete",
        "crowded_out",
        "size",
    )

    def __init__(
        self, head: RequestHead, kept: bool, collect_limit: int, memory: Memory, client: bytes
    ) -> None:
        """`kept`: a body of at most `collect_limit` bytes is to be collected; `client`: whose share
        of the memory it takes (`Client.key`)."""
        self.chunked = head.chunked
        """True if it is streamed to a mirror without saying its size before."""
        self._client = client
        self._form: FormNames | None = None
        """Changes the names of models in a form."""
        self._limit = collect_limit
        self._memory = memory
        self._kept = 0
        self._parts: list[bytes] = []
        self.size = 0
        self.complete = False
        self.collected = (kept and head.length <= collect_limit) or not head.has_body
        """True if the whole body is kept here, so that it can be sent again."""
        self.crowded_out = False
        """True if it would be, if there were memory for it."""

    def keep_whole(self, data: bytes) -> None:
        """Keep a body that came in one read. It is not counted: it has its memory already, and a
        connection is not read while a request of it runs."""
        self.size = len(data)
        if data:
            self._parts.append(data)
        self.complete = True

    def keep(self, data: bytes) -> bool:
        """Keep a piece; False when that is more than may wait and the client has to pause."""
        self._parts.append(data)
        size = len(data) + PIECE
        self._kept += size
        self._memory.take(self._client, size)
        if self.collected and self.size > EARLY:
            self.crowded_out = not self._memory.has_room(self._client)
            self.collected = not self.crowded_out and self.size <= self._limit
        return self.collected or self.size <= EARLY

    def keep_for_good(self, request: Arriving) -> None:
        """Note that its memory cannot be asked back from the request any more."""
        if self.size > EARLY:
            self._memory.arrived(self._client, request)

    def peek(self) -> bytes:
        """Return the bytes that are kept."""
        return b"".join(self._parts)

    def outgoing(
        self, replaced: bytes | None, names: Mapping[str, str]
    ) -> tuple[int | None, list[bytes]]:
        """The size to announce to a mirror (None when it is streamed), and the bytes to begin with.

        `replaced`: sent instead of what was collected; `names`: the mirror's names of models.
        """
        if not self.collected:
            return None, self.to_send()
        if not names:
            return (self.size, self._parts) if replaced is None else (len(replaced), [replaced])
        renamed = renamed_json(b"".join(self._parts) if replaced is None else replaced, names)
        return len(renamed), [renamed]

    def to_send(self) -> list[bytes]:
        """Return the kept bytes in the framing for a mirror; a streamed part is then forgotten."""
        if self.collected:
            return self._parts
        parts = [self.framed(part) for part in self._parts]
        self.drop()
        if self.complete:
            parts.append(self.ending)
        return parts

    def rename_models(self, content_type: bytes, names: Mapping[str, str]) -> None:
        """Send a form with these names of models in place of the client's, and so with another
        size; it must not have begun to be sent."""
        self._form, self.chunked = FormNames(content_type, names), True

    def framed(self, data: bytes) -> bytes:
        """One piece of a streamed body as it goes to a mirror."""
        if self._form is not None:
            data = self._form.feed(data)
        return chunk(data) if self.chunked and data else data

    @property
    def ending(self) -> bytes:
        """The bytes that end a streamed body for a mirror."""
        rest = self._form.finish() if self._form is not None else b""
        return (chunk(rest) if rest else b"") + (LAST_CHUNK if self.chunked else b"")

    def drop(self) -> None:
        """Forget what is kept."""
        self._parts = []
        if self._kept:
            self._memory.give_back(self._client, self._kept)
            self._kept = 0
