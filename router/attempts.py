"""The mirrors tried for one request, one after the other; at most one is held at a time."""

from __future__ import annotations

from collections.abc import Callable

from router.choice.failure import FailedAttempt, Failure, may_retry
from router.eligibility import Eligibility, all_failed
from router.opening import Opening
from router.plane import Plane
from router.upstreams import Handle, Upstream
from router.wire.answer import Problem
from router.wire.upstream import UpstreamConnection

Opened = Callable[[Upstream, UpstreamConnection, float], None]
Failed = Callable[[Failure, str], None]


class Attempts:
    """Chooses mirrors for a request and remembers what became of each."""

    __slots__ = ("_eligible", "_handle", "_opening", "_plane", "_tried", "failed")

    def __init__(self, plane: Plane, eligible: Eligibility) -> None:
        self.failed: list[FailedAttempt] = []
        self._plane = plane
        self._eligible = eligible
        self._tried: set[str] = set()
        self._handle: Handle | None = None
        self._opening: Opening | None = None

    def __repr__(self) -> str:
        return f"<Attempts on {self.mirror or 'no mirror'}, {len(self.failed)} failed>"

    @property
    def mirror(self) -> str:
        """The id of the mirror of the current or last attempt."""
        return self._handle.upstream.id if self._handle is not None else ""

    def start(self, may_be_stale: bool, opened: Opened, failed: Failed) -> Problem | None:
        """Choose a mirror, take it and open a connection: one synchronous step.

        Says why when there is no mirror left. Otherwise one of the two is called, `opened` possibly
        before this returns.
        """
        upstream = self._plane.choose(self._accepts)
        if upstream is None:
            return self.all_failed() if self.failed else self._eligible.nobody(self._plane)
        if self.failed:
            self._plane.tally.retried(self.failed[-1].failure)
        self._tried.add(upstream.id)
        self._handle = Handle(upstream)
        reuse = may_be_stale and not self.failed
        connection = upstream.take_idle(self._plane.wheel.now) if reuse else None
        if connection is not None:
            opened(upstream, connection, 0.0)
        else:
            self._opening = Opening(self._plane, upstream, opened, failed)
        return None

    def _accepts(self, upstream: Upstream) -> bool:
        fresh = upstream.id not in self._tried
        return fresh and upstream.available and self._eligible.fits(upstream)

    def note_failure(self, failure: Failure, detail: str, replayable: bool) -> bool:
        """The current attempt has failed; whether another one may be made."""
        mirror = self.mirror
        self.give_back()
        self.failed.append(FailedAttempt(mirror, failure, detail))
        self._plane.failed_on(mirror, failure)
        if failure is Failure.stale:
            self._tried.discard(mirror)
        again = may_retry(failure, replayable)
        counted = sum(attempt.failure is not Failure.stale for attempt in self.failed)
        return again and counted < self._plane.router.retry.attempts

    def all_failed(self) -> Problem:
        """What the client is told after the last attempt."""
        return all_failed(self.failed, self._plane.router.expose_mirror)

    def give_back(self) -> None:
        """Hold no mirror any more; break off an opening."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._handle is not None:
            self._handle.release()

    @property
    def on_removed_mirror(self) -> bool:
        """Whether the current mirror has been removed from the configuration."""
        return self._handle is not None and self._handle.upstream.removed
