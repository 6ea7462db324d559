"""Arguments that several commands take."""

from __future__ import annotations

from argparse import ArgumentTypeError

from monitor import checks
from monitor.bans import client_network
from monitor.settings import parse_duration


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
    if (problem := checks.address(text)) is not None:
        raise ArgumentTypeError(problem)
    return text


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise ArgumentTypeError(f'expected a number from 1 to 10000, got "{text}"')
    return int(text)
