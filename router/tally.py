"""What the data plane counts of attempts and requests."""

from __future__ import annotations

from typing import NamedTuple

from monitor.totals import Totals
from router import metrics
from router.choice.failure import Failure


class Finished(NamedTuple):
    """How one request ended: for metrics and the access log, so no key and no body."""

    request_id: str
    client: str
    method: bytes
    target: bytes
    endpoint: str
    mirror: str
    """Empty when no mirror's answer reached the client."""
    status: int
    outcome: str
    stream: bool
    failed_attempts: int
    seconds: float
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of a mirror's answer that were relayed."""


class Tally:
    """Turns what happens into numbers."""

    def __init__(self, totals: Totals) -> None:
        self._add = totals.add
        self._observe = totals.observe

    def attempt_failed(self, mirror: str, failure: Failure) -> None:
        """An attempt failed before an answer had begun."""
        self._add(metrics.ATTEMPTS.name, (mirror, failure))

    def retried(self, failure: Failure) -> None:
        """Another attempt begins because of this failure."""
        self._add(metrics.RETRIES.name, (failure,))

    def interrupted(self, mirror: str, reason: str) -> None:
        """An answer was cut after its beginning."""
        self._add(metrics.INTERRUPTIONS.name, (mirror, reason))
        self._add(metrics.ATTEMPTS.name, (mirror, Failure.cut))

    def rejected(self, code: str) -> None:
        """A request was answered with an error made here."""
        self._add(metrics.REJECTED.name, (code,))

    def answered(self, mirror: str, endpoint: str, first_byte: float, connect: float) -> None:
        """A mirror's response head came; `connect` is 0 on a connection that was kept."""
        self._add(metrics.ATTEMPTS.name, (mirror, "answered"))
        self._observe(metrics.FIRST_BYTE.name, first_byte, (mirror, endpoint))
        if connect:
            self._observe(metrics.CONNECT.name, connect, (mirror,))

    def finished(self, end: Finished) -> None:
        """A request has ended."""
        add = self._add
        add(metrics.REQUESTS.name, (end.mirror, end.endpoint, str(end.status), end.outcome))
        if end.received:
            add(metrics.BYTES.name, ("received",), end.received)
        if not end.mirror:
            return
        add(metrics.BYTES.name, ("sent",), end.sent)
        stream = "true" if end.stream else "false"
        self._observe(metrics.DURATION.name, end.seconds, (end.mirror, end.endpoint, stream))
        if end.failed_attempts:
            add(metrics.RESCUED.name)
