"""Meaning of certificates: days left, and whether a refused one is old, wrong or forged.

OpenSSL builds the chain to a trusted root before it looks at dates and names, so "expired" and
"wrong name" are said only of certificates from an authority that we trust.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.probes.results import TlsEvidence
from monitor.probes.trial_results import Finding, Level

WARN_DAYS = 14
_DAY = 86400.0
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_NAME = (62, 64)
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
"""X509_V_ERR_* of OpenSSL, x509_vfy.h."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Earlier knowledge of an address."""

    issuer: str = ""
    """Who issued the certificate that last verified for this name on this address; "" if none."""
    sha256: str = ""
    """The fingerprint of that certificate."""
    trusted_address: bool = True
    """False only if trusted resolvers answered, and none of them gave this address."""


def days_left(not_after: float, now: float) -> float:
    """Days until the certificate ends, negative after that; both in seconds since the epoch."""
    return (not_after - now) / _DAY


def ends_soon(not_after: float | None, now: float) -> bool:
    """True if its operator should be told."""
    return not_after is not None and days_left(not_after, now) < WARN_DAYS


def judge_certificate(seen: TlsEvidence, hostname: str, memory: Memory) -> Finding:
    """Meaning of a refused certificate (rule G)."""
    if seen.verify_code == _EXPIRED:
        return _fact("cert_expired", _expired(seen, memory), down=1.0)
    if not memory.trusted_address:
        return Finding(
            "dns_poisoned", Level.suspected, 0.9, 0.05, 0.05, "G",
            (f"Only an untrusted resolver gave this address, and {_shown(seen, hostname)}.",),
        )  # fmt: skip
    if seen.verify_code in _UNKNOWN_AUTHORITY and memory.sha256:
        return Finding(
            "tls_mitm", Level.suspected, 0.9, 0.1, 0.0, "G",
            (
                f"A certificate by {memory.issuer or 'a trusted authority'} verified here before.",
                f"Now {_shown(seen, hostname)}, from an authority that we do not trust.",
            ),
        )  # fmt: skip
    if seen.verify_code in _WRONG_NAME:
        return _fact("ssl_invalid_hostname", (f"{_shown(seen, hostname)}.",), 0.3, 0.7)
    if seen.verify_code in _UNKNOWN_AUTHORITY:
        text = f"{_shown(seen, hostname)}, from an authority that we do not trust."
        return _fact("ssl_unknown_authority", (text,), 0.3, 0.7)
    hint = " It is not valid yet: is a clock wrong?" if seen.verify_code == _NOT_YET_VALID else ""
    text = f"OpenSSL refuses the certificate with code {seen.verify_code}.{hint}"
    return _fact("ssl_invalid_certificate", (text,), 0.1, 0.9)


def _fact(
    verdict: str, evidence: tuple[str, ...], blocked: float = 0.0, down: float = 0.0
) -> Finding:
    return Finding(verdict, Level.confirmed, blocked, down, 0.0, "G", evidence)


def _expired(seen: TlsEvidence, memory: Memory) -> tuple[str, ...]:
    of = f" by {seen.issuer}" if seen.issuer else ""
    same = bool(memory.sha256) and memory.sha256 == seen.sha256
    more = ("It is the same one that was valid before.",) if same else ()
    return (f"The certificate{of} is from a trusted authority, but its time is over.", *more)


def _shown(seen: TlsEvidence, hostname: str) -> str:
    names = ", ".join(seen.subject_names[:3]) or "names that we cannot read"
    by = f" by {seen.issuer}" if seen.issuer else ""
    return f"the server shows a certificate{by} for {names} to one who asks for {hostname}"
