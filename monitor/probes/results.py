"""Results of the steps of a probe: plain values, bounded in size, without keys.

Operations and failures carry OONI's names, so that results can be compared with theirs
(https://github.com/ooni/spec, df-007-errors). A mirror is probed over one or more *paths*
(a host name and one address each); a path is a chain of steps that ends with the first failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TIMED_OUT = "generic_timeout_error"
"""Our own timer ended the step; the kernel's is `timed_out`."""
OUT_OF_RESOURCES = "out_of_resources"
"""The system gave us no descriptor or no memory for it; not one of OONI's names."""
NO_ANSWER = frozenset({TIMED_OUT, "dns_temporary_failure"})
"""Failures of a lookup about which a resolver has said nothing, or got no answer itself."""

CA_FILE = "ca_file"
CLIENT_CERTIFICATE = "client_certificate"
"""The note on a handshake that was not begun, because the mirror's authorities cannot be read."""


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


_INCOMPATIBLE = frozenset({70, 71, 120})
"""protocol_version and insufficient_security (RFC 8446 section 6), no_application_protocol (RFC
7301). A handshake_failure is none of them: CDNs send it for names that they do not know."""


TOO_SOON = 0.7
"""What comes sooner than this share of the round trip was not sent by the server."""
LEAST_ROUND_TRIP = 0.010
"""Seconds; of a shorter round trip the share says nothing."""


@dataclass(frozen=True, slots=True)
class TlsEvidence:
    """Observations of a handshake."""

    received: int = 0
    """Bytes that came back before it ended; 0 with a reset means: cut off after our hello."""
    first_bytes: bytes = b""
    """At most 64 of them, of what is not TLS 2,048: a record, an alert, or a page."""
    alert: int | None = None
    """Description of a plaintext alert (RFC 8446 section 6), e.g. 112 unrecognized_name."""
    since_hello: float | None = None
    """Seconds from our ClientHello to the end of the handshake, good or bad."""
    verify_code: int = 0
    """OpenSSL's X509_V_ERR_*; 0 when the certificate was not refused."""
    not_after: float | None = None
    """When the certificate ends, seconds since the epoch."""
    issuer: str = ""
    version: str = ""
    first_byte: float | None = None
    """Seconds from our ClientHello to the first byte that came back."""
    verified: bool = False
    """The certificate was verified for the host name; nothing below is proven without it."""
    unacknowledged: bool = False
    """After silence: our hello was not even acknowledged by the other end's kernel, so that it, or
    everything that came back, was lost on the way."""
    sha256: str = ""
    """Fingerprint of the certificate in small hexadecimal letters, also of a refused one."""
    subject_names: tuple[str, ...] = ()
    """The host names and addresses that the certificate is for, at most 16."""
    asked_for_certificate: bool = False
    """The server has asked for a certificate of ours."""
    round_trip: float | None = None
    """Seconds that the kernel measured when the connection was opened, None if it could not."""

    @property
    def incompatible(self) -> bool:
        """True if the alert says that the other end speaks another TLS, whatever the name."""
        return self.alert in _INCOMPATIBLE

    def is_forged_alert(self, round_trip: float | None = None) -> bool:
        """True if there was an alert, sooner than the server can have sent it.

        A round trip that is known of the address counts if it is less than that of this connection:
        some networks delay the first packet of each.
        """
        known = [each for each in (self.round_trip, round_trip) if each is not None]
        if self.alert is None or self.first_byte is None or not known:
            return False
        return min(known) > LEAST_ROUND_TRIP and self.first_byte < TOO_SOON * min(known)


@dataclass(frozen=True, slots=True)
class DnsReply:
    """One message that came back to one question; forged ones come beside the genuine one."""

    rtype: str
    """ "A" or "AAAA"; "any" from the system resolver, which does not say."""
    seconds: float
    """From the question to this reply."""
    rcode: str = "NOERROR"
    addresses: tuple[str, ...] = ()
    """At most 16, in the order of the reply."""
    chain: tuple[str, ...] = ()
    """The aliases (CNAME) that the name leads over, in order, at most 16, without final dots."""


@dataclass(frozen=True, slots=True)
class DnsObservation:
    """Answer of one resolver about one name."""

    resolver: str
    """As it is written in `monitor.dns.resolvers`."""
    hostname: str
    failure: str | None
    """None when there is at least one address, private ones included."""
    seconds: float
    """From the question to the first address, or to the failure."""
    replies: tuple[DnsReply, ...] = ()
    """In the order of their coming, late ones included; at most 16."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of all replies, each once."""
        return tuple(dict.fromkeys(a for reply in self.replies for a in reply.addresses))

    @property
    def chain(self) -> tuple[str, ...]:
        """The aliases of the first reply that names any."""
        return next((reply.chain for reply in self.replies if reply.chain), ())


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
    completions: int | None = None
    """Status of an empty request for a completion, where that was asked too."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Course of the body of a longer response."""

    received: int
    """Bytes of the body, until it was complete, enough or stopped."""
    seconds: float
    """From its first byte to its last."""
    failure: str | None = None
    """How it ended early; then `received` is the number of bytes before the stall or reset, with
    those of TLS if that is more."""

    @property
    def goodput(self) -> float:
        """Bytes per second; 0 when nothing came."""
        return self.received / max(self.seconds, 1e-6) if self.received else 0.0


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """Response of a mirror to its own key."""

    valid: bool | None
    """None when it cannot be told: no answer, or one that is about something else."""
    models: tuple[str, ...] = ()
    """All models that it lists, of at most 128 characters each; empty when the list is too long."""
    failure: str | None = None
    status: int = 0
    verdict: str = ""
    """Why the key cannot be used, where the mirror says so."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Result of a real completion."""

    failure: str | None
    """None when text came back."""
    status: int = 0
    seconds: float = 0.0
    first_byte: float | None = None
    tokens: int = 0
    """Charged for it, or assumed to be where the mirror did not say."""


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
    """What the failure's name does not say: `CA_FILE`, `CLIENT_CERTIFICATE` (the server has asked
    for one, and there is none), or nothing."""
    hostname: str = ""
    """The name of the path, for which a certificate would be verified."""
    sni: str = ""
    """The name in our ClientHello; empty: none was sent."""
    dns: tuple[DnsObservation, ...] = ()
    """What each resolver said, where any was asked."""
    lost: bool = False
    """True if the other end's kernel never acknowledged the request: it was lost on the way."""
    control_passes: bool | None = None
    """Then: whether a control's data passed on the same address; None: not known."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Observations of another server that tell of our own surroundings; nothing is verified."""

    ahead: float | None
    """Seconds by which our clock is ahead of its `Date`; None if it gave none."""
    tls: TlsEvidence | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One path to a mirror: under one of its names, over one of its addresses."""

    hostname: str
    address: str


@dataclass(frozen=True, slots=True)
class PathResult:
    """The steps over one path of a mirror."""

    address: str
    steps: tuple[StepResult, ...]
    hostname: str = ""

    @property
    def way(self) -> Way:
        """The key of the path."""
        return Way(self.hostname, self.address)

    @property
    def last(self) -> StepResult:
        """The step that decided: the one that failed, or the response."""
        return self.steps[-1]

    def step(self, operation: Operation) -> StepResult | None:
        """The result of one step, None when it was not reached."""
        return next((s for s in self.steps if s.operation is operation), None)
