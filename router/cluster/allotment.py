"""Shares of one limit: even ones, and fair ones of what hosts want. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def even(limit: int, hosts: int) -> int:
    """The share of each host while nobody has asked: rounded up, so that all can use something."""
    return -(-limit // max(hosts, 1))


def fair(limit: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Max-min fair shares: no host gets more than it wants, and none less than another that gets
    less than it wants. Every host works out the same; together they never exceed the limit."""
    shares: dict[str, int] = {}
    left, waiting = limit, len(wants)
    for host in sorted(wants, key=lambda each: (wants[each], each)):
        shares[host] = min(max(wants[host], 0), left // waiting)
        left -= shares[host]
        waiting -= 1
    return shares
