"""Facts that follow from a request head, worked out once for as long as its connection repeats
it."""

from __future__ import annotations

import re
from typing import Final

from router.admission.client_address import Client
from router.admission.credentials import (
    Caller,
    by_link,
    credentials,
    looks_mistyped,
    path_holds_key,
    without_keys,
)
from router.admission.key_index import IssuedKey, KeyIndex
from router.balancing.rate_limit import LENT
from router.balancing.timeouts import asked_timeout
from router.forwarding.config import WorkerConfig
from router.upstream.dialect import dialect_of
from router.upstream.image_links import links_in
from router.upstream.model_names import model_in_query
from router.upstream.request_body import is_json, is_small_text
from router.upstream.request_writer import fields_with_key
from router.upstream.upstream import Upstream
from router.wire.error_response import Problem
from router.wire.request import RequestHead
from router.wire.target import endpoint_of

_POOLED_POSTS: Final = ("chat", "completions", "embeddings", "responses", "moderations")
"""POSTs that may take a connection that waited; others must not meet one that has gone stale."""
_REPEATED_POSTS: Final = (*_POOLED_POSTS, "messages")
_OWN: Final = Caller.own
_BY_LINK = b"\0link"
"""What limits of mirrors on links are noted by: they say nothing of any key."""
_KEY_OF_PATH = re.compile(rb"/sk-[^/?]*")
_KEY_IN_PATH = Problem(
    400,
    "key_in_path",
    'The path holds a key that was issued here. Send it as "Authorization: Bearer …" only.',
    of_key=True,
)
"""A part of the query can be left out, but without a part of its path a request is another one."""


class RequestContext:
    """Target, endpoint and keys of a head: all that does not change with the length of a body."""

    __slots__ = (
        "_fields",
        "_head",
        "_pepper",
        "caller",
        "client",
        "config",
        "credentials",
        "digest",
        "endpoint",
        "is_json",
        "is_kept",
        "is_mistyped",
        "limited_as",
        "may_be_stale",
        "mirror",
        "model",
        "names_images",
        "problem",
        "shape",
        "shape_name",
        "shown",
        "suits",
        "target",
        "timeout",
        "traceparent",
        "tracestate",
        "uses_mirror_key",
    )

    def __init__(
        self,
        config: WorkerConfig,
        head: RequestHead,
        target: bytes,
        client: Client,
        mirror: str = "",
    ) -> None:
        """`target` is forwarded, without keys; `config`: what all of this was worked out with;
        `mirror`: the only one that may get it, since a link to an image on its host was signed."""
        self.config = config
        self.client = client
        self.mirror = mirror
        prefix = config.keys.prefix
        self.credentials = by_link(prefix) if mirror else credentials(head.look, prefix)
        if b"?" in target:
            target = without_keys(target, self.credentials)
        self.target = target
        self.endpoint = endpoint_of(target)
        self.model = model_in_query(target) if head.websocket and b"?" in target else ""
        """The model that a WebSocket is opened for, as the client calls it; else ""."""
        self.names_images = links_in(self.endpoint, target)
        """True if the answer may have links to images."""
        self.caller = self.credentials.caller
        self.uses_mirror_key = self.caller is not _OWN
        """True if the mirror gets its own key instead of the caller's."""
        self.limited_as = LENT
        if self.caller is _OWN:
            self.limited_as = _BY_LINK if mirror else self.credentials.keys[0]
        """The key that limits of mirrors are noted by."""
        self.digest = b""
        """Of the issued key, as `issued` has looked for it."""
        self._pepper: bytes | None = None
        self.is_json = is_json(head)
        unsaid = self.endpoint in _REPEATED_POSTS and is_small_text(head)
        self.is_kept = self.is_json or unsaid
        """True if the body is collected, unless it is too large."""
        self.may_be_stale = not head.websocket and (
            head.method in (b"GET", b"HEAD") or self.endpoint in _POOLED_POSTS
        )
        """True if a reused connection will do, for a request that can be repeated."""
        multipart = head.look.get(b"content-type", b"").lower().startswith(b"multipart/")
        dialect = dialect_of(self.endpoint, target)
        self.shape = (head.method, self.endpoint, dialect, multipart)
        """What a plan depends on beside the body (`request_policy.py`)."""
        self.shape_name = repr(self.shape)
        """The same in one word, whose hash is known: that of an Enum's member costs a call."""
        request = head.look.get(b"x-mirrorgate-timeout")
        self.timeout = asked_timeout(request) if request is not None else None
        """Seconds that the caller will wait at most, if it said so."""
        self.traceparent = head.look.get(b"traceparent")
        """As the client sent it, where traces are on; else it passes as any other field."""
        self.tracestate = head.look.get(b"tracestate")
        """The same; several fields are one list."""
        self.suits: dict[Upstream, bool] = {}
        """Which mirrors are configured for this endpoint and these keys, as far as that was asked.

        Only what holds as long as the configuration does; health is looked at with each request.
        """
        in_path = path_holds_key(target, config.keys.prefix)
        self.problem: Problem | None = _KEY_IN_PATH if in_path else None
        """The refusal of the head, if any; without a key also that of anonymous callers."""
        self.shown = target
        """The target, for logs: without what looks like a key in its path."""
        if in_path or b"/sk-" in target:
            root = target[: target.find(b"/", 4) + 1]
            self.shown = root + b"..." if in_path else _KEY_OF_PATH.sub(b"/sk-...", target)
        self.is_mistyped = self.caller is _OWN and any(
            looks_mistyped(key, prefix) for key in self.credentials.keys
        )
        """True if the caller's key is nearly one that could have been issued here."""
        self._head = head
        self._fields: dict[tuple[bytes, bool], bytes] = {}

    def __repr__(self) -> str:
        return f"<RequestContext {self.endpoint} {self.caller}>"

    def issued(self, ring: KeyIndex, wall: float) -> IssuedKey | None:
        """The issued key that it carries, if that may be used at `wall` (since the epoch)."""
        if self._pepper is not ring.pepper:
            self._pepper, self.digest = ring.pepper, ring.digest(self.credentials.keys[0])
        return ring.find(self.digest, wall)

    def fields_for(self, upstream: Upstream, comments: bool) -> bytes:
        """The fields that this mirror gets, with the key that it takes. `comments`: the response
        may get some. Then, or where it is read, it must not be compressed."""
        key, plain = b"", comments
        if self.uses_mirror_key:
            key, plain = upstream.api_key, True
        elif self.names_images and upstream.relays_images:
            plain = True
        known = self._fields.get((key, plain))
        if known is None:
            known = fields_with_key(self._head, self.credentials, key, plain=plain)
            self._fields[key, plain] = known
        return known
