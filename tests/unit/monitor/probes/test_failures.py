"""OONI's names of failures."""

import errno
import socket
import ssl

import pytest

from monitor.probes.failures import failure_of


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(errno.ECONNREFUSED, ""), "connection_refused"),
        (OSError(errno.ENETUNREACH, ""), "network_unreachable"),
        (OSError(errno.ETIMEDOUT, ""), "timed_out"),
        (TimeoutError(), "generic_timeout_error"),
        (EOFError(), "eof_error"),
        (socket.gaierror(socket.EAI_NONAME, ""), "dns_nxdomain_error"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "dns_temporary_failure"),
        (ssl.SSLError(1, "x"), "ssl_failed_handshake"),
        (OSError(errno.EIO, ""), "unknown_failure"),
        (ValueError(), "unknown_failure"),
    ],
)
def test_failures_carry_their_common_names(error, failure):
    assert failure_of(error) == failure
