"""A connection that aiohttp answers; the worker still counts and limits it.

It counts among the worker's connections, makes way where these are too many, has a deadline, and
ends soon when the worker stops.
"""

from __future__ import annotations

import asyncio
from functools import partial

from router.admission.client_address import Client
from router.forwarding.context import WorkerContext
from router.wire.closing import reset
from router.wire.faults import contained

STAY = 15.0
"""Seconds for the one answer of a connection and for what its client still sends: almost all of our
own answers are small and made at once (`stay` is for the others), and aiohttp listens on for 10 s
after one."""
HURRY = 2.0
"""Seconds that are left of it when the connection has to make way."""


class LocalHandler(asyncio.Protocol):
    """Stands between a client's transport and aiohttp's protocol for it."""

    def __init__(self, context: WorkerContext, client: str, transport: asyncio.Transport) -> None:
        self.client = client
        self.key = context.clients.peer(client).client.key
        self.idle = self.vacant = True
        """It may be told to make way at any time: its answer is on its way already."""
        self._asker: Client | None = None
        """The client for which a mirror is asked."""
        self.deadline = context.wheel.now + STAY
        self._context = context
        self._transport = transport
        self._host = context.hand_over()
        context.wheel.add(self)

    def __repr__(self) -> str:
        return f"<LocalHandler {self.client}>"

    def begin(self, raw: bytes) -> None:
        """Let aiohttp answer the request that begins with these bytes."""
        self._transport.set_protocol(self)
        self._host.connection_made(self._transport)
        head, end, rest = raw.partition(b"\r\n\r\n")
        self._host.data_received(head + end)  # else a body that is malformed takes it along
        if rest:
            self._host.data_received(rest)

    def stay(self, seconds: float, asker: Client) -> None:
        """Its request has come from this client, and the answer may take so long, as a mirror is
        asked for it. What follows is thrown away, since the answer ends the connection: unread, it
        would hide that the client has left."""
        self.idle = self.vacant = False
        self._transport.resume_reading()
        self._asker = asker
        self.deadline = self._context.wheel.now + seconds

    def answered(self) -> None:
        """The answer is there, and no mirror is asked any more: its client has to take it."""
        if self.idle:
            return
        self.idle = self.vacant = True
        self.deadline = self._context.wheel.now + self._context.timeouts.write_stall
        if self._context.draining:
            self.drain()

    def drain(self) -> None:
        """Its answer may be read, but the client must be quick."""
        if self.idle:
            self.deadline = min(self.deadline, self._context.wheel.now + HURRY)

    def make_way(self) -> None:
        """Its place is wanted: the same."""
        self.drain()

    def end_if_banned(self) -> None:
        """End if a mirror is asked for a client that is banned now; else its answer is small and
        on its way already."""
        context, asker = self._context, self._asker
        if asker is not None and context.bans.find(asker, context.wall()) is not None:
            self.cut()

    def cut(self) -> None:
        """End it now."""
        reset(self._transport)

    def expired(self) -> None:
        """The wheel's word: it took too long."""
        self.cut()

    def abort(self) -> None:
        """End it after a fault."""
        self._transport.abort()

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        if self._asker is None:
            self._host.data_received(data)

    def eof_received(self) -> bool | None:
        return self._host.eof_received()

    def pause_writing(self) -> None:
        self._host.pause_writing()

    def resume_writing(self) -> None:
        self._host.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._context.wheel.remove(self)
        self._context.connection_closed(self)
        contained("aiohttp", partial(self._host.connection_lost, exc))
