"""Arguments that several commands take."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from typing import TypeVar

from monitor.common import validators
from monitor.common.bans import client_network
from monitor.common.keys import checked_models, checked_name, checked_rate, checked_tokens
from monitor.common.money import billionths, written
from monitor.common.settings import parse_duration

T = TypeVar("T")


def _sentence(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return the fault of an argument as argparse words it."""

    @wraps(read)
    def reading(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return reading


def seconds(text: str) -> float:
    """A duration such as "1h", or a number of seconds; more than none."""
    try:
        value = float(text) if text.isascii() and text.isdigit() else parse_duration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    if not 0 < value < 1e10:
        raise ArgumentTypeError(f'expected a duration of more than 0, got "{text}"')
    return value


def network(text: str) -> str:
    """An IP address or a network, as text that the router understands."""
    try:
        client_network(text)
    except ValueError:
        raise ArgumentTypeError(
            f'expected an address or a network such as "192.0.2.0/24", got "{text}"'
        ) from None
    return text


def ip_address(text: str) -> str:
    """An IP address."""
    if (problem := validators.address(text)) is not None:
        raise ArgumentTypeError(problem)
    return text


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise ArgumentTypeError(f'expected a number from 1 to 10000, got "{text}"')
    return int(text)


@_sentence
def key_name(text: str) -> str:
    """The name of a key's holder."""
    return checked_name(text)


@_sentence
def money(text: str) -> str:
    """An amount above zero, as text with decimals."""
    return written(billionths(text))


@_sentence
def tokens(text: str) -> int:
    """A number of tokens."""
    if not re.fullmatch("[0-9]{1,20}", text):
        raise ValueError(f'expected a number of tokens such as 2000000, got "{text}"')
    return checked_tokens(int(text))


@_sentence
def rate(text: str) -> float:
    """Requests per second."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise ValueError(f'expected requests a second such as 5, got "{text}"')
    return checked_rate(float(text))


@_sentence
def models(text: str) -> list[str]:
    """Models or patterns, with commas between them."""
    return list(checked_models(text.split(",")))


@_sentence
def expiry(text: str) -> str:
    """A moment to come, in RFC 3339: after a time such as "30d", or with the end of a day (UTC)."""
    now = datetime.now(UTC)
    try:
        last = date.fromisoformat(text)
        end = datetime.combine(last + timedelta(days=1), time(), UTC)
    except (ValueError, OverflowError):
        end = now + _duration(text)
    if end <= now:
        raise ValueError(f'expected a day that is still to come, got "{text}"')
    return end.strftime("%Y-%m-%dT%H:%M:%SZ")


@_sentence
def local_moment(text: str) -> str:
    """A moment of this machine's time, or of another offset that it names, as RFC 3339."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        expected = '"2026-12-01 02:00" (local) or 2026-12-01T02:00+08:00'
        raise ValueError(f'expected a time such as {expected}, got "{text}"') from None


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=seconds(text))
    except (ArgumentTypeError, OverflowError):
        raise ValueError(f'expected a time such as "30d" or a day, got "{text}"') from None
