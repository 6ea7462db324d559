"""Opening a connection to a mirror: name, TCP, TLS, each with its own limit and its own failure.

When one path of the mirror fails, the next one is tried at once; when it keeps the request
waiting, another one is tried beside it, and the first that is ready is used. Nothing of the request
has been sent by then, so that no path can have acted on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.probes.connect import fall_silent_on_close
from monitor.probes.failures import UNKNOWN, failure_of
from router.balancing.failure import Failure
from router.upstream.connection import UpstreamConnection
from router.upstream.paths import HANDSHAKE, SLOW, Route, Trouble, next_route, once_more

MAX_TRIES = 4
"""Paths of one mirror that one request may try."""

Factory = Callable[[], UpstreamConnection]


class ConnectFailed(Exception):
    """No connection; `failure` says at which step."""

    def __init__(self, failure: Failure, detail: str, word: str = UNKNOWN) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail
        self.word = word
        """OONI's word for what happened."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for the steps on one path, and how its TLS is verified; None for plain HTTP."""

    connect: float
    tls: float
    context: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Ready:
    """A connection, the path that it takes, and the seconds that this path took."""

    connection: UpstreamConnection
    route: Route
    seconds: float


async def connect(
    routes: Sequence[Route],
    factory: Factory,
    limits: Limits,
    trouble: Callable[[Trouble], None] = lambda trouble: None,
) -> Ready:
    """A ready connection over the first path that works; `trouble` is called for each other one.

    Raises ConnectFailed with the last failure.
    """
    race = _Race(routes, factory, limits, trouble)
    try:
        return await race.run()
    finally:
        race.end()


class _Try:
    """One path on its way."""

    def __init__(self, route: Route, factory: Factory, limits: Limits) -> None:
        self.route = route
        self.operation = "connect"
        self.task = asyncio.create_task(self._open(factory, limits))

    async def _open(self, factory: Factory, limits: Limits) -> Ready:
        route, began = self.route, time.monotonic()
        sock = await _tcp(route.address, route.port, limits.connect)
        self.operation = HANDSHAKE
        connection = await _secure(sock, route.host, factory, limits)
        return Ready(connection, route, time.monotonic() - began)


class _Race:
    """The paths that are tried for one request."""

    def __init__(
        self,
        routes: Sequence[Route],
        factory: Factory,
        limits: Limits,
        trouble: Callable[[Trouble], None],
    ) -> None:
        self._waiting = list(routes)
        self._factory = factory
        self._limits = limits
        self._tell = trouble
        self._running: list[_Try] = []
        self._troubles: list[Trouble] = []
        self._left = MAX_TRIES
        self._failed = ConnectFailed(Failure.resolve, "it has no address")

    async def run(self) -> Ready:
        """The first that is ready. Raises ConnectFailed."""
        while True:
            patience = self._start_next()
            if not self._running:
                raise self._failed
            done, _ = await asyncio.wait(
                [t.task for t in self._running],
                timeout=patience,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if (ready := self._sort_out(done)) is not None:
                self._tell_slow()
                return ready

    def end(self) -> None:
        """Give up what is still running; what becomes ready all the same is closed.

        Without waiting, or a cancellation meanwhile would lose the connection that has won.
        """
        for late in self._running:
            late.task.cancel()
            late.task.add_done_callback(_close_late)

    def _start_next(self) -> float | None:
        """Start one more path, if there is one; how long to wait before the one after it."""
        slow = [Trouble(t.route, t.operation, SLOW) for t in self._running]
        route = next_route(self._waiting, [*self._troubles, *slow]) if self._left else None
        if route is None and self._left and not self._running:
            route = once_more(self._troubles)
        if route is None:
            return None
        self._left -= 1
        if route in self._waiting:
            self._waiting.remove(route)
        self._running.append(_Try(route, self._factory, self._limits))
        return route.patience

    def _sort_out(self, done: set[asyncio.Task[Ready]]) -> Ready | None:
        ready: Ready | None = None
        for ended in [t for t in self._running if t.task in done]:
            try:
                result = ended.task.result()
            except ConnectFailed as error:
                self._failed = error
                self._note(Trouble(ended.route, ended.operation, error.word))
            else:
                if ready is not None:
                    continue  # `end` closes it
                ready = result
            self._running.remove(ended)
        return ready

    def _note(self, trouble: Trouble) -> None:
        self._troubles.append(trouble)
        self._tell(trouble)

    def _tell_slow(self) -> None:
        for overtaken in (t for t in self._running if not t.task.done()):
            self._tell(Trouble(overtaken.route, overtaken.operation, SLOW))


def _close_late(task: asyncio.Task[Ready]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().connection.leave()


_WATCHED = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""A path that is dead ends the connection within about 30 s, however long the mirror may be silent:
its kernel answers for it while it works (tcp(7))."""


async def _tcp(address: str, port: int, timeout: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError:
        raise ConnectFailed(Failure.no_descriptor, "no file descriptor is left here") from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in _WATCHED:
            sock.setsockopt(level, option, value)
        async with asyncio.timeout(timeout):
            await loop.sock_connect(sock, (address, port))
    except TimeoutError as error:
        sock.close()
        detail = f"no connection within {timeout:g} s"
        raise ConnectFailed(Failure.connect, detail, failure_of(error)) from None
    except OSError as error:
        sock.close()
        raise ConnectFailed(Failure.connect, _refusal(error), failure_of(error)) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _secure(
    sock: socket.socket, host: str, factory: Factory, limits: Limits
) -> UpstreamConnection:
    loop, context = asyncio.get_running_loop(), limits.context
    fall_silent_on_close(sock, True)
    try:
        async with asyncio.timeout(limits.tls + 1):  # the handshake's own limit comes first
            _, connection = await loop.create_connection(
                factory,
                sock=sock,
                ssl=context,
                server_hostname=host if context else None,
                ssl_handshake_timeout=limits.tls if context else None,
            )
    except ssl.SSLCertVerificationError as error:
        sock.close()
        what = error.verify_message.partition(",")[0]  # a name or an address would follow
        detail = f"its certificate: {what}"
        raise ConnectFailed(Failure.tls, detail, failure_of(error)) from None
    except (OSError, TimeoutError) as error:
        sock.close()
        raise ConnectFailed(Failure.tls, _reason(error), _cut(error)) from None
    except BaseException:
        # its transport may be so young that it was not told: closed behind it, the descriptor could
        # be another connection's before it notices
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        raise
    fall_silent_on_close(sock, False)
    return connection


def _refusal(error: OSError) -> str:
    """In the system's words; asyncio adds the address, which is not for clients."""
    return os.strerror(error.errno) if error.errno else "no connection"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'handshake'}"
    return "no TLS handshake" if isinstance(error, TimeoutError) else "TLS was interrupted"


def _cut(error: Exception) -> str:
    """OONI's word; event loops report a closed connection as a reset without a number."""
    if isinstance(error, ConnectionResetError) and error.errno is None:
        return "eof_error"
    if isinstance(error, ConnectionAbortedError) and error.errno is None:
        return "generic_timeout_error"
    return failure_of(error)
