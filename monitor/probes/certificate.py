"""Facts of the certificate that came, whether it was verified or refused.

The `ssl` module shows the certificate only of a handshake that succeeded, and its fields only if it
was verified; from Python 3.13 on also the bytes of one that was refused. OpenSSL keeps that one as
well, and the private object beneath gives it out: where it does not, less is known, and nothing
else changes. To look a second time without verification is no way: on a path that is suspected
every handshake counts.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import Any

MAX_NAMES = 16
_DER = 2
"""`_ssl.ENCODING_DER`."""
_BENEATH = "_sslobj"
"""The private attribute of `ssl.SSLObject`."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Facts of the server's own certificate, the first of the chain."""

    sha256: str = ""
    issuer: str = ""
    subject_names: tuple[str, ...] = ()
    not_after: float | None = None


def certificate_of(tls: ssl.SSLObject) -> Certificate:
    """The certificate that the server showed; all empty if none came."""
    der, fields = _shown(tls)
    if not der:
        return Certificate()
    return Certificate(
        hashlib.sha256(der).hexdigest(), _issuer(fields), _names(fields), _not_after(fields)
    )


def _shown(tls: ssl.SSLObject) -> tuple[bytes, dict[str, Any]]:
    """The certificate's bytes and fields, as far as they can be had."""
    try:
        der, fields = tls.getpeercert(True) or b"", tls.getpeercert() or {}
    except (ValueError, ssl.SSLError):  # the handshake did not succeed
        der, fields = b"", {}
    if der and fields:
        return der, fields
    private = _refused(tls)
    return private if private is not None else (der or _unverified(tls), fields)


def _unverified(tls: ssl.SSLObject) -> bytes:
    """The bytes of a certificate that was not verified; empty before Python 3.13."""
    try:
        chain: list[bytes] = tls.get_unverified_chain()  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, ValueError, ssl.SSLError):
        return b""
    return chain[0] if chain else b""


def _refused(tls: ssl.SSLObject) -> tuple[bytes, dict[str, Any]] | None:
    """The same by the private object; None where it does not give it out."""
    try:
        (first, *_) = getattr(tls, _BENEATH).get_unverified_chain()
        return first.public_bytes(_DER), first.get_info()
    except Exception:  # it is private and may change in any way: then less is known
        return None


def _issuer(fields: dict[str, Any]) -> str:
    names = {key: value for part in fields.get("issuer", ()) for key, value in part}
    return str(names.get("organizationName") or names.get("commonName") or "")[:100]


def _names(fields: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(value)[:253] for _, value in fields.get("subjectAltName", ()))[:MAX_NAMES]


def _not_after(fields: dict[str, Any]) -> float | None:
    try:
        return float(ssl.cert_time_to_seconds(fields["notAfter"]))
    except (KeyError, ValueError):
        return None
