"""Does TLS come about, with a certificate for the mirror's name?"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any

from monitor.probes.failures import UNKNOWN, failure_of
from monitor.probes.result import Operation, StepResult, TlsEvidence
from monitor.probes.stream import PlainStream, TlsStream

_ALERT_RECORD = 21


class TlsContexts:
    """Client contexts, one for each certificate authority file; they are costly to make."""

    def __init__(self) -> None:
        self._contexts: dict[str, asyncio.Task[ssl.SSLContext]] = {}

    async def get(self, ca_file: str) -> ssl.SSLContext:
        """Trust in `ca_file` alone, or in the system's authorities if empty. Raises OSError.

        It is made in a thread, once, however many ask for it meanwhile.
        """
        task = self._contexts.get(ca_file)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(asyncio.to_thread(_client_context, ca_file))
            self._contexts[ca_file] = task
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Read the files anew when they are needed next."""
        self._contexts.clear()


def _client_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def handshake(
    connection: socket.socket, context: ssl.SSLContext, host: str, timeout: float, address: str
) -> tuple[TlsStream | None, StepResult]:
    """Shake hands as `host`. The stream is None after a failure; nothing else was sent then."""
    started = time.perf_counter()
    failure: str | None = None
    verify_code = 0
    stream: TlsStream | None = None
    try:
        stream = TlsStream(PlainStream(connection), context, host)
        async with asyncio.timeout(timeout):
            await stream.handshake()
    except ssl.SSLCertVerificationError as error:
        failure, verify_code = failure_of(error), error.verify_code
    except (OSError, EOFError, ValueError) as error:
        failure = failure_of(error)
    ended = time.perf_counter()
    evidence = _evidence(stream, ended, failure, verify_code)
    result = StepResult(Operation.tls_handshake, failure, ended - started, address, tls=evidence)
    return (None if failure else stream), result


def unprepared(address: str) -> StepResult:
    """The step when there is no context to shake hands with."""
    return StepResult(
        Operation.tls_handshake, UNKNOWN, 0.0, address, note="its ca_file cannot be read"
    )


def _evidence(
    stream: TlsStream | None, ended: float, failure: str | None, verify_code: int
) -> TlsEvidence:
    if stream is None:
        return TlsEvidence()
    certificate: dict[str, Any] = {} if failure else stream.tls.getpeercert() or {}
    return TlsEvidence(
        received=stream.received,
        first_bytes=stream.first_bytes,
        alert=alert_in(stream.first_bytes),
        since_hello=ended - stream.hello_sent if stream.hello_sent else None,
        verify_code=verify_code,
        not_after=_not_after(certificate),
        issuer=_issuer(certificate),
        version=stream.tls.version() or "",
    )


def alert_in(first_bytes: bytes) -> int | None:
    """The description of an alert that came instead of a ServerHello (RFC 8446 section 6)."""
    if len(first_bytes) >= 7 and first_bytes[0] == _ALERT_RECORD:
        return first_bytes[6]
    return None


def _not_after(certificate: dict[str, Any]) -> float | None:
    text = certificate.get("notAfter")
    return float(ssl.cert_time_to_seconds(text)) if text else None


def _issuer(certificate: dict[str, Any]) -> str:
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return str(names.get("organizationName") or names.get("commonName") or "")[:100]
