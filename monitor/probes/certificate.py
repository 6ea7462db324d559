"""What can be said of the certificate that came, whether it was verified or refused.

Python shows the certificate only of a handshake that succeeded. OpenSSL keeps the one it refused
as well, and the private object beneath gives it out; where it does not, nothing is known. To look
a second time without verification is no way: on a path that is suspected every handshake counts.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from typing import Any

MAX_NAMES = 16
_DER = 2
"""`_ssl.ENCODING_DER`."""


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
    beneath = getattr(tls, "_sslobj", None)
    try:
        chain = beneath.get_unverified_chain() if beneath is not None else None
        if chain:
            return chain[0].public_bytes(_DER), chain[0].get_info()
        return tls.getpeercert(True) or b"", tls.getpeercert() or {}
    except (AttributeError, TypeError, ValueError, ssl.SSLError):
        return b"", {}


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
