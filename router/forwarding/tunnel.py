"""A WebSocket after its 101: bytes both ways as they come, until both directions have ended.

    relaying ─► both sides have ended, or one is closed in order ─► closing ─► gone
         └────► a side is reset, silent or stalled ──────────────► breaking ─► gone

A TCP half close is relayed: the other side is half-closed behind all that is pending, and the other
direction goes on. TLS cannot be half-closed (uvloop and asyncio close the transport on the peer's
close_notify): when a side with TLS ends, or gets an end, both ends are closed in order; what
had been received before is delivered, what was still to come the other way is dropped. A reset is
told as a reset, never as an end in order.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Protocol, cast

from router.forwarding.context import WorkerContext
from router.forwarding.websocket_session import Session
from router.upstream.connection import read_no_further
from router.wire.closing import end_writing, reset
from router.wire.timer_wheel import NEVER

LAST_WORDS = 10.0
"""Seconds for what is still to be written when the tunnel has ended, and as long again while the
peers take it."""
LEAST_TAKEN = 10 << 10
"""Bytes that they must have taken by then: 1 KiB a second, as of a request's body."""
CLOSE_WAIT = 2.0
"""Seconds for a client to answer a close frame of ours."""
_FIRST_LOOK = 0.005
_LAST_LOOK = 0.2
"""Seconds between looks at what a peer's kernel has not acknowledged; each is twice the former."""
_COUNT = struct.Struct("i")


class Filter(Protocol):
    """Reads one direction of a tunnel, and says what passes."""

    def feed(self, data: bytes) -> bytes:
        """Take what came; returns what may go on now."""

    def finish(self) -> bytes:
        """The direction has ended; returns what was kept back."""


ReadOn = Callable[[asyncio.Transport, Session, Callable[[], None]], bool]
"""Takes a mirror's connection, its session and a call for its end; False: it does not."""


class TunnelEnd(asyncio.BufferedProtocol):
    """One of the two connections."""

    __deletable__ = ("_tunnel", "peer")

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.plain = transport.get_extra_info("ssl_object") is None
        self.full = False
        """True if it takes no more for now."""
        self.ended = False
        """True if the peer has said that nothing more comes from it."""
        self.gone = self.is_reset = False
        self.draining = False
        """True if it ends as soon as its peer has acknowledged everything."""
        self.acknowledged = False
        """True if that was so at the last look."""
        self.filter: Filter | None = None
        """Reads what comes from this side."""
        self.peer: TunnelEnd
        self._tunnel = tunnel
        self._buffer = tunnel.buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        tunnel = self._tunnel
        if not tunnel.relaying:
            if tunnel.awaits_close is self:
                tunnel.heard_behind_close(bytes(self._buffer[:nbytes]))
            return
        if tunnel.half_closed:
            tunnel.heard()
        self.pass_on(self._buffer[:nbytes].tobytes())

    def pass_on(self, data: bytes) -> None:
        """Write to the other side what came from here."""
        if self.filter is not None:
            data = self.filter.feed(data)
        if data:
            self.peer.transport.write(data)

    def was_reset(self) -> None:
        """Its peer has reset it, which the event loop would notice only when it reads again."""
        self.is_reset = True
        self.transport.abort()

    def eof_received(self) -> bool:
        self.ended = True
        self._tunnel.end_heard(self)
        return self.plain  # a TLS transport closes itself, and warns of True

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._tunnel.disconnects.forget(self.transport)
        self._tunnel.lost(self, exc)

    def pause_writing(self) -> None:
        self.full = True
        if self.peer.gone:
            return
        self.peer.transport.pause_reading()
        self._tunnel.disconnects.watch(self.peer.transport, self.peer.was_reset)
        self._tunnel.watch()

    def resume_writing(self) -> None:
        self.full = False
        self.peer.hear()
        self._tunnel.watch()

    def hear(self) -> None:
        """Read on, unless the end was read already: some loops would tell it twice."""
        self._tunnel.disconnects.forget(self.transport)
        if not self.ended and not self.transport.is_closing():
            self.transport.resume_reading()

    def drain(self) -> None:
        """The worker stops: end as soon as that loses nothing, where that can be known."""
        if self._tunnel.session is not None:
            self._tunnel.session.drain()

    def cut(self) -> None:
        """The worker stops now: end with a word where messages are read, else with a reset."""
        if self._tunnel.session is not None and self._tunnel.relaying:
            self._tunnel.session.leave()
        else:
            self._tunnel.cut()

    def release(self) -> None:
        """Let go of what leads back here."""
        del self.peer, self._tunnel
        self.filter = None


class Tunnel:
    """Joins a client's connection and a mirror's."""

    __deletable__ = ("_ended", "_lost")

    def __init__(
        self,
        context: WorkerContext,
        client: asyncio.Transport,
        mirror: asyncio.Transport,
        ended: Callable[[str], None],
        lost: Callable[[], None],
    ) -> None:
        """`ended` is called with the outcome when the client's connection is gone, `lost` when the
        mirror's is."""
        self.buffer = context.buffer
        self.deadline = NEVER
        self.relaying = True
        self.half_closed = False
        self.session: Session | None = None
        self._read_on: ReadOn | None = None
        self.disconnects = context.disconnects
        self._left = 0
        """Bytes that were still to be taken when that was looked at last."""
        self.awaits_close: TunnelEnd | None = None
        """The client, when it has been sent a close frame and has not answered it: one that finds
        the connection at its end by then reports an abnormal closure."""
        self._wheel = context.wheel
        self._stall = context.timeouts.write_stall
        self._idle = context.timeouts.idle
        self._stalled_at = self._silent_at = NEVER
        """Until when a side must take something, and until when something must come."""
        self._broken = False
        self._outcome = "success"
        self._timer: asyncio.TimerHandle | None = None
        self._ended = ended
        self._lost = lost
        self._client, self._mirror = TunnelEnd(self, client), TunnelEnd(self, mirror)
        self._client.peer, self._mirror.peer = self._mirror, self._client

    def judged_by(self, session: Session, read_on: ReadOn) -> None:
        """Have every message judged before it passes; `read_on` may take the mirror's connection
        when the client leaves answers that are awaited."""
        self.session, self._read_on = session, read_on
        self.filter(session.from_client, session.from_mirror)

    def filter(self, from_client: Filter | None, from_mirror: Filter) -> None:
        """Let these read what passes."""
        self._client.filter, self._mirror.filter = from_client, from_mirror

    def begin(self, from_client: bytes, from_mirror: bytes, client_full: bool) -> None:
        """Relay, beginning with what came before; `client_full`: the client takes no more yet."""
        client, mirror = self._client, self._mirror
        self._wheel.add(self)
        read_no_further(client.transport)  # the mirror's does not since it was made
        for end in (client, mirror):
            end.transport.set_protocol(cast(asyncio.BaseProtocol, end))
        if client_full:
            client.pause_writing()
        for end, data in ((mirror, from_mirror), (client, from_client)):
            if data:
                end.pass_on(data)

    # Relaying

    def watch(self) -> None:
        """Some side takes nothing any more, or does again: then an end may go unnoticed."""
        if self.relaying:
            stalled = self._client.full or self._mirror.full
            self._stalled_at = self._wheel.now + self._stall if stalled else NEVER
            self.deadline = min(self._stalled_at, self._silent_at)

    def heard(self) -> None:
        """Something came after one side had ended."""
        self._silent_at = self._wheel.now + self._idle
        self.deadline = min(self._stalled_at, self._silent_at)

    def end_heard(self, end: TunnelEnd) -> None:
        """A side has sent all that it will."""
        if not self.relaying:
            self._settle(end)
            return
        if end.filter is not None and (rest := end.filter.finish()):
            end.peer.transport.write(rest)
        left = end is self._client and self.session is not None and self.session.reads_on
        if left or not (end.plain and end.peer.plain) or end.peer.ended:
            self.close()
        elif self.relaying:  # a filter may have ended it
            self.half_closed = True
            end_writing(end.peer.transport)
            self.heard()

    # Ends

    def close(self) -> None:
        """End both sides in order, after what is still to be written."""
        if self.relaying:
            self._end("success")

    def tell_client(self, words: bytes) -> bool:
        """Write a whole frame between those of the mirror; False: the client takes no more."""
        if self._client.full:
            return False
        if not (self._client.gone or self._client.transport.is_closing()):
            self._client.transport.write(words)
        return True

    def close_with(
        self, to_client: bytes, to_mirror: bytes, mirror_close: bytes, outcome: str
    ) -> None:
        """End both sides in order after these last words; a mirror that is read on gets its close
        frame later."""
        if not self.relaying:
            return
        mirror = self._mirror
        if to_mirror and not (mirror.gone or mirror.ended or self._client.ended):
            mirror.transport.write(to_mirror)
        to_mirror = b"" if self._abandon() else mirror_close
        for end, words in ((self._client, to_client), (self._mirror, to_mirror)):
            if words and not (end.gone or end.peer.ended):  # else it is half-closed already
                end.transport.write(words)
        answers = self.session is None or not self.session.client_closed
        if to_client and answers and not self._client.ended:
            self.awaits_close = self._client
        self._end(outcome)
        if self.awaits_close is not None:
            self.deadline = self._wheel.now + CLOSE_WAIT

    def heard_behind_close(self, data: bytes) -> None:
        """The client was sent a close frame: the connection ends when it has answered."""
        if self.session is None or self.session.closes(data):
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        end, self.awaits_close = self.awaits_close, None
        self.deadline = self._wheel.now + LAST_WORDS
        if end is not None:
            self._settle(end)

    def leave(self) -> None:
        """End both sides because the tunnel may not stay."""
        if self.session is not None:
            self.session.leave()
        else:
            self.close()

    def cut(self, outcome: str = "client_abort") -> None:
        """End both sides at once, visibly incomplete."""
        if self.relaying:
            self._end(outcome, broken=True)
        for end in (self._client, self._mirror):
            if not end.gone:
                reset(end.transport)

    def lost(self, end: TunnelEnd, exc: Exception | None) -> None:
        """One of the connections is no more. A side with TLS may leave without close_notify."""
        try:
            if self.session is not None:
                self.session.finished(end.filter)
            if self.relaying:
                broken = exc is not None or end.plain or end.is_reset
                left = "client_abort" if end is self._client else "interrupted"
                self._end(left if broken else "success", broken=broken)
            if self._broken:
                reset(end.transport)  # where the fault was ours, its peer has not been told
        finally:
            self._give_back(end)

    def abort(self) -> None:
        """End both sides now, after a fault."""
        for end in (self._client, self._mirror):
            if not end.gone:
                end.transport.abort()

    def expired(self) -> None:
        """A side takes nothing, or says nothing behind a half close, or does not end in time."""
        if self.relaying:
            self.cut("client_abort" if self._client.full else "interrupted")
            return
        if self.awaits_close is not None:
            self._wait_no_more()
            return
        before, self._left = self._left, self._pending
        if before - self._left >= LEAST_TAKEN:
            self.deadline = self._wheel.now + LAST_WORDS
            return
        if self._left and not self._client.gone:
            self._outcome = "client_abort"
        for end in (self._client, self._mirror):
            if not end.gone:
                if self._broken or not end.plain or end.transport.get_write_buffer_size():
                    reset(end.transport)
                else:  # the kernel has all, and delivers it
                    end.transport.abort()

    def _abandon(self) -> bool:
        """Give the mirror's connection to who reads on, if the client has left awaited answers."""
        mirror, session, read_on = self._mirror, self.session, self._read_on
        if session is None or read_on is None or not session.reads_on:
            return False
        transport = mirror.transport
        if mirror.gone or mirror.ended or transport.is_closing():
            return False
        if not read_on(transport, session, self._lost):
            return False
        self.disconnects.forget(transport)
        mirror.gone = True
        return True

    def _end(self, outcome: str, broken: bool = False) -> None:
        if self.session is not None:
            if outcome == "client_abort":
                self.session.client_ended()
            self._abandon()
        self.relaying = False
        self._outcome, self._broken = outcome, broken
        self.deadline = self._wheel.now + LAST_WORDS
        self._left = self._pending
        for end in (self._client, self._mirror):
            self._settle(end)

    @property
    def _pending(self) -> int:
        """Bytes that no peer has acknowledged yet."""
        ends = (self._client, self._mirror)
        return sum(_unacknowledged(end.transport) for end in ends if not end.gone)

    def _settle(self, end: TunnelEnd) -> None:
        """Bring a side to its end; what it still sends is read and dropped, or its kernel would be
        answered with a reset, which overtakes what is still on its way there."""
        transport = end.transport
        if end.gone or transport.is_closing():
            return
        if self.awaits_close is end and not end.ended:
            pass
        elif end.plain and not self._broken:
            if end.ended:
                transport.close()
            else:
                end_writing(transport)
        elif end.plain and not _unacknowledged(transport):
            reset(transport)
        elif self._broken or not end.ended:
            end.draining = True
            self._look_later(_FIRST_LOOK)
        end.hear()

    def _look_later(self, seconds: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._look, seconds)

    def _look(self, waited: float) -> None:
        """End the sides whose peers have everything. Two looks must find that: TLS hands bytes to
        a transport below, which hands them to the kernel a turn later."""
        self._timer = None
        for end in (self._client, self._mirror):
            if end.gone or not end.draining or end.transport.is_closing():
                continue
            before, end.acknowledged = end.acknowledged, not _unacknowledged(end.transport)
            if not (before and end.acknowledged):
                self._look_later(min(2 * waited, _LAST_LOOK))
            elif self._broken:
                reset(end.transport)
            else:
                end.transport.close()

    def _give_back(self, end: TunnelEnd) -> None:
        try:
            if end is self._client:
                if self.session is not None:
                    self.session.settle(self._outcome)
                self._ended(self._outcome)
            else:
                self._lost()
        finally:
            if end.peer.gone:
                self._release()

    def _release(self) -> None:
        """Let go of everything: as cycles it would stay until the collector looks at the old."""
        self._wheel.remove(self)
        if self._timer is not None:
            self._timer.cancel()
        self._client.release()
        self._mirror.release()
        del self._ended, self._lost
        self.session = self.awaits_close = self._read_on = None


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes that were written and have not arrived at the peer's kernel, as far as known."""
    left, sock = transport.get_write_buffer_size(), transport.get_extra_info("socket")
    if left or sock is None:
        return left
    try:
        told = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_COUNT.size))
    except (OSError, ValueError):  # it is closed
        return 0
    return int(_COUNT.unpack(told)[0])
