"""Times and durations in words that fit into a column."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))

MOST_SKEW = 30.0
"""Seconds between this clock and another one, beyond which one of them is called wrong: an answer
takes a few, certificates and the ends of keys and bans are off by the rest."""


def duration(seconds: float) -> str:
    """A duration as a setting is written, in the largest unit that keeps it whole: "15s", "7d"."""
    for unit, size in _UNITS:
        amount = seconds / size
        if amount >= 1 and abs(amount - round(amount)) < 1e-9:
            return f"{round(amount)}{unit}"
    return f"{seconds:g}s"


def roughly(seconds: float) -> str:
    """A duration in its two largest units: "3d 4h", "12m 5s"."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in _UNITS[:4]:
        amount, left = divmod(left, int(size))
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
    shown = [part for part in parts[:2] if part]
    return " ".join(shown) or "0s"


def moment(value: object) -> datetime | None:
    """A time as the admin API gives it: RFC 3339, or seconds since the epoch."""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        return datetime.fromisoformat(str(value)) if value else None
    except (ValueError, OverflowError, OSError):
        return None


def ago(value: object, now: datetime) -> str:
    """Return the time since then in words; "-" when it is not known."""
    then = moment(value)
    return "-" if then is None else roughly((now - then).total_seconds())


def until(value: object, now: datetime) -> str:
    """The moment that will be then: local time and how long from now; "no end" for never."""
    then = moment(value)
    if then is None:
        return "no end"
    left = roughly((then - now).total_seconds())
    return f"{then.astimezone():%Y-%m-%d %H:%M} (in {left})"
