"""What can be wrong with the store."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used, or could not do what was asked; the message is one sentence."""


def in_one_line(error: object) -> str:
    """What a driver says, as a part of a sentence."""
    return " ".join(str(error).split())[:300]
