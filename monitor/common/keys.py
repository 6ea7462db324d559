"""Keys that this instance issues: what one may do, what it has used, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

State = Literal["active", "expired", "revoked", "spent"]

LONGEST_NAME = 100
MOST_PATTERNS = 50
LONGEST_PATTERN = 128
MOST_TOKENS = 10**18


class Spent(NamedTuple):
    """Use of a key in all."""

    cost: int = 0
    """In billionths of the unit of the prices."""
    tokens: int = 0
    """Input and output together."""

    def and_also(self, more: Spent) -> Spent:
        """The sum."""
        return Spent(self.cost + more.cost, self.tokens + more.tokens)


class Left(NamedTuple):
    """Rest of a key's quotas; None: no quota. Below zero when it used too much."""

    money: int | None
    tokens: int | None

    @property
    def used_up(self) -> bool:
        """True if nothing is left."""
        return any(left is not None and left <= 0 for left in self)


NOTHING = Spent()


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """Permissions of a new key."""

    name: str
    quota: int | None = None
    """Billionths of the unit of the prices; None: no limit."""
    tokens: int | None = None
    rate: float = 0.0
    """Requests per second; 0: none of its own."""
    models: tuple[str, ...] = ()
    """Patterns, of which one must fit; empty: any model."""
    expires_at: float | None = None
    """Seconds since the epoch; None: never."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An issued key as it is kept. Times are seconds since the epoch."""

    id: str
    name: str
    digest: str = field(repr=False)
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    revoked_by: str
    rate: float
    models: tuple[str, ...]
    quota: int | None
    """What was granted in all, in billionths."""
    quota_tokens: int | None

    def left(self, spent: Spent) -> Left:
        """Rest of the quotas after this use."""
        money = None if self.quota is None else self.quota - spent.cost
        tokens = None if self.quota_tokens is None else self.quota_tokens - spent.tokens
        return Left(money, tokens)

    def state(self, now: float, spent: Spent) -> State:
        """`active` if it may be used, else the reason why not."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "spent" if self.left(spent).used_up else "active"


class DayUse(NamedTuple):
    """Use of a model by a key on a day; `cost` in billionths of the unit of the prices."""

    key: str
    day: str
    """UTC, as "2026-11-21"."""
    model: str
    basis: str
    """ "usage" as a mirror said it, or "estimate"."""
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    images: int
    audio_ms: int
    characters: int
    cost: int


class KeyAccount(NamedTuple):
    """A key, what it has used in all, and its days, newest first, as far as they were asked for."""

    record: KeyRecord
    spent: Spent
    days: tuple[DayUse, ...] = ()


class NewKey(NamedTuple):
    """A key that was issued just now."""

    account: KeyAccount
    key: str
    """The key itself, which is kept nowhere."""
    notes: tuple[str, ...] = ()
    """What keeps it from being of use at present."""

    def __repr__(self) -> str:
        return f"<NewKey {self.account.record.id}>"


class KeyBook(NamedTuple):
    """All that is kept of keys."""

    pepper: str
    """What digests depend on, in hexadecimal."""
    records: list[KeyRecord]
    """Newest first, revoked ones included."""
    spent: dict[str, Spent]
    """By id; who has used nothing is left out."""


class KeyFault(ValueError):
    """A change of a key that cannot be made: one sentence that names the next step.

    `code` and `values` are for those who tell it in another language.
    """

    def __init__(self, sentence: str, code: str, **values: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.values = values


class UnknownKey(KeyFault):
    """There is no such key."""


def topped_up(record: KeyRecord, quota: int | None, tokens: int | None) -> tuple[int | None, ...]:
    """The quotas of a key after so much more was granted. Raises KeyFault."""
    if record.revoked_at is not None:
        raise KeyFault(f"{record.id} is revoked: create a new key", "key_revoked", key=record.id)
    sums: list[int | None] = []
    pairs = (("quota", record.quota, quota), ("token quota", record.quota_tokens, tokens))
    for word, granted, more in pairs:
        code = word.replace(" ", "_")
        if more is not None and granted is None:
            sentence = f"{record.id} has no {word}, so there is nothing to top up"
            raise KeyFault(sentence, f"no_{code}", key=record.id)
        total = None if granted is None else granted + (more or 0)
        if total is not None and total > 9 * MOST_TOKENS:
            sentence = f"the {word} of {record.id} would be more than can be counted"
            raise KeyFault(sentence, f"large_{code}", key=record.id)
        sums.append(total)
    return tuple(sums)


# What operators may write; each raises ValueError with one sentence


def checked_name(text: str) -> str:
    """A name that fits on a line."""
    name = text.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"expected a name of 1 to {LONGEST_NAME} visible characters")
    return name


def checked_models(items: Iterable[str]) -> tuple[str, ...]:
    """Patterns of models."""
    models = tuple(dict.fromkeys(item.strip() for item in items))
    if len(models) > MOST_PATTERNS:
        raise ValueError(f"expected at most {MOST_PATTERNS} models or patterns")
    for model in models:
        fine = model.isascii() and model.isprintable() and not set(model) & set(' ,"')
        if not model or len(model) > LONGEST_PATTERN or not fine:
            raise ValueError(f'expected models or patterns such as "gpt-4o*", got "{model[:60]}"')
    return models


def checked_rate(value: float) -> float:
    """Requests per second."""
    if not 0.001 <= value <= 1e6:
        raise ValueError(f"expected 0.001 to 1000000 requests a second, got {value:g}")
    return value


def checked_tokens(value: int) -> int:
    """A number of tokens."""
    if not 0 < value <= MOST_TOKENS:
        raise ValueError(f"expected 1 to {MOST_TOKENS} tokens, got {value}")
    return value
