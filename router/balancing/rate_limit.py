"""A mirror answers 429: whose limit is that, how long does it hold, and who must keep away.

A limit of the caller's own key is between the caller and OpenAI: the answer goes to the caller, and
only this key keeps away from this mirror. Any other is the mirror's: all keep away, and the request
goes elsewhere. Neither says that the mirror is broken.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final

from monitor.diagnosis.answer import OUT_OF_QUOTA

FIRST_WAIT, LONGEST_GUESS = 5.0, 60.0
"""Seconds assumed when a mirror names none: doubled each time."""
LONGEST_WAIT = 3600.0
"""Whatever a mirror says, it is asked again after an hour."""
_LEAST_WAIT = 0.1
"""Seconds to keep away though a mirror says 0: the request itself must not come back."""
MOST_BLOCKS = 4096
LENT: Final = b""
"""Stands for a mirror's own key where callers' keys are distinguished, none of which is empty."""
_OUT_OF_QUOTA = frozenset(OUT_OF_QUOTA)
_REMEMBER = 60.0
"""Seconds after which an earlier limit no longer lengthens the next one."""
_DURATION: Final = re.compile(r"(?:([0-9.]{1,12})h)?(?:([0-9.]{1,12})m)?(?:([0-9.]{1,12})s)?")
_LENT_PLACE = b"lent"
_MILLISECONDS = re.compile(r"([0-9.]{1,12})ms")


class Scope(StrEnum):
    """The requests that must keep away."""

    caller = "caller"
    mirror = "mirror"


@dataclass(frozen=True, slots=True)
class Limited:
    """Meaning of a 429."""

    scope: Scope
    pass_on: bool
    """The caller should have this very answer; else the request may go to another mirror."""


def classify(own_key: bool, error: Mapping[str, Any] | None) -> Limited:
    """Classify a limit by its scope: `error` is the body's, if it can be read: what an API says to
    a caller's own key must keep nobody else away."""
    if own_key and error is not None:
        return Limited(Scope.caller, pass_on=True)
    return Limited(Scope.mirror, pass_on=False)


def is_out_of_quota(error: Mapping[str, Any]) -> bool:
    """True if an error says that the account of the key has nothing left to spend."""
    return is_spent(str(error.get("code")).lower(), str(error.get("type")).lower())


def is_spent(code: str, kind: str) -> bool:
    """The same, of its code and type in small letters. Messages may quote a caller, so that they
    prove nothing."""
    return code in _OUT_OF_QUOTA or kind in _OUT_OF_QUOTA


def openai_error(body: bytes) -> Mapping[str, Any] | None:
    """The error of a body in OpenAI's shape, `{"error": {"message", "type", "code"}}`, or None."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    return error if isinstance(error.get("type"), str) or "code" in error else None


def wait_of(fields: Mapping[bytes, bytes], wall: float) -> float | None:
    """Seconds that a response asks to wait, None if it names none it can be held to.

    `retry-after-ms` before `retry-after` (seconds or an HTTP date, RFC 9110 section 10.2.3) before
    OpenAI's `x-ratelimit-reset-*` of what is used up. `wall` is the time of day.
    """
    exact = _number(fields.get(b"retry-after-ms", b""))
    if exact is not None:
        return _bounded(exact / 1000.0)
    named = fields.get(b"retry-after", b"")
    if named:
        seconds = _number(named)
        return _bounded(seconds if seconds is not None else _until_date(named, wall))
    resets = [
        _seconds(fields.get(b"x-ratelimit-reset-" + what, b"").decode("latin-1"))
        for what in (b"requests", b"tokens")
        if fields.get(b"x-ratelimit-remaining-" + what) == b"0"
    ]
    return _bounded(max((reset for reset in resets if reset is not None), default=None))


def should_retry(fields: Mapping[bytes, bytes]) -> bool | None:
    """Advice of the response itself on trying again (`x-should-retry`), None if there is none."""
    return {b"true": True, b"false": False}.get(fields.get(b"x-should-retry", b"").lower())


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_WAIT)


def _number(text: bytes) -> float | None:
    return float(text) if re.fullmatch(rb"[0-9]{1,12}(?:\.[0-9]{1,6})?", text) else None


def _until_date(text: bytes, wall: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text.decode("latin-1"))
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - wall
    except (ValueError, OverflowError):
        return None


def _seconds(text: str) -> float | None:
    """Seconds of "1s", "6m0s" or "20ms", as OpenAI writes them."""
    try:
        short = _MILLISECONDS.fullmatch(text)
        if short is not None:
            return float(short[1]) / 1000.0
        long = _DURATION.fullmatch(text)
        if not text or long is None:
            return None
        hours, minutes, seconds = (float(part or 0) for part in long.groups())
    except ValueError:
        return None
    return hours * 3600.0 + minutes * 60.0 + seconds


@dataclass(slots=True)
class _Block:
    until: float
    count: int
    spent: bool = False
    """True if the key has nothing left to spend: it is no rate that is limited."""


class Blocks:
    """Mirrors that are kept away from, for which keys and until when; one worker's view.

    Keys are kept as keyed hashes, in memory only. Of too many blocks the oldest are forgotten.
    """

    __slots__ = ("_blocks", "_salt", "some")

    def __init__(self, salt: bytes) -> None:
        """`salt`: 16 or more random bytes of this process."""
        self._salt = salt
        self.some = False
        """True if there has ever been one; asked with every request."""
        self._blocks: OrderedDict[tuple[str, bytes], _Block] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Blocks {len(self._blocks)}>"

    def __len__(self) -> int:
        return len(self._blocks)

    def block(
        self,
        mirror: str,
        key: bytes | None,
        wait: float | None,
        now: float,
        *,
        spent: bool = False,
    ) -> float:
        """Keep away for `wait` seconds, with this key or, with None, altogether; until when.
        `LENT` is the key of whoever is lent the mirror's; `spent`: it has nothing left to spend.

        Without a `wait`, 5 s, then 10, 20, … 60. Of two the later deadline counts.
        """
        self.some = True
        place = self._place(mirror, key)
        was = self._blocks.pop(place, None)
        count = was.count + 1 if was is not None and now < was.until + _REMEMBER else 1
        if was is not None and now < was.until:
            count = was.count  # several requests met the same limit
        guess = min(FIRST_WAIT * 2.0 ** min(count - 1, 10), LONGEST_GUESS)
        until = now + (guess if wait is None else max(wait, _LEAST_WAIT))
        until = max(until, was.until if was is not None else 0.0)
        self._blocks[place] = _Block(until, count, spent)
        if len(self._blocks) > MOST_BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[place].until

    def until(self, mirror: str, key: bytes | None, now: float) -> float:
        """Until when this caller must keep away from the mirror; 0 if it need not."""
        if not self._blocks:
            return 0.0
        whole = self._until((mirror, b""), now)
        return max(whole, self._until(self._place(mirror, key), now)) if key is not None else whole

    def is_spent(self, mirror: str, now: float) -> bool:
        """True if the mirror's own key was out of quota just now."""
        return self._until((mirror, _LENT_PLACE), now) > 0.0

    def all_spent(self, mirrors: Iterable[str], key: bytes, now: float) -> bool:
        """True if each of these mirrors has just said that this key has nothing left to spend."""
        known = [self._blocks.get(self._place(mirror, key)) for mirror in mirrors]
        return all(block is not None and block.spent and now < block.until for block in known)

    def keys(self, mirror: str, now: float) -> int:
        """Number of callers' own keys that must keep away from the mirror."""
        return sum(
            place[0] == mirror and place[1] not in (b"", _LENT_PLACE) and now < block.until
            for place, block in self._blocks.items()
        )

    def soonest(self, mirrors: Iterable[str], key: bytes | None, now: float) -> float | None:
        """Seconds until the first of these mirrors can be asked again; None if one can be now, or
        there are none."""
        ends = [self.until(mirror, key, now) for mirror in mirrors]
        return min(ends) - now if ends and all(ends) else None

    def _until(self, place: tuple[str, bytes], now: float) -> float:
        block = self._blocks.get(place)
        return block.until if block is not None and now < block.until else 0.0

    def _place(self, mirror: str, key: bytes | None) -> tuple[str, bytes]:
        if not key:
            return mirror, b"" if key is None else _LENT_PLACE
        return mirror, blake2b(key, digest_size=16, key=self._salt[:64]).digest()
