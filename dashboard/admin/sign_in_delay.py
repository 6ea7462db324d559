"""The growing delay between attempts to sign in: of each address, and of all of them. Pure.

Every attempt counts as failed until it has succeeded, so that many at once are no way around. An
address that has signed in before is not held up by what others do: nobody is locked out by an
attack from elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

FREE = 3
"""Attempts of an address without a delay: people mistype."""
FREE_IN_ALL = 20
LONGEST = 300.0
"""Seconds between two attempts of an address, at most: 12 an hour."""
LONGEST_IN_ALL = 30.0
"""Seconds between two attempts of addresses that have never signed in, at most."""
FORGIVEN_AFTER = 3600.0
"""Seconds without an attempt after which the former ones are forgotten."""
KNOWN = 4096
"""Addresses whose attempts are remembered; the delay in all holds for those forgotten."""
TRUSTED = 64
"""Addresses remembered that have signed in."""


@dataclass(slots=True)
class _Attempts:
    count: int
    last: float

    def wait(self, now: float, free: int, longest: float) -> float:
        """Seconds until the next one may be made: 1, 2, 4 … after those that are free."""
        if self.count < free:
            return 0.0
        return max(0.0, self.last + min(2.0 ** min(self.count - free, 30), longest) - now)

    def begin(self, now: float) -> None:
        self.count = 1 if now - self.last > FORGIVEN_AFTER else self.count + 1
        self.last = now


class SignInDelay:
    """Attempts to sign in. Times are on a monotonic clock; an address is a visitor's key."""

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, _Attempts] = OrderedDict()
        self._all = _Attempts(0, float("-inf"))
        self._trusted: OrderedDict[bytes, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SignInDelay {len(self._of)} addresses, {self._all.count} attempts>"

    def wait(self, address: bytes, now: float) -> float:
        """Seconds until this address may try; 0: it may now."""
        mine = self._of.get(address)
        wait = mine.wait(now, FREE, LONGEST) if mine is not None else 0.0
        if address in self._trusted:
            return wait
        return max(wait, self._all.wait(now, FREE_IN_ALL, LONGEST_IN_ALL))

    def begin(self, address: bytes, now: float) -> int:
        """Count an attempt; returns the number of those of this address without success."""
        mine = self._of.setdefault(address, _Attempts(0, now))
        mine.begin(now)
        self._of.move_to_end(address)
        if len(self._of) > KNOWN:
            self._of.popitem(last=False)
        if address not in self._trusted:
            self._all.begin(now)
        return mine.count

    def succeeded(self, address: bytes) -> None:
        """The last attempt of this address was the password."""
        self._of.pop(address, None)
        if address not in self._trusted:
            self._all.count = max(0, self._all.count - 1)
        self._trusted[address] = None
        self._trusted.move_to_end(address)
        if len(self._trusted) > TRUSTED:
            self._trusted.popitem(last=False)
