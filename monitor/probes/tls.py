"""TLS handshakes of probes: under the mirror's name, another name, or none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass, replace

from monitor.probes.certificate import certificate_of
from monitor.probes.connect import as_address, fall_silent_on_close
from monitor.probes.failures import UNKNOWN, failure_of
from monitor.probes.results import (
    CA_FILE,
    CLIENT_CERTIFICATE,
    TIMED_OUT,
    Operation,
    StepResult,
    TlsEvidence,
)
from monitor.probes.stream import PlainStream, TlsStream, note_certificate_requests

_ALERT_RECORD = 21
_NOT_TLS = b"\n"
_GLANCE = 0.05
"""Seconds between two looks at what is acknowledged, which the kernel does not tell by itself."""
_NOT_TLS_WAIT = 2.0
"""Seconds in which a reset of what is not TLS would have come; servers just wait for more."""


_READ_WITHIN = 10.0
"""Seconds to read authorities from files."""


class TlsContexts:
    """Client contexts, one for each certificate authority file; they are costly to make."""

    def __init__(self) -> None:
        self._contexts: dict[str, asyncio.Task[ssl.SSLContext]] = {}
        self._control: ssl.SSLContext | None = None

    async def get(self, ca_file: str) -> ssl.SSLContext:
        """Trust in `ca_file` alone, or in the system's authorities if empty. Raises OSError.

        It is made in a thread, once, however many ask for it meanwhile. The time that this takes is
        ours, not the mirror's: it has a limit of its own.
        """
        task = self._contexts.get(ca_file)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(asyncio.to_thread(_client_context, ca_file))
            self._contexts[ca_file] = task
        async with asyncio.timeout(_READ_WITHIN):
            return await asyncio.shield(task)

    def for_control(self) -> ssl.SSLContext:
        """Verifies nothing and is otherwise the same: only for handshakes that end at once."""
        if self._control is None:
            self._control = _control_context()
        return self._control

    def forget(self) -> None:
        """Read the files anew when they are needed next."""
        self._contexts.clear()


def _client_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    note_certificate_requests(context)
    return context


def _control_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Shake:
    """One handshake to make."""

    address: str
    hostname: str
    """The name of the path."""
    sni: str
    """The name to send; an IP address is verified but not sent (RFC 6066 section 3), "" is none."""

    @classmethod
    def as_itself(cls, address: str, hostname: str) -> Shake:
        """With the name of the path, as live traffic does it."""
        return cls(address, hostname, hostname)

    @property
    def sent(self) -> str:
        """The name as it appears in the hello, "" if none does."""
        return "" if as_address(self.sni) is not None else self.sni.lower().rstrip(".")


async def handshake(
    connection: socket.socket, context: ssl.SSLContext, shake: Shake, timeout: float
) -> tuple[TlsStream | None, StepResult]:
    """Shake hands. The stream is None after a failure; nothing else was sent then."""
    started = time.perf_counter()
    failure: str | None = None
    verify_code = 0
    stream: TlsStream | None = None
    fall_silent_on_close(connection, True)
    try:
        stream = TlsStream(PlainStream(connection), context, shake.sni)
        async with asyncio.timeout(timeout):
            await stream.handshake()
        fall_silent_on_close(connection, False)
    except ssl.SSLCertVerificationError as error:
        failure, verify_code = failure_of(error), error.verify_code
    except (OSError, EOFError, ValueError) as error:
        failure = failure_of(error)
    ended = time.perf_counter()
    evidence = _evidence(stream, ended, failure, verify_code)
    if failure == TIMED_OUT and stream is not None and stream.unacknowledged():
        evidence = replace(evidence, unacknowledged=True)
    asked = failure is not None and not verify_code and evidence.asked_for_certificate
    note = CLIENT_CERTIFICATE if asked else ""
    result = _step(shake, failure, ended - started, evidence, note)
    return (None if failure else stream), result


async def control_handshake(
    connection: socket.socket, context: ssl.SSLContext, shake: Shake, timeout: float
) -> StepResult:
    """Shake hands under another name, or none; nobody gets a stream to send anything on."""
    _, result = await handshake(connection, context, shake, timeout)
    return result


async def control_passes(
    connection: socket.socket, context: ssl.SSLContext, shake: Shake, timeout: float
) -> bool | None:
    """True if what follows a control's handshake arrives: a goodbye, which asks for nothing.

    None if the handshake itself fails, or nothing can be told.
    """
    stream, _ = await handshake(connection, context, shake, timeout)
    if stream is None:
        return None
    try:
        await stream.say_goodbye()
        for _ in range(int(timeout / _GLANCE)):
            if not stream.unacknowledged():
                return True
            await asyncio.sleep(_GLANCE)
    except OSError:
        return None
    return False


async def send_what_is_not_tls(
    connection: socket.socket, shake: Shake, timeout: float
) -> StepResult:
    """Send a byte that begins no hello. It fails if that is met with a reset, else it does not."""
    started = time.perf_counter()
    failure, received, first_byte = None, b"", None
    plain = PlainStream(connection)
    try:
        async with asyncio.timeout(min(timeout, _NOT_TLS_WAIT)):
            await plain.write(_NOT_TLS)
            received = await plain.read()
            first_byte = time.perf_counter() - started if received else None
    except TimeoutError:
        pass
    except OSError as error:
        failure = failure_of(error)
    seconds = time.perf_counter() - started
    evidence = TlsEvidence(len(received), received[:64], None, seconds, first_byte=first_byte)
    return _step(shake, failure, seconds, evidence)


def unprepared(shake: Shake) -> StepResult:
    """The step when there is no context to shake hands with."""
    return _step(shake, UNKNOWN, 0.0, None, CA_FILE)


def _step(
    shake: Shake, failure: str | None, seconds: float, tls: TlsEvidence | None, note: str = ""
) -> StepResult:
    return StepResult(
        Operation.tls_handshake,
        failure,
        seconds,
        shake.address,
        tls=tls,
        note=note,
        hostname=shake.hostname,
        sni=shake.sent,
    )


def _evidence(
    stream: TlsStream | None, ended: float, failure: str | None, verify_code: int
) -> TlsEvidence:
    if stream is None:
        return TlsEvidence()
    sent, first, shown = stream.hello_sent, stream.first_received, certificate_of(stream.tls)
    return TlsEvidence(
        received=stream.received,
        first_bytes=stream.first_bytes,
        alert=alert_in(stream.first_bytes),
        since_hello=ended - sent if sent else None,
        verify_code=verify_code,
        not_after=shown.not_after,
        issuer=shown.issuer,
        version=stream.tls.version() or "",
        first_byte=first - sent if sent and first else None,
        verified=failure is None and stream.verifies,
        sha256=shown.sha256,
        subject_names=shown.subject_names,
        asked_for_certificate=stream.asked_for_certificate,
        round_trip=stream.round_trip,
    )


def alert_in(first_bytes: bytes) -> int | None:
    """The description of an alert that came instead of a ServerHello (RFC 8446 section 6)."""
    if len(first_bytes) >= 7 and first_bytes[0] == _ALERT_RECORD:
        return first_bytes[6]
    return None
