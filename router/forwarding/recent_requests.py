"""Recent requests of one worker: times, mirrors and outcomes, never content.

Almost all requests succeed at once, so of those only the least is kept; all that failed somewhere
or took long are kept apart and whole, so that a crowd of good ones does not wash them away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

KEPT: Final = 1000
"""Requests of either kind."""
LONG: Final = 10.0
"""Seconds from which a request is kept whole, whatever its outcome."""
_LONGEST_PATH = 200


class Tried(NamedTuple):
    """One attempt. Times are on the worker's clock."""

    mirror: str
    outcome: str
    """A failure (`Failure`), or the request's outcome where it was the last attempt."""
    began: float
    ended: float


class Course(Protocol):
    """The attempts of one request (`attempts.Attempts`)."""

    ended: tuple[Tried, ...]
    """Those that have failed, whoever was told."""

    def with_last(self, outcome: str, now: float) -> tuple[Tried, ...]:
        """All of them, the last one with this outcome unless it has failed."""


Alike = tuple[str, str, int, str, bool]
"""As `Stats.finished` has it: mirror, endpoint, status, outcome, whether it was a stream."""


class Kept(NamedTuple):
    """One request."""

    id: bytes
    began: float
    seconds: float
    alike: Alike
    method: bytes = b""
    target: bytes = b""
    """Without its query; empty, as is the method, for one that succeeded at once."""
    tried: tuple[Tried, ...] = ()


class RecentRequests:
    """The last requests, to be found by their id."""

    def __init__(self) -> None:
        self._good: deque[tuple[bytes, float, float, Alike]] = deque(maxlen=KEPT)
        self._whole: deque[Kept] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<RecentRequests: {len(self._good)} good requests, {len(self._whole)} others>"

    def finished(
        self,
        request_id: bytes,
        began: float,
        seconds: float,
        alike: Alike,
        course: Course | None,
        method: bytes,
        target: bytes,
    ) -> None:
        """A request has ended; `course` is None where no mirror was asked."""
        if alike[3] == "success" and seconds < LONG and course is not None and not course.ended:
            self._good.append((request_id, began, seconds, alike))
            return
        tried = course.with_last(alike[3], began + seconds) if course is not None else ()
        path = target.partition(b"?")[0][:_LONGEST_PATH]
        self._whole.append(Kept(request_id, began, seconds, alike, method, path, tried))

    def newest(self, most: int) -> list[Kept]:
        """Up to so many of those that are kept whole, the last one first."""
        return list(islice(reversed(self._whole), most))

    def find(self, request_id: bytes) -> Kept | None:
        """The request with this id, if it is among the last."""
        for kept in reversed(self._whole):
            if kept.id == request_id:
                return kept
        for good in reversed(self._good):
            if good[0] == request_id:
                return _whole(*good)
        return None


def _whole(request_id: bytes, began: float, seconds: float, alike: Alike) -> Kept:
    tried = (Tried(alike[0], alike[3], began, began + seconds),)
    return Kept(request_id, began, seconds, alike, tried=tried)


def to_json(kept: Kept, wall: Callable[[float], float]) -> dict[str, Any]:
    """Plain values; `wall` turns the worker's clock into seconds since the epoch."""
    mirror, endpoint, status, outcome, stream = kept.alike
    return {
        "id": kept.id.decode(),
        "began": wall(kept.began),
        "seconds": round(kept.seconds, 4),
        "method": kept.method.decode("latin-1"),
        "path": kept.target.decode("latin-1"),
        "endpoint": endpoint,
        "stream": stream,
        "mirror": mirror,
        "status": status,
        "outcome": outcome,
        "attempts": [
            {
                "mirror": tried.mirror,
                "outcome": str(tried.outcome),
                "after": round(tried.began - kept.began, 4),
                "seconds": round(tried.ended - tried.began, 4),
            }
            for tried in kept.tried
        ],
    }
