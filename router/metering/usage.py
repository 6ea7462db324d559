"""Usage of one response, in the units that mirrors bill."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, TypeGuard

MOST: Final = 100_000_000
"""Of anything in one answer: a mirror that says more says nonsense."""


class Basis(StrEnum):
    """Where the numbers are from."""

    usage = "usage"
    """The mirror's own words, or what was counted exactly."""
    estimate = "estimate"
    """Worked out from sizes, because the mirror's words did not come."""


class Usage(NamedTuple):
    """Counts; all zero is an answer that costs nothing."""

    input: int = 0
    """Input tokens, the cached ones among them."""
    cached: int = 0
    output: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that count towards a quota of tokens."""
        return self.input + self.output

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(mine + its for mine, its in zip(self, other, strict=True)))


NOTHING: Final = Usage()


def is_number(value: object) -> TypeGuard[int | float]:
    """True for a number as JSON has it, which `true` is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def sane(value: object) -> int:
    """A count that a mirror tells, or 0 where it is none."""
    return int(value) if is_number(value) and 0 <= value <= MOST else 0
