"""From exceptions to the names of failures, in one place."""

from __future__ import annotations

import errno
import socket
import ssl

from monitor.probes.results import OUT_OF_RESOURCES, TIMED_OUT
from monitor.probes.verify_codes import UNKNOWN_AUTHORITY, WRONG_NAME

UNKNOWN = "unknown_failure"

_ERRNO = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ECONNRESET: "connection_reset",
    errno.EPIPE: "connection_reset",
    errno.ECONNABORTED: "connection_aborted",
    errno.EHOSTUNREACH: "host_unreachable",
    errno.EHOSTDOWN: "host_unreachable",
    errno.ENETUNREACH: "network_unreachable",
    errno.EADDRNOTAVAIL: "network_unreachable",
    errno.ENETDOWN: "network_down",
    errno.ETIMEDOUT: "timed_out",
    errno.EMFILE: OUT_OF_RESOURCES,
    errno.ENFILE: OUT_OF_RESOURCES,
    errno.ENOMEM: OUT_OF_RESOURCES,
    errno.ENOBUFS: OUT_OF_RESOURCES,
}
_RESOLVER = {
    socket.EAI_NONAME: "dns_nxdomain_error",
    socket.EAI_NODATA: "dns_no_answer",
    socket.EAI_AGAIN: "dns_temporary_failure",
    socket.EAI_FAIL: "dns_server_misbehaving",
}


def failure_of(error: Exception) -> str:
    """The name of what `error` reports; `unknown_failure` when nothing fits."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error.verify_code)
    if isinstance(error, ssl.SSLError):
        return "ssl_failed_handshake"
    if isinstance(error, socket.gaierror):
        return _RESOLVER.get(error.errno or 0, "dns_server_misbehaving")
    if isinstance(error, EOFError):
        return "eof_error"
    if isinstance(error, OSError) and error.errno in _ERRNO:
        return _ERRNO[error.errno]
    return TIMED_OUT if isinstance(error, TimeoutError) else UNKNOWN


def _certificate(verify_code: int) -> str:
    if verify_code in WRONG_NAME:
        return "ssl_invalid_hostname"
    return (
        "ssl_unknown_authority" if verify_code in UNKNOWN_AUTHORITY else "ssl_invalid_certificate"
    )
