"""Statistics of attempts and requests in a worker."""

from __future__ import annotations

from typing import NamedTuple

from monitor.common.metric_registry import MetricRegistry, observe
from router.balancing.failure import Failure
from router.forwarding import metrics


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


class _Answers(NamedTuple):
    """The cells of what a mirror answers on an endpoint."""

    attempts: list[float]
    first_byte: list[float]


class _Ends(NamedTuple):
    """The cells of requests that end alike."""

    requests: list[float]
    duration: list[float]
    received: list[float]
    sent: list[float]


class Stats:
    """Turns what happens into numbers.

    The cells of the usual ends are kept at hand: looked up each time they cost 2 µs a request.
    """

    def __init__(self, totals: MetricRegistry) -> None:
        self._totals = totals
        self.models: frozenset[str] = frozenset()
        """Models that the operator has named: those that metrics may be labelled with."""
        self._add = totals.add
        self._removals = totals.removals
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._ends: dict[tuple[str, str, int, str, bool], _Ends] = {}

    def attempt_failed(self, mirror: str, failure: Failure) -> None:
        """An attempt failed before an answer had begun."""
        self._add(metrics.ATTEMPTS.name, (mirror, failure))

    def retried(self, failure: Failure) -> None:
        """Another attempt begins because of this failure."""
        self._add(metrics.RETRIES.name, (failure,))

    def moved(self) -> None:
        """A request went where a connection was ready, while one was being opened."""
        self._add(metrics.MOVED.name)

    def fell_back(self, mirror: str) -> None:
        """An attempt begins on a mirror that is down, since none is in rotation."""
        self._add(metrics.FALLBACKS.name, (mirror,))

    def repeated_perhaps(self) -> None:
        """Another attempt begins though a mirror may have done, and billed, the request."""
        self._add(metrics.AMBIGUOUS.name)

    def interrupted(self, mirror: str, reason: str) -> None:
        """An answer was cut after its beginning."""
        self._add(metrics.INTERRUPTIONS.name, (mirror, reason))

    def unbelieved(self, setting: str) -> None:
        """A request came through a proxy that cannot tell who is asking, without this setting."""
        self._add(metrics.UNBELIEVED.name, (setting,))

    def rejected(self, code: str) -> None:
        """A request was answered with an error made here."""
        self._add(metrics.REJECTED.name, (code,))

    def answered(self, mirror: str, endpoint: str, first_byte: float, connect: float) -> None:
        """A mirror's response head came; `connect` is 0 on a connection that was kept."""
        if self._removals != self._totals.removals:
            self._forget_cells()
        cells = self._answers.get((mirror, endpoint)) or self._answer_cells(mirror, endpoint)
        cells.attempts[0] += 1
        observe(cells.first_byte, metrics.FIRST_BYTE.buckets, first_byte)
        if connect:
            self._totals.observe(metrics.CONNECT.name, connect, (mirror,))

    def first_token(self, mirror: str, model: str, seconds: float) -> None:
        """The first event with content of a stream."""
        label = model if model in self.models else "other"
        self._totals.observe(metrics.FIRST_TOKEN.name, seconds, (mirror, label))

    def finished(
        self,
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
            observe(cells.duration, metrics.DURATION.buckets, seconds)
            if rescued:
                self._add(metrics.RESCUED.name)

    def _forget_cells(self) -> None:
        self._removals = self._totals.removals
        self._answers.clear()
        self._ends.clear()

    def _answer_cells(self, mirror: str, endpoint: str) -> _Answers:
        cells = self._totals.cells
        made = self._answers[mirror, endpoint] = _Answers(
            cells(metrics.ATTEMPTS.name, (mirror, "answered")),
            cells(metrics.FIRST_BYTE.name, (mirror, endpoint)),
        )
        return made

    def _end_cells(self, end: tuple[str, str, int, str, bool]) -> _Ends:
        mirror, endpoint, status, outcome, stream = end
        cells = self._totals.cells
        labels = (mirror, endpoint, "true" if stream else "false")
        made = self._ends[end] = _Ends(
            cells(metrics.REQUESTS.name, (mirror, endpoint, str(status), outcome)),
            cells(metrics.DURATION.name, labels) if mirror else [],
            cells(metrics.BYTES.name, ("received",)),
            cells(metrics.BYTES.name, ("sent",)),
        )
        return made
