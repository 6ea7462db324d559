"""Moments and durations as people say them, in the operator's time zone.

The patterns of dates are texts of the catalogues; the names of months are CLDR's, by Babel.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel.dates import format_datetime

from dashboard.i18n.texts import Words

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def iso(moment: float) -> str:
    """RFC 3339 in UTC, whole seconds: `2026-11-21T09:00:00Z`."""
    return f"{datetime.fromtimestamp(int(moment), UTC).replace(tzinfo=None).isoformat()}Z"


def iso_if_known(moment: float | None) -> str | None:
    """The same of a moment that may not be known, or may never come."""
    return None if moment is None else iso(moment)


def said(moment: float, now: float, zone: str, words: Words) -> str:
    """A moment to the minute; the year only where it is not this year's."""
    there = ZoneInfo(zone)
    years = {datetime.fromtimestamp(each, there).year for each in (moment, now)}
    return _formatted(moment, "moment.short" if len(years) == 1 else "moment.long", zone, words)


def said_month(moment: float, zone: str, words: Words) -> str:
    """The month and year of a moment."""
    return _formatted(moment, "moment.month", zone, words)


def _formatted(moment: float, pattern: str, zone: str, words: Words) -> str:
    return _of_minute(int(moment // 60), pattern, zone, words)


@lru_cache(8192)
def _of_minute(minute: int, pattern: str, zone: str, words: Words) -> str:
    """Babel takes some 30 µs for one, and pages of many nodes say the same ones again."""
    there = datetime.fromtimestamp(60 * minute, ZoneInfo(zone))
    return format_datetime(there, words(pattern), locale=words.language)


def clock_time(moment: float, zone: str) -> str:
    """The time of day to the second."""
    return f"{datetime.fromtimestamp(moment, ZoneInfo(zone)):%H:%M:%S}"


def lasting(seconds: float, words: Words) -> str:
    """A duration in its largest unit, rounded down: "3 h"."""
    whole = max(0.0, seconds)
    size, unit = next((unit for unit in _UNITS if whole >= unit[0]), _UNITS[-1])
    return words(f"unit.{unit}", count=int(whole // size))


def whole(seconds: float, words: Words) -> str:
    """A duration in the largest unit that it is a whole number of, as settings are: "90 s"."""
    rounded = round(seconds)
    size, unit = next((unit for unit in _UNITS if rounded and rounded % unit[0] == 0), _UNITS[-1])
    return words(f"unit.{unit}", count=int(rounded // size))


def ago(seconds: float, words: Words) -> str:
    """Time since then in words: "12 s ago"."""
    return words("moment.ago", length=lasting(seconds, words))
