"""Prices, exactly: whole nano-units (1e-9) of the currency that the operator reckons in."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, NamedTuple

from router.admission.config import PriceConfig
from router.metering.usage import Usage

NANO: Final = 1_000_000_000
_MILLION = 1_000_000
_MINUTE = 60_000
_SECONDS_OF_DAY: Final = 86_400
_MOST_KNOWN = 1024
"""Models are callers' own words: beyond this many all are forgotten."""


class Price(NamedTuple):
    """Price of a model from a day on, in nano-units: per million tokens or characters, per image,
    per minute."""

    from_: str
    input: int
    cached: int
    output: int
    image: int
    audio_minute: int
    characters: int
    note: str = ""
    """The operator's words on it."""

    def cost(self, usage: Usage) -> int:
        """Nano-units for one answer, a half rounded up."""
        per_million = (
            (usage.input - usage.cached) * self.input
            + usage.cached * self.cached
            + usage.output * self.output
            + usage.characters * self.characters
        )
        parts = (
            per_million * _MINUTE
            + usage.images * self.image * _MILLION * _MINUTE
            + usage.audio_ms * self.audio_minute * _MILLION
        )
        whole = _MILLION * _MINUTE
        return (2 * parts + whole) // (2 * whole)


class Prices:
    """All prices of a configuration."""

    def __init__(self, config: Mapping[str, Sequence[PriceConfig]]) -> None:
        self._of = {
            pattern: sorted(map(_price, some), key=lambda price: price.from_, reverse=True)
            for pattern, some in config.items()
        }
        self._patterns = sorted(self._of, key=_specific, reverse=True)
        self._known: dict[tuple[str, str], Price | None] = {}

    def __repr__(self) -> str:
        return f"<Prices of {len(self._of)} models>"

    def of(self, model: str, day: str) -> Price | None:
        """The price of a model on a day; the most specific pattern that has one then counts."""
        known = (model, day)
        if known not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[known] = self._find(model, day)
        return self._known[known]

    def names(self, model: str) -> bool:
        """True if the model is priced by its name, not by a pattern."""
        return model in self._of

    def highest(self, usage: Usage, day: str) -> int:
        """Cost with the dearest of the models, in nano-units."""
        held = (self._held(pattern, day) for pattern in self._patterns)
        return max((price.cost(usage) for price in held if price is not None), default=0)

    def _find(self, model: str, day: str) -> Price | None:
        for pattern in self._patterns:
            if pattern == model or ("*" in pattern and fnmatchcase(model, _plain(pattern))):
                price = self._held(pattern, day)
                if price is not None:
                    return price
        return None

    def _held(self, pattern: str, day: str) -> Price | None:
        return next((price for price in self._of[pattern] if price.from_ <= day), None)


def day_of(wall: float) -> str:
    """The day of a moment, UTC."""
    return _day(int(wall // _SECONDS_OF_DAY))


@lru_cache(maxsize=4)
def _day(number: int) -> str:
    return (
        datetime.datetime.fromtimestamp(number * _SECONDS_OF_DAY, datetime.UTC).date().isoformat()
    )


def _price(config: PriceConfig) -> Price:
    cached = config.input if config.cached_input < 0 else config.cached_input
    return Price(
        config.from_,
        _nano(config.input),
        _nano(cached),
        _nano(config.output),
        _nano(config.image),
        _nano(config.audio_minute),
        _nano(config.characters),
        config.note,
    )


def _nano(amount: float) -> int:
    """Nano-units of the number as it was written: its shortest form is that, to 15 digits."""
    return int(Decimal(repr(amount)).scaleb(9))


def _specific(pattern: str) -> tuple[bool, int, str]:
    return "*" not in pattern, len(pattern.replace("*", "")), pattern


def _plain(pattern: str) -> str:
    """Only the asterisk stands for something else."""
    return pattern.replace("[", "[[]").replace("?", "[?]")
