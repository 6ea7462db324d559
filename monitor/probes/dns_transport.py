"""One question over UDP or TCP to one resolver.

A forged answer wins the race against the genuine one but does not stop it. So after the first
reply to a UDP question the socket is read on for a while, and all that came is kept with its time
(OONI waits 500 ms, https://github.com/ooni/spec, ts-031). No library does that: they return the
first reply that fits.
"""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import ExitStack
from dataclasses import dataclass

from monitor.probes.connect import connect
from monitor.probes.dns_messages import MAX_MESSAGE, NotAReply, Question
from monitor.probes.results import DnsReply, Operation, ProbeFailure

MAX_REPLIES = 16
_MAX_DATAGRAMS = 32
"""Whoever floods us with replies is not read on."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for resolvers."""

    tries: int = 2
    each: float = 2.0
    """For one try over UDP; a reply to an earlier one is taken too."""
    late: float = 0.5
    """After the first reply, for others."""


async def over_udp(
    question: Question, address: str, port: int, patience: Patience, timeout: float
) -> tuple[DnsReply, ...]:
    """All replies in the order of their coming. Raises OSError, EOFError, NotAReply, ProbeFailure.

    Each try has an id and a port of its own, so that a late reply to the one before is not taken
    for a second answer. It stays open when the next one is sent: a resolver may take longer for
    every answer than a try lasts. A truncated reply is asked for again over TCP.
    """
    ends = time.perf_counter() + timeout
    error: OSError = TimeoutError()
    inboxes: list[_Inbox] = []
    heard = asyncio.Event()
    with ExitStack() as sockets:
        for _ in range(patience.tries):
            try:
                inbox = await _ask(question.again(), address, port, heard, sockets)
            except OSError as refusal:
                error = refusal
                continue
            inboxes.append(inbox)
            await _within(_left(patience.each, ends), heard)
            heard.clear()
            answered = next((each for each in inboxes if each.replies), None)
            if answered is not None:
                await _within(_left(patience.late, ends), answered.full)
                if complete := answered.complete:
                    return complete
                return (await over_tcp(question, address, port, _left(patience.each, ends)),)
            error = next((each.error for each in inboxes if each.error), error)
    raise error


async def over_tcp(question: Question, address: str, port: int, timeout: float) -> DnsReply:
    """The reply over TCP (RFC 7766). Raises OSError, EOFError, NotAReply, ProbeFailure."""
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    connection, step = await connect(address, port, timeout)
    if connection is None:
        raise ProbeFailure(Operation.connect, step.failure or "unknown_failure")
    with connection:
        async with asyncio.timeout(max(timeout - step.seconds, 0)):
            wire = question.wire
            await loop.sock_sendall(connection, struct.pack("!H", len(wire)) + wire)

            async def exactly(size: int) -> bytes:
                data = b""
                while len(data) < size:
                    piece = await loop.sock_recv(connection, size - len(data))
                    if not piece:
                        raise EOFError
                    data += piece
                return data

            (size,) = struct.unpack("!H", await exactly(2))
            if size > MAX_MESSAGE:
                raise NotAReply
            data = await exactly(size)
    return question.reply(data, time.perf_counter() - started)[0]


async def _ask(
    question: Question, address: str, port: int, heard: asyncio.Event, sockets: ExitStack
) -> _Inbox:
    """Send a datagram; where the replies to it arrive, until `sockets` are closed. Raises
    OSError."""
    transport, inbox = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Inbox(question, heard), remote_addr=(address, port)
    )
    sockets.callback(transport.close)
    transport.sendto(question.wire)
    return inbox


def _left(seconds: float, ends: float) -> float:
    return max(min(seconds, ends - time.perf_counter()), 0.0)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


class _Inbox(asyncio.DatagramProtocol):
    """Collects what fits the question."""

    def __init__(self, question: Question, heard: asyncio.Event) -> None:
        """`heard` is set when something can be decided: a reply came, or the network says that
        none will."""
        self._question = question
        self._heard = heard
        self._sent = time.perf_counter()
        self._seen = 0
        self.replies: list[tuple[DnsReply, bool]] = []
        self.error: OSError | None = None
        self.full = asyncio.Event()
        """Nothing more is wanted."""

    @property
    def complete(self) -> tuple[DnsReply, ...]:
        """The replies that were not truncated."""
        return tuple(reply for reply, truncated in self.replies if not truncated)

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Keep a reply; anything else is as if it had not come."""
        self._seen += 1
        if len(self.replies) < MAX_REPLIES and self._seen <= _MAX_DATAGRAMS:
            try:
                self.replies.append(self._question.reply(data, time.perf_counter() - self._sent))
                self._heard.set()
            except NotAReply:
                return
        else:
            self.full.set()

    def error_received(self, exc: Exception) -> None:
        """The network says that the datagram did not arrive; a reply refutes that."""
        if isinstance(exc, OSError) and not self.replies:
            self.error = exc
            self._heard.set()
            self.full.set()
