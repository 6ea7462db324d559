"""One trial of a block test: one connection, one question, and nothing after it.

Whatever the role, no request and no key is ever sent here: the connection is closed as soon as
the handshake has ended.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from monitor.common.config import MonitorTimeouts
from monitor.probes.connect import connect
from monitor.probes.results import StepResult
from monitor.probes.tls import (
    Shake,
    TlsContexts,
    control_handshake,
    handshake,
    send_what_is_not_tls,
    unprepared,
)
from monitor.probes.trial_results import ANSWERED, Role, outcome_of


@dataclass(frozen=True, slots=True)
class Subject:
    """The path that is examined."""

    hostname: str
    address: str
    port: int
    ca_file: str = ""
    fellows: tuple[str, ...] = ()
    """Other names of the mirror that were answered at this address, for servers that cut off
    whatever they do not know."""
    unproven: tuple[str, ...] = ()
    """Other names of the mirror at this address of which nothing is known."""
    elsewhere: str = ""
    """Another address of the mirror, which answers under another name; "" if there is none."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of one trial."""

    sni: str
    connect: StepResult
    shake: StepResult | None
    """None when no connection was opened."""

    @property
    def decisive(self) -> StepResult:
        """The last step that was reached."""
        return self.shake or self.connect

    @property
    def answered(self) -> bool:
        """True if bytes of a server came back."""
        return self.shake is not None and outcome_of(self.shake) in ANSWERED


async def attempt(
    role: Role, subject: Subject, control: str, contexts: TlsContexts, timeouts: MonitorTimeouts
) -> Attempt:
    """Make one trial; `control` is the name that a control sends."""
    sni = {Role.control: control, Role.no_sni: "", Role.not_tls: ""}.get(role, subject.hostname)
    address = subject.elsewhere if role is Role.elsewhere else subject.address
    shake = Shake(address, subject.hostname, sni)
    connection, connected = await connect(address, subject.port, timeouts.connect, subject.hostname)
    if connection is None:
        return Attempt(shake.sent, connected, None)
    with connection:
        result = await _ask(role, connection, shake, subject, contexts, timeouts.handshake)
    return Attempt(shake.sent, connected, result)


async def _ask(
    role: Role,
    connection: socket.socket,
    shake: Shake,
    subject: Subject,
    contexts: TlsContexts,
    timeout: float,
) -> StepResult:
    if role is Role.not_tls:
        return await send_what_is_not_tls(connection, shake, timeout)
    if role not in (Role.target, Role.elsewhere):
        return await control_handshake(connection, contexts.for_control(), shake, timeout)
    try:
        context = await contexts.get(subject.ca_file)
    except OSError:
        return unprepared(shake)
    _, result = await handshake(connection, context, shake, timeout)
    return result
