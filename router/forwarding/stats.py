"""Statistics of attempts and requests in a worker."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from monitor.common.metric_registry import MetricRegistry
from router.balancing.failure import Failure
from router.forwarding.metrics import (
    AMBIGUOUS,
    ANSWERED,
    ATTEMPTS,
    BYTES,
    CONNECT,
    DURATION,
    FALLBACKS,
    FIRST_BYTE,
    FIRST_TOKEN,
    INTERRUPTIONS,
    KNOWN_STATUSES,
    LEFT,
    MOVED,
    OVERHEAD,
    REJECTED,
    REQUESTS,
    RESCUED,
    RETRIES,
    UNBELIEVED,
)

_FIRST_BYTE: Final = FIRST_BYTE.buckets
_FIRST_TOKEN: Final = FIRST_TOKEN.buckets
_OVERHEAD: Final = OVERHEAD.buckets
_DURATION: Final = DURATION.buckets


class Finished(NamedTuple):
    """The end of one request: for metrics and the access log, so no key and no body."""

    request_id: bytes
    client: str
    method: bytes
    target: bytes
    mirror: str
    """Empty when no mirror's answer reached the client."""
    endpoint: str
    status: int
    outcome: str
    stream: bool
    failed_attempts: int
    seconds: float
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of a mirror's answer that were relayed."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """The cells of what a mirror answers on an endpoint."""

    first_byte: list[float]
    overhead: list[float]


@dataclass(frozen=True, slots=True)
class _Ends:
    """The cells of requests that end alike; no named tuple, see `RequestPolicy`."""

    requests: list[float]
    duration: list[float]
    received: list[float]
    sent: list[float]
    last: list[Any]
    """The exemplar of the duration."""


class Stats:
    """Turns what happens into numbers.

    The cells of the usual ends are kept at hand, and observed in place: looked up each time they
    cost 2 µs a request. A test holds all of it below 3 µs.
    """

    def __init__(self, totals: MetricRegistry) -> None:
        self._totals = totals
        self.models: frozenset[str] = frozenset()
        """Models that the operator has named: those that metrics may be labelled with."""
        self._add = totals.add
        self._removals = totals.removals
        self._attempts: dict[tuple[str, bool], list[float]] = {}
        self._tokens: dict[tuple[str, str], list[float]] = {}
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._ends: dict[tuple[str, str, int, str, bool], _Ends] = {}

    def attempt_ended(self, mirror: str, answered: bool) -> None:
        """An attempt ended that has not failed: answered, or left by its client before."""
        if self._removals != self._totals.removals:
            self._forget_cells()
        cells = self._attempts.get((mirror, answered))
        if cells is None:
            outcome = ANSWERED if answered else LEFT
            cells = self._totals.cells(ATTEMPTS.name, (mirror, outcome))
            self._attempts[mirror, answered] = cells
        cells[0] += 1

    def attempt_failed(self, mirror: str, failure: Failure) -> None:
        """An attempt failed, before an answer had begun or after."""
        self._add(ATTEMPTS.name, (mirror, failure))

    def retried(self, failure: Failure) -> None:
        """Another attempt begins because of this failure."""
        self._add(RETRIES.name, (failure,))

    def moved(self) -> None:
        """A request went where a connection was ready, while one was being opened."""
        self._add(MOVED.name)

    def fell_back(self, mirror: str) -> None:
        """An attempt begins on a mirror that is down, since none is in rotation."""
        self._add(FALLBACKS.name, (mirror,))

    def repeated_perhaps(self) -> None:
        """Another attempt begins though a mirror may have done, and billed, the request."""
        self._add(AMBIGUOUS.name)

    def interrupted(self, mirror: str, reason: str) -> None:
        """An answer was cut after its beginning."""
        self._add(INTERRUPTIONS.name, (mirror, reason))

    def unbelieved(self, setting: str) -> None:
        """A request came through a proxy that cannot tell who is asking, without this setting."""
        self._add(UNBELIEVED.name, (setting,))

    def rejected(self, code: str) -> None:
        """A request was answered with an error made here."""
        self._add(REJECTED.name, (code,))

    def answered(
        self, mirror: str, endpoint: str, first_byte: float, connect: float, ours: float
    ) -> None:
        """A mirror's response head came; `connect` is 0 on a connection that was kept, `ours` our
        own share of the seconds, below 0 where others had a part in it."""
        if self._removals != self._totals.removals:
            self._forget_cells()
        cells = self._answers.get((mirror, endpoint)) or self._answer_cells(mirror, endpoint)
        counts = cells.first_byte
        counts[bisect_left(_FIRST_BYTE, first_byte)] += 1
        counts[-1] += first_byte
        if ours >= 0.0:
            counts = cells.overhead
            counts[bisect_left(_OVERHEAD, ours)] += 1
            counts[-1] += ours
        if connect:
            self._totals.observe(CONNECT.name, connect, (mirror,))

    def first_token(self, mirror: str, model: str, seconds: float) -> None:
        """The first event with content of a stream."""
        if self._removals != self._totals.removals:
            self._forget_cells()
        label = model if model in self.models else "other"
        counts = self._tokens.get((mirror, label))
        if counts is None:
            counts = self._totals.cells(FIRST_TOKEN.name, (mirror, label))
            self._tokens[mirror, label] = counts
        counts[bisect_left(_FIRST_TOKEN, seconds)] += 1
        counts[-1] += seconds

    def finished(
        self,
        request_id: bytes,
        end: tuple[str, str, int, str, bool],
        rescued: bool,
        seconds: float,
        received: int,
        sent: int,
    ) -> None:
        """A request has ended; `end`: mirror ("" if none answered), endpoint, status, outcome,
        whether it was a stream. `rescued`: it was answered after an attempt had failed."""
        if self._removals != self._totals.removals:
            self._forget_cells()
        cells = self._ends.get(end) or self._end_cells(end)
        cells.requests[0] += 1
        cells.received[0] += received
        if end[0]:
            cells.sent[0] += sent
            counts, last = cells.duration, cells.last
            counts[bisect_left(_DURATION, seconds)] += 1
            counts[-1] += seconds
            last[0], last[1] = request_id, seconds
            if rescued:
                self._add(RESCUED.name)

    def _forget_cells(self) -> None:
        self._removals = self._totals.removals
        self._attempts.clear()
        self._tokens.clear()
        self._answers.clear()
        self._ends.clear()

    def _answer_cells(self, mirror: str, endpoint: str) -> _Answers:
        cells = self._totals.cells
        made = self._answers[mirror, endpoint] = _Answers(
            cells(FIRST_BYTE.name, (mirror, endpoint)),
            cells(OVERHEAD.name),
        )
        return made

    def _end_cells(self, end: tuple[str, str, int, str, bool]) -> _Ends:
        mirror, endpoint, status, outcome, stream = end
        cells = self._totals.cells
        labels = (mirror, endpoint, "true" if stream else "false")
        code = str(status) if status in KNOWN_STATUSES else "other"
        made = self._ends[end] = _Ends(
            cells(REQUESTS.name, (mirror, endpoint, code, outcome)),
            cells(DURATION.name, labels) if mirror else [],
            cells(BYTES.name, ("received",)),
            cells(BYTES.name, ("sent",)),
            self._totals.exemplar(DURATION.name, labels) if mirror else [],
        )
        return made
