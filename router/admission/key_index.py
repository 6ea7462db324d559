"""The issued keys as a worker knows them: one look-up, however many there are.

A worker has of each key a keyed hash (BLAKE2b, RFC 7693), never the key. Whoever tries keys learns
nothing from how long that takes: where a digest is looked for cannot be steered without the pepper,
and what follows is the same for a key that is there and for one that is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from monitor.common.keys import KeyRecord, Left

DIGEST_SIZE: Final = 16
_NEVER: Final = float("inf")

Row = Sequence[Any]
"""A key as it travels to workers: id, digest, end (None: never), rate, models, money and tokens
left (None: no quota)."""


class IssuedKey(NamedTuple):
    """An issued key as a worker knows it."""

    id: str
    rate: float
    """Requests per second; 0: none of its own."""
    models: tuple[str, ...]
    """Patterns, of which one must fit; empty: any model."""
    expires_at: float
    """Seconds since the epoch; infinite: never."""
    left: int | None
    """What is left of its quota as control said last, in billionths; None: it has none."""
    tokens_left: int | None


_NOBODY: Final = IssuedKey("", 0.0, (), 0.0, None, None)


def digest_of(key: bytes, pepper: bytes) -> bytes:
    """Return the digest that stands for a key in the store and in workers."""
    return blake2b(key, digest_size=DIGEST_SIZE, key=pepper).digest()


def row_of(record: KeyRecord, left: Left) -> Row:
    """Row of a key, as it is sent to workers."""
    models = ",".join(record.models)
    return (record.id, record.digest, record.expires_at, record.rate, models, *left)


class KeyIndex:
    """The keys that are not revoked, as this worker knows them."""

    def __init__(self) -> None:
        self._pepper = b""
        self._keys: dict[bytes, IssuedKey] = {}
        self._digests: dict[str, bytes] = {}
        """By id."""
        self._models: dict[str, tuple[str, ...]] = {}
        """Patterns as they came, since many keys have the same."""

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<KeyIndex of {len(self)}>"

    @property
    def pepper(self) -> bytes:
        """The secret that every digest depends on; empty until control has sent it."""
        return self._pepper

    def digest(self, key: bytes) -> bytes:
        """Return the digest by which a key is looked up, for as long as the pepper is the same."""
        return digest_of(key, self._pepper)

    def find(self, digest: bytes, wall: float) -> IssuedKey | None:
        """The key of this digest, if it may be used at `wall` (seconds since the epoch)."""
        found = self._keys.get(digest, _NOBODY)
        return found if wall < found.expires_at else None

    def expired(self, digest: bytes) -> IssuedKey | None:
        """The key of this digest that `find` may have left out because it has expired."""
        return self._keys.get(digest)

    def season(self, pepper: str) -> None:
        """Take the secret that all digests depend on, in hexadecimal."""
        self._pepper = bytes.fromhex(pepper)

    def extend(self, rows: Iterable[Row]) -> None:
        """Take more keys; one of the same id takes the place of the former."""
        for key_id, written, expires_at, rate, models, left, tokens_left in rows:
            self.remove([key_id])
            digest = bytes.fromhex(written)
            patterns = self._patterns(models)
            end = _NEVER if expires_at is None else expires_at
            self._keys[digest] = IssuedKey(key_id, rate, patterns, end, left, tokens_left)
            self._digests[key_id] = digest

    def remove(self, ids: Iterable[str]) -> None:
        """Forget the keys of these ids."""
        for key_id in ids:
            digest = self._digests.pop(key_id, None)
            if digest is not None:
                del self._keys[digest]

    def become(self, other: KeyIndex) -> None:
        """Have what another one has, which is of no use any more."""
        self._pepper, self._models = other._pepper, other._models
        self._keys, self._digests = other._keys, other._digests

    def _patterns(self, models: str) -> tuple[str, ...]:
        known = self._models.get(models)
        if known is None:
            known = self._models[models] = tuple(models.split(",")) if models else ()
        return known
