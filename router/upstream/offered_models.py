"""The models that callers with a mirror's key may ask for: those of all mirrors in one list.

It is made of the operator's settings and of what the monitor has found, never by asking a mirror,
so it costs a look-up, and is bounded as those are.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from router.admission.key_index import IssuedKey
from router.admission.key_scope import allows
from router.upstream.model_lists import ListingMirror, can_be_asked, models_of

MOST_LISTED = 10_000
"""Names in the list: ten mirrors of a thousand models each."""
MOST_BODIES = 64
"""Lists that are kept rendered, one for each set of patterns that keys have."""
MOST_COMPARED = 100
"""Names that an unknown one is compared with: a comparison takes 50 µs."""
LONGEST_COMPARED = 128


class OfferedModels:
    """The merged list, and what parts of it keys may see."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._known: frozenset[str] = frozenset()
        self._bodies: dict[tuple[str, ...], bytes] = {}

    def __repr__(self) -> str:
        return f"<OfferedModels, {len(self._names)}>"

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def take(self, mirrors: Sequence[ListingMirror]) -> None:
        """Merge the models of those that serve such callers now."""
        asked = (models_of(mirror) for mirror in mirrors if can_be_asked(mirror))
        names = sorted(frozenset().union(*asked))
        self._names = tuple(islice(names, MOST_LISTED))
        self._known = frozenset(self._names)
        self._bodies = {}

    def listed(self, key: IssuedKey) -> bytes:
        """The list that this key may see, as OpenAI's API gives it."""
        body = self._bodies.get(key.models)
        if body is None:
            if len(self._bodies) >= MOST_BODIES:
                self._bodies.clear()
            data = [_entry(name) for name in self._allowed(key)]
            body = self._bodies[key.models] = _json({"object": "list", "data": data})
        return body

    def entry(self, name: str, key: IssuedKey) -> bytes | None:
        """One of them; None if this key may not see it, or nobody has it."""
        known = name in self._known and allows(key, name)
        return _json(_entry(name)) if known else None

    def nearest(self, name: str, key: IssuedKey) -> list[str]:
        """The names most like this one, three at most."""
        name = name[:LONGEST_COMPARED]
        letters = set(name)

        def alike(other: str) -> int:
            return len(letters & set(other))

        few = heapq.nlargest(MOST_COMPARED, self._allowed(key), key=alike)
        return get_close_matches(name, few, n=3)

    def _allowed(self, key: IssuedKey) -> list[str]:
        return [name for name in self._names if allows(key, name)]


def _entry(name: str) -> dict[str, Any]:
    """A model as clients know it; when it was made is not known, and readers expect a number."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "mirrorgate"}


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
