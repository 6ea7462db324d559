"""Moments and durations as people say them, in the operator's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from monitor.common.languages import Language

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

_UNITS: tuple[tuple[float, str, str], ...] = (
    (86400.0, "天", "d"),
    (3600.0, "小时", "h"),
    (60.0, "分钟", "min"),
    (1.0, "秒", "s"),
)


def iso(moment: float) -> str:
    """RFC 3339 in UTC, whole seconds: `2026-11-21T09:00:00Z`."""
    return f"{datetime.fromtimestamp(int(moment), UTC).replace(tzinfo=None).isoformat()}Z"


def said(moment: float, now: float, zone: str, language: Language) -> str:
    """A moment to the minute; the year only where it is not this year's."""
    there = datetime.fromtimestamp(moment, ZoneInfo(zone))
    this_year = there.year == datetime.fromtimestamp(now, ZoneInfo(zone)).year
    clock = f"{there:%H:%M}"
    if language == "zh":
        year = "" if this_year else f"{there.year}年"
        return f"{year}{there.month}月{there.day}日 {clock}"
    year = "" if this_year else f" {there.year}"
    return f"{there.day} {_MONTHS[there.month - 1]}{year} {clock}"


def said_month(moment: float, zone: str, language: Language) -> str:
    """The month and year of a moment."""
    there = datetime.fromtimestamp(moment, ZoneInfo(zone))
    if language == "zh":
        return f"{there.year}年{there.month}月"
    return f"{_MONTHS[there.month - 1]} {there.year}"


def clock_time(moment: float, zone: str) -> str:
    """The time of day to the second."""
    return f"{datetime.fromtimestamp(moment, ZoneInfo(zone)):%H:%M:%S}"


def lasting(seconds: float, language: Language) -> str:
    """A duration in its largest unit, rounded down: "3 h"."""
    whole = max(0.0, seconds)
    size, zh, en = next((unit for unit in _UNITS if whole >= unit[0]), _UNITS[-1])
    return f"{int(whole // size)} {zh if language == 'zh' else en}"


def ago(seconds: float, language: Language) -> str:
    """Time since then in words: "12 s ago"."""
    return (
        f"{lasting(seconds, language)}前"
        if language == "zh"
        else f"{lasting(seconds, language)} ago"
    )
