"""A bound on work in counted steps, which no machine's speed changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AT_MOST = 3000
_PER_BYTE = 100
"""Calls that a byte may cause, each in a piece of its own."""


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Raise AssertionError where reading so many bytes takes more calls than a linear reader does.

    Calls of functions in Python and C are counted, not what is done within one.
    """
    steps = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert steps <= _AT_MOST + _PER_BYTE * size, f"{steps} steps for {size} bytes"
