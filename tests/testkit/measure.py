"""Measurements of a long run, for the table at its end."""

from collections.abc import Callable

Measure = Callable[[str, object], None]
"""Called with what was measured, and how much."""
