"""Opening a new connection to a chosen mirror, in a task: the one place where a request waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from monitor.probes.handshake import TlsContexts
from monitor.probes.resolve import resolve_host
from monitor.probes.result import ProbeFailure
from router.choice.failure import Failure
from router.plane import Plane
from router.upstreams import Upstream
from router.wire.connect import ConnectFailed, Route, connect
from router.wire.upstream import UpstreamConnection

log = logging.getLogger("worker")

Opened = Callable[[Upstream, UpstreamConnection, float], None]
Failed = Callable[[Failure, str], None]


class Opening:
    """A connection being opened; tells exactly one of `opened` and `failed`, unless cancelled."""

    __slots__ = ("_failed", "_opened", "_plane", "_task", "_upstream")

    def __init__(self, plane: Plane, upstream: Upstream, opened: Opened, failed: Failed) -> None:
        self._plane = plane
        self._upstream = upstream
        self._opened = opened
        self._failed = failed
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._connect())

    def cancel(self) -> None:
        """Stop; nothing is called any more."""
        if self._task is not None:
            self._task.cancel()

    async def _connect(self) -> None:
        timeouts = self._plane.timeouts
        try:
            route = await route_to(self._upstream, self._plane.tls_contexts, timeouts.connect)
            connection, seconds = await connect(route, self._new, timeouts.connect, timeouts.tls)
        except ConnectFailed as error:
            self._task = None
            self._failed(error.failure, error.detail)
        except Exception:  # whatever it is, the request must not wait for it
            log.exception("opening a connection to %s", self._upstream.id)
            self._task = None
            self._failed(Failure.connect, "no connection could be opened")
        else:
            self._task = None
            if connection.closed:  # nothing was sent yet
                self._failed(Failure.connect, "it closed the new connection")
            else:
                self._opened(self._upstream, connection, seconds)

    def _new(self) -> UpstreamConnection:
        plane = self._plane
        return UpstreamConnection(plane.buffer, plane.response_rules, plane.outbox)


async def route_to(upstream: Upstream, contexts: TlsContexts, timeout: float) -> Route:
    """Where to connect for this mirror: pinned addresses, else what the monitor found, else DNS.

    Raises ConnectFailed.
    """
    mirror = upstream.mirror
    addresses = mirror.addresses or tuple(path.address for path in upstream.health.paths)
    try:
        tls = await contexts.get(mirror.ca_file) if mirror.scheme == "https" else None
        if not addresses:
            addresses = await resolve_host(mirror.host, mirror.allow_private, timeout)
    except ProbeFailure as error:
        raise ConnectFailed(Failure.resolve, f"its name: {error.failure}") from None
    except OSError:
        raise ConnectFailed(Failure.tls, "its ca_file cannot be read") from None
    return Route(mirror.host, mirror.port, addresses, tls)
