"""Requests as a worker sees them once their heads have been read, without a connection."""

from __future__ import annotations

from hashlib import blake2b

from router.admission.credentials import checksum
from router.forwarding.context import WorkerContext
from router.forwarding.eligibility import Eligibility
from router.forwarding.request_context import RequestContext
from router.upstream.request_body import RequestBody
from router.wire.request import RequestHead

CLIENT = "192.0.2.1"
JSON = {b"content-type": b"application/json"}


def issue(context: WorkerContext, key_id: str) -> bytes:
    """An issued key of this id, which the worker knows from now on."""
    ring = context.keys
    if not ring.pepper:
        ring.season("01" * 32)
    secret = blake2b(key_id.encode(), digest_size=21).hexdigest()
    key = f"mg-{secret}{checksum(secret)}".encode()
    ring.extend([(key_id, ring.digest(key).hex(), None, 0.0, "", None, None)])
    return key


def eligibility(
    context: WorkerContext, path: bytes, *, key: bytes = b"", content: bytes | None = None
) -> Eligibility:
    """Eligibility of mirrors for a POST with this key; without `content` its body is streamed."""
    fields = {b"authorization": b"Bearer " + key} if key else {}
    if content is not None:
        fields |= JSON
    head = RequestHead(b"POST", path, [], fields, length=len(content or b"x"))
    client = context.recognise(CLIENT, fields)
    request = RequestContext(context.config, head, path, client)
    body = RequestBody(head, content is not None, 1 << 20, context.memory, b"")
    if content is not None:
        body.keep_whole(content)
    return Eligibility(context, request, body, context.policies.of(request, body, 0.0))
