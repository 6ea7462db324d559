"""Errors of the store."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used, or could not do what was asked; the message is one sentence."""


def in_one_line(error: object) -> str:
    """Message of a driver, as a part of a sentence."""
    return " ".join(str(error).split())[:300]
