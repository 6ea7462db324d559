"""Model, stream and store of a JSON request with a caller's own key, as forwarding needs them."""

from __future__ import annotations

import json

import msgspec

from router.wire.json_scan import storable, top_values


def hints(body: bytes) -> tuple[str, bool, bool]:
    """The model ("" if it has none), and if "stream" is true and "store" false."""
    top = top_values(body)
    return _text(top.model), bytes(top.stream) == b"true", bytes(top.store) == b"false"


def model_of(body: bytes) -> str:
    """The top-level model of a JSON object; "" when there is none or it is no string."""
    return _text(top_values(body).model)


def _text(raw: msgspec.Raw) -> str:
    data = bytes(raw)
    if not data.startswith(b'"'):
        return ""
    try:
        return storable(json.loads(data)) if b"\\" in data else data[1:-1].decode()
    except ValueError:
        return ""
