"""A worker's road with issued keys on it: the mirrors' keys are lent, and use is charged."""

from __future__ import annotations

import json
from typing import Any

from router.admission.credentials import new_key
from tests.testkit.road import Road, post


def issue(
    road: Road, key_id: str = "k1", left: int | None = None, tokens_left: int | None = None
) -> str:
    """A key that this worker knows; `left` in nano-units."""
    key, ring = new_key("mg-"), road.context.keys
    if not ring.pepper:
        ring.season("01" * 32)
    digest = ring.digest(key.encode()).hex()
    ring.extend([(key_id, digest, None, 0.0, "", left, tokens_left)])
    return key


def asking(key: str, body: dict[str, Any], path: str = "chat/completions", *fields: str) -> bytes:
    """A request with such a key."""
    request = post(f"/v1/{path}", json.dumps(body).encode(), *fields)
    return request.replace(b"Bearer sk-x", f"Bearer {key}".encode())


def charges(road: Road) -> list[tuple[str, str, int, int, int]]:
    """The charges: key, basis, requests, input and output tokens."""
    uses = road.context.metering.uses
    message = uses.due(float("inf"))
    rows = message["rows"] if message is not None else []
    return [(row[0], row[3], row[4], row[5], row[7]) for row in rows]
