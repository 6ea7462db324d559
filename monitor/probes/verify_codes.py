"""Codes with which OpenSSL refuses a certificate: X509_V_ERR_* of x509_vfy.h."""

from __future__ import annotations

NOT_YET_VALID = 9
EXPIRED = 10
WRONG_NAME = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""
UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
"""X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and its kin, self-signed ones included."""
NO_ISSUER = frozenset({2, 20, 21})
"""Those among them where the chain ends with a certificate whose issuer was not sent: one that is
unknown, or the intermediate certificate that the server should send."""
