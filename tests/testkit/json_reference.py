"""`json.loads` as the reference of the scanner of JSON bodies."""

from __future__ import annotations

import json
from typing import Any

from router.wire.json_scan import TopValues, members, top_values

NAMES = TopValues.__struct_fields__


def loaded(body: bytes) -> list[tuple[str, Any]] | None:
    """The pairs of the outermost object, as `json.loads` has them; None if it is none."""
    outermost: list[tuple[str, Any]] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost[:] = pairs
        return dict(pairs)

    try:
        value = json.loads(body.decode("utf-8-sig"), object_pairs_hook=note)
    except (ValueError, RecursionError):
        return None
    return outermost if isinstance(value, dict) else None


def same(one: object, other: object) -> bool:
    """Equal, and of the same types; NaN equals itself."""
    return repr(one) == repr(other)


def check(body: bytes) -> None:
    """Both readers agree with `json.loads`, and places are exact."""
    pairs, read, top = loaded(body), members(body), top_values(body)
    if pairs is None:
        assert read is None
        return
    assert read is not None
    assert same([(m.key, m.value) for m in read.members], pairs)
    for member in read.members:
        assert same(json.loads(read.text[member.begin : member.end]), member.value)
    last = dict(pairs)
    for name in NAMES:
        raw = bytes(getattr(top, name))
        assert bool(raw) == (name in last)
        assert not raw or same(json.loads(raw), last[name])
