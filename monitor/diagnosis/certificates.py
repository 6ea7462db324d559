"""Meaning of certificates: days left, and whether a refused one is old, wrong or forged.

OpenSSL builds the chain to a trusted root before it looks at dates and names, so "expired" and
"wrong name" are said only of certificates from an authority that we trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.probes.results import TlsEvidence
from monitor.probes.verify_codes import (
    EXPIRED,
    NO_ISSUER,
    NOT_YET_VALID,
    UNKNOWN_AUTHORITY,
    WRONG_NAME,
)

WARN_DAYS = 14
_DAY = 86400.0


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


def day_of(moment: float) -> str:
    """The date (UTC) of a moment in seconds since the epoch: "2026-11-29"."""
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def ends_soon(not_after: float | None, now: float) -> bool:
    """True if its operator should be told."""
    return not_after is not None and days_left(not_after, now) < WARN_DAYS


def judge_certificate(seen: TlsEvidence, hostname: str, memory: Memory) -> Finding:
    """Meaning of a refused certificate (rule G)."""
    if seen.verify_code == EXPIRED:
        return _fact("cert_expired", _expired(seen, memory), down=1.0)
    shown = _shown(seen)
    if not memory.trusted_address:
        found = Code.untrusted_address(name=hostname, certificate=shown)
        evidence = (found, Code.may_be_stale())
        return Finding("dns_poisoned", Level.suspected, 0.9, 0.05, 0.05, "G", evidence)
    if seen.verify_code in UNKNOWN_AUTHORITY and memory.sha256:
        before = Code.verified_before(issuer=memory.issuer or Code.issuer_trusted())
        now = Code.untrusted_certificate_now(name=hostname, certificate=shown)
        if seen.verify_code in NO_ISSUER and seen.issuer and seen.issuer == memory.issuer:
            told = (before, now, Code.link_not_sent())
            return _fact("ssl_unknown_authority", told, 0.1, 0.9)
        return Finding("tls_mitm", Level.suspected, 0.9, 0.1, 0.0, "G", (before, now))
    if seen.verify_code in WRONG_NAME:
        wrong = Code.wrong_certificate(name=hostname, certificate=shown)
        return _fact("ssl_invalid_hostname", (wrong,), 0.3, 0.7)
    if seen.verify_code in UNKNOWN_AUTHORITY:
        untrusted = Code.untrusted_certificate(name=hostname, certificate=shown)
        links = (Code.link_not_sent(),) if seen.verify_code in NO_ISSUER else ()
        return _fact("ssl_unknown_authority", (untrusted, *links), 0.3, 0.7)
    early = seen.verify_code == NOT_YET_VALID
    code = Code.certificate_not_valid_yet if early else Code.refused_certificate
    return _fact("ssl_invalid_certificate", (code(code=seen.verify_code),), 0.1, 0.9)


def _fact(
    verdict: str, evidence: tuple[Evidence, ...], blocked: float = 0.0, down: float = 0.0
) -> Finding:
    return Finding(verdict, Level.confirmed, blocked, down, 0.0, "G", evidence)


def _expired(seen: TlsEvidence, memory: Memory) -> tuple[Evidence, ...]:
    trusted = Code.trusted_issuer(name=seen.issuer) if seen.issuer else Code.issuer_trusted()
    expired = (
        Code.certificate_expired()
        if seen.not_after is None
        else Code.certificate_expired_on(issuer=trusted, date=day_of(seen.not_after))
    )
    same = bool(memory.sha256) and memory.sha256 == seen.sha256
    return (expired, Code.certificate_same()) if same else (expired,)


def _shown(seen: TlsEvidence) -> Evidence:
    names = seen.subject_names[:3] or Code.names_unreadable()
    if seen.issuer:
        return Code.certificate_by(issuer=seen.issuer, names=names)
    return Code.certificate(names=names)
