"""Opening a new connection to a chosen mirror, in a task: the one place where a request waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from monitor.probes.connect import resolve_host
from monitor.probes.results import ProbeFailure
from router.admission.shared_table import UNCOUNTED
from router.balancing.failure import Failure
from router.forwarding.context import WorkerContext
from router.upstream.connection import UpstreamConnection
from router.upstream.connector import ConnectFailed, Limits, Ready, connect
from router.upstream.paths import Route, Trouble
from router.upstream.upstream import Upstream
from router.wire.faults import contained, guarded, report_fault

Opened = Callable[[Upstream, UpstreamConnection, float], None]
Failed = Callable[[Failure, str], None]


class Opening:
    """A connection being opened; tells exactly one of `opened` and `failed`, unless cancelled."""

    __slots__ = ("_abort", "_context", "_failed", "_opened", "_place", "_task", "_upstream")

    def __init__(
        self,
        context: WorkerContext,
        upstream: Upstream,
        opened: Opened,
        failed: Failed,
        abort: Callable[[], None],
        place: int = UNCOUNTED,
    ) -> None:
        """`abort`: called if one of the two has raised. `place`: of the connection among those that
        the mirror may have."""
        self._context = context
        self._upstream = upstream
        self._place = place
        self._opened = opened
        self._failed = failed
        self._abort = abort
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._connect())

    @property
    def done(self) -> bool:
        """True if the connection is there, or will not be."""
        return self._task is None

    def cancel(self) -> None:
        """Stop; nothing is called any more."""
        if self._task is not None:
            self._task.cancel()
            self._vacate()

    def _vacate(self) -> None:
        """There is no connection: its place is free again."""
        place, self._place = self._place, UNCOUNTED
        if self._upstream.gate is not None:
            self._upstream.gate.leave(place)

    def _furnish(self, connection: UpstreamConnection) -> None:
        """From now on the place is the connection's."""
        gate, place = self._upstream.gate, self._place
        if gate is not None and place != UNCOUNTED:
            self._place = UNCOUNTED
            connection.at_end = partial(gate.leave, place)

    async def _connect(self) -> None:
        try:
            ready = await self._ready()
        except ConnectFailed as error:
            self._end(error.failure, error.detail)
        except Exception as error:  # whatever it is, the request must not wait for it
            report_fault(f"opening a connection to {self._upstream.id}", error)
            self._end(Failure.connect, "no connection could be opened")
        else:
            self._task = None
            give_up = partial(self._give_up, ready.connection)
            guarded("a new connection", partial(self._arrived, ready), give_up)

    def _arrived(self, ready: Ready) -> None:
        self._furnish(ready.connection)
        if ready.connection.closed:  # nothing was sent yet
            ready.connection.ended()
            self._end(Failure.connect, "it closed the new connection")
        else:
            self._opened(self._upstream, ready.connection, ready.seconds)

    def _end(self, failure: Failure, detail: str) -> None:
        self._task = None
        self._vacate()
        guarded("a failed connection", partial(self._failed, failure, detail), self._abort)

    def _give_up(self, connection: UpstreamConnection) -> None:
        self._vacate()
        connection.leave()
        self._abort()

    async def _ready(self) -> Ready:
        """A connection over the first path that works. Raises ConnectFailed."""
        context, upstream = self._context, self._upstream
        limits = await limits_of(context, upstream)
        routes = context.traffic.in_order(await routes_to(context, upstream))
        if self._place != UNCOUNTED:  # it is for one connection: no other path beside a slow one
            routes = [replace(route, patience=limits.connect + limits.tls) for route in routes]
        ready = await connect(routes, self._new, limits, self._trouble)
        ready.connection.authority = ready.route.authority
        contained(
            "a report", partial(context.traffic.opened, upstream.id, ready.route, ready.seconds)
        )
        return ready

    def _trouble(self, trouble: Trouble) -> None:
        self._context.traffic.failed(self._upstream.id, trouble)

    def _new(self) -> UpstreamConnection:
        context = self._context
        return UpstreamConnection(context.buffer, context.response_rules, context.write_batch)


async def limits_of(context: WorkerContext, upstream: Upstream) -> Limits:
    """Return the limits of each step, and the TLS context. Raises ConnectFailed."""
    mirror, timeouts = upstream.mirror, context.timeouts
    try:
        https = mirror.scheme == "https"
        tls = await context.tls_contexts.get(mirror.ca_file) if https else None
    except OSError:
        raise ConnectFailed(Failure.tls, "its ca_file cannot be read") from None
    return Limits(timeouts.connect, timeouts.tls, tls)


async def routes_to(context: WorkerContext, upstream: Upstream) -> list[Route]:
    """The paths that may be tried now: what the monitor found, else what DNS says.

    Raises ConnectFailed.
    """
    mirror = upstream.mirror
    if upstream.routes:
        routes = upstream.open_routes(context.wall())
    else:
        try:
            timeout = context.timeouts.connect
            addresses = await resolve_host(
                mirror.host, mirror.allow_private, timeout, context.resolver
            )
        except ProbeFailure as error:
            raise ConnectFailed(Failure.resolve, f"its name: {error.failure}") from None
        routes = upstream.resolved(addresses, context.wall())
    if not routes:
        raise ConnectFailed(Failure.connect, "all its addresses are left alone for a while")
    return routes
