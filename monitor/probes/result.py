"""What the steps of a probe found: plain values, bounded in size, without keys.

Operations and failures carry OONI's names, so that results can be compared with theirs
(https://github.com/ooni/spec, df-007-errors). A mirror is probed over one or more *paths*
(one of its addresses each); a path is a chain of steps that ends with the first failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TIMED_OUT = "generic_timeout_error"
"""Our own timer ended the step; the kernel's is `timed_out`."""


class Operation(StrEnum):
    """The steps, in the order in which they are taken."""

    resolve = "resolve"
    connect = "connect"
    tls_handshake = "tls_handshake"
    http_round_trip = "http_round_trip"


class ProbeFailure(Exception):
    """A step failed; `failure` is OONI's word for how."""

    def __init__(self, operation: Operation, failure: str) -> None:
        self.operation = operation
        self.failure = failure
        super().__init__(f"{operation}: {failure}")


@dataclass(frozen=True, slots=True)
class TlsEvidence:
    """What was seen of a handshake."""

    received: int = 0
    """Bytes that came back before it ended; 0 with a reset means: cut off after our hello."""
    first_bytes: bytes = b""
    """At most 64 of them: a TLS record, an alert, or something that is not TLS."""
    alert: int | None = None
    """Description of a plaintext alert (RFC 8446 section 6), e.g. 112 unrecognized_name."""
    since_hello: float | None = None
    """Seconds from our ClientHello to the end of the handshake, good or bad."""
    verify_code: int = 0
    """OpenSSL's X509_V_ERR_*; 0 when the certificate was not refused."""
    not_after: float | None = None
    """When the verified certificate ends, seconds since the epoch."""
    issuer: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The response to `GET /v1/models`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in small letters; of repeated fields the first."""
    body: bytes = b""
    """At most `request.MAX_BODY` bytes."""
    complete: bool = True
    """False when the body was longer than that."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: how long it took, and how it failed if it did."""

    operation: Operation
    failure: str | None
    seconds: float
    address: str = ""
    addresses: tuple[str, ...] = ()
    """What the name resolved to."""
    tls: TlsEvidence | None = None
    http: HttpAnswer | None = None
    first_byte: float | None = None
    """Seconds from the complete request to the first byte of the response."""
    note: str = ""
    """What the failure's name does not say, in a few words of ours."""


@dataclass(frozen=True, slots=True)
class PathResult:
    """The steps over one address of a mirror."""

    address: str
    steps: tuple[StepResult, ...]

    @property
    def last(self) -> StepResult:
        """The step that decided: the one that failed, or the response."""
        return self.steps[-1]

    def step(self, operation: Operation) -> StepResult | None:
        """The result of one step, None when it was not reached."""
        return next((s for s in self.steps if s.operation is operation), None)
