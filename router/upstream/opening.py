"""Opening a new connection to a chosen mirror, in a task: the one place where a request waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from monitor.common.config import MirrorConfig
from monitor.common.names import names_of
from monitor.probes.connect import Resolver, resolve_host
from monitor.probes.results import ProbeFailure
from monitor.probes.system_resolver import SystemResolver
from monitor.probes.tls import TlsContexts
from router.admission.shared_table import UNCOUNTED
from router.balancing.config import TimeoutConfig
from router.balancing.failure import Failure
from router.balancing.pool import Attempt
from router.upstream.connection import UpstreamConnection
from router.upstream.connector import ConnectFailed, Limits, Ready, connect
from router.upstream.path_stats import PathStats
from router.upstream.paths import Route, share_one_address
from router.upstream.upstream import Upstream
from router.wire.faults import contained, guarded, report_fault
from router.wire.fields import response_rules
from router.wire.timer_wheel import TimerWheel
from router.wire.write_batch import WriteBatch

MOST_RESOLVED = 4
"""Names of a mirror that are resolved here, while the monitor knows no paths."""
OTHERS_WITHIN = 0.25
"""Seconds that a request waits for the addresses of alternate names, when it has some already."""

Opened = Callable[[Upstream, UpstreamConnection, float], None]
Failed = Callable[[Failure, str], None]


class Opener:
    """Opens connections to mirrors for one worker: over the paths of the snapshot, in turn."""

    def __init__(
        self,
        timeouts: TimeoutConfig,
        traffic: PathStats,
        write_batch: WriteBatch,
        buffer: memoryview,
        wall: Callable[[], float],
    ) -> None:
        """`buffer`: what all connections of the worker are read into; `wall`: seconds since the
        epoch."""
        self.resolver: Resolver = SystemResolver()
        self._timeouts = timeouts
        self._traffic = traffic
        self._write_batch = write_batch
        self._buffer = buffer
        self._wall = wall
        self._rules = response_rules()
        self._tls_contexts = TlsContexts()

    def configure(self, timeouts: TimeoutConfig) -> None:
        """Take new settings, and read authorities anew."""
        self._timeouts = timeouts
        self._tls_contexts.forget()

    async def open(self, upstream: Upstream, *, single: bool) -> Ready:
        """Return a connection over the first path that works. Raises ConnectFailed.

        `single`: there is a place for one connection only, so no path is tried beside a slow one.
        """
        limits, routes = await self._limits(upstream), await self._routes(upstream)
        beside = upstream.beside
        one_address = bool(beside) or share_one_address(upstream.routes or routes)
        routes = self._traffic.in_order(routes, one_address=one_address, beside=beside)
        if not routes:
            raise ConnectFailed(Failure.connect, "its name would shut out others at its address")
        lately = self._traffic.worked_lately
        routes = [replace(r, proven=True) if lately(r) else r for r in routes]
        if single:
            routes = [replace(route, patience=limits.connect + limits.tls) for route in routes]
        failed = partial(self._traffic.failed, upstream.id)
        try:
            ready = await connect(routes, self._connection, limits, failed)
        except ConnectFailed:
            upstream.trials.failed()
            raise
        upstream.trials.succeeded()
        ready.connection.authority = ready.route.authority
        ready.connection.endpoint = ready.route.endpoint
        opened = partial(self._traffic.opened, upstream.id, ready.route, ready.seconds)
        contained("a report", opened)
        return ready

    def _connection(self) -> UpstreamConnection:
        return UpstreamConnection(self._buffer, self._rules, self._write_batch)

    async def _limits(self, upstream: Upstream) -> Limits:
        mirror, timeouts = upstream.mirror, self._timeouts
        try:
            https = mirror.scheme == "https"
            tls = await self._tls_contexts.get(mirror.ca_file) if https else None
        except OSError:
            raise ConnectFailed(Failure.tls, "its ca_file cannot be read") from None
        return Limits(timeouts.connect, timeouts.tls, tls)

    async def _routes(self, upstream: Upstream) -> list[Route]:
        """The paths that may be tried now: what the monitor found, else what DNS says."""
        mirror = upstream.mirror
        if upstream.routes:
            routes = upstream.open_routes(self._wall())
        else:
            routes = upstream.resolved(await self._resolved(mirror), self._wall())
        if not routes:
            raise ConnectFailed(Failure.connect, "all its addresses are left alone for a while")
        return routes

    async def _resolved(self, mirror: MirrorConfig) -> dict[str, tuple[str, ...]]:
        """The addresses of its names, the own one first; the others are waited for a moment, or
        for longer if that does not resolve."""
        names = names_of(mirror)[:MOST_RESOLVED]
        lookups = {name: asyncio.create_task(self._look_up(mirror, name)) for name in names}
        own, *others = lookups.values()
        try:
            await asyncio.wait([own])
            if others:
                unresolved = own.exception() is not None
                await asyncio.wait(others, timeout=None if unresolved else OTHERS_WITHIN)
            done = {name: task for name, task in lookups.items() if task.done()}
            found = {name: task.result() for name, task in done.items() if not task.exception()}
            if not found:
                own.result()
        except ProbeFailure as error:
            raise ConnectFailed(Failure.resolve, f"its name: {error.failure}") from None
        finally:
            for task in lookups.values():
                task.cancel()
        return found

    async def _look_up(self, mirror: MirrorConfig, name: str) -> tuple[str, ...]:
        limit = self._timeouts.connect
        return await resolve_host(name, mirror.allow_private, limit, self.resolver)


class Opening:
    """A connection being opened; tells exactly one of `opened` and `failed`, unless cancelled."""

    __slots__ = ("_abort", "_failed", "_opened", "_place", "_task", "_upstream")

    def __init__(
        self,
        opener: Opener,
        upstream: Upstream,
        opened: Opened,
        failed: Failed,
        abort: Callable[[], None],
        place: int = UNCOUNTED,
    ) -> None:
        """`abort`: called if one of the two has raised. `place`: of the connection among those that
        the mirror may have."""
        self._upstream = upstream
        self._place = place
        self._opened = opened
        self._failed = failed
        self._abort = abort
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._connect(opener))

    @property
    def done(self) -> bool:
        """True if the connection is there, or will not be."""
        return self._task is None

    def cancel(self) -> None:
        """Stop; nothing is called any more."""
        if self._task is not None:
            self._task.cancel()
            self._vacate()

    def go_on_for(self, opened: Opened, failed: Failed, abort: Callable[[], None]) -> None:
        """Call these instead: the request has gone elsewhere."""
        self._opened, self._failed, self._abort = opened, failed, abort

    def _vacate(self) -> None:
        """There is no connection: its place is free again."""
        place, self._place = self._place, UNCOUNTED
        if self._upstream.limiter is not None:
            self._upstream.limiter.leave(place)

    def _furnish(self, connection: UpstreamConnection) -> None:
        """Hand the place over to the connection."""
        limiter, place = self._upstream.limiter, self._place
        if limiter is not None and place != UNCOUNTED:
            self._place = UNCOUNTED
            connection.at_end = partial(limiter.leave, place)

    async def _connect(self, opener: Opener) -> None:
        try:
            ready = await opener.open(self._upstream, single=self._place != UNCOUNTED)
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
        if ready.connection.is_closed():  # nothing was sent yet
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


class LateOpening:
    """An opening that goes on though its request has gone elsewhere, so that the next one finds the
    connection, or the failure counts; one for each mirror, which ends it by `late`."""

    def __init__(
        self,
        opening: Opening,
        attempt: Attempt[Upstream],
        clock: Callable[[], float],
        wheel: TimerWheel,
        report: Callable[[str, Failure], None],
    ) -> None:
        """`report` gets the mirror's id and the failure, if it comes to that."""
        self._opening = opening
        self._attempt = attempt
        self._clock = clock
        self._wheel = wheel
        self._report = report
        attempt.member.late = self.cancel
        opening.go_on_for(self._opened, self._failed, self.cancel)

    def cancel(self) -> None:
        """Stop; it says nothing of the mirror."""
        self._attempt.member.late = None
        self._opening.cancel()
        self._attempt.passed_on()

    def _opened(self, upstream: Upstream, connection: UpstreamConnection, seconds: float) -> None:
        upstream.late = None
        self._attempt.passed_on()
        upstream.keep(connection, self._wheel.now)

    def _failed(self, failure: Failure, detail: str) -> None:
        upstream = self._attempt.member
        upstream.late = None
        self._attempt.failed(failure, self._clock())
        self._report(upstream.id, failure)
