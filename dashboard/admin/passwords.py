"""The operators' password: Argon2id (RFC 9106), hashed by the command and checked at sign-in."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

SHORTEST = 10
"""Characters of a password; attempts are slowed down, so that this is out of reach of guessing."""
LONGEST = 1024
MOST_WAITING = 8
"""Checks that wait for their turn: each takes 64 MiB and some 50 ms of a core."""

_HASHER = PasswordHasher()


class Crowded(Exception):
    """Too many passwords are being checked."""


def hashed(password: str) -> str:
    """Return the value of `admin.password_hash` for a password."""
    return _HASHER.hash(password)


def matches(password: str, known: str) -> bool:
    """True if this is the password. Takes its time."""
    try:
        return _HASHER.verify(known, password)
    except (Argon2Error, InvalidHashError):
        return False


class PasswordCheck:
    """Checks passwords beside the event loop, one at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, password: str, known: str) -> bool:
        """True if this is the password. Raises Crowded."""
        if self._waiting >= MOST_WAITING:
            raise Crowded
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(matches, password, known)
        finally:
            self._waiting -= 1
