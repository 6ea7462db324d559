"""The sockets that clients connect to: bound once by the supervisor, shared by all workers."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from monitor.common.tasks import Tasks
from router.forwarding.config import RouterConfig
from router.process.proxied_listener import HandshakeServer

BACKLOG = 4096
LONGEST_PAUSE = 1.0
"""Seconds until accepting is tried again that failed, as where there is no descriptor left."""


class ListenError(Exception):
    """A listener cannot be opened; the text is one sentence and says what to do."""


def base_url(router: RouterConfig) -> str:
    """Where clients find the API, as far as its listener tells."""
    scheme = "https" if router.tls_cert else "http"
    host, _, port = router.listen.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # every address: this machine's name is one that others can use
        host = socket.gethostname()
    return f"{scheme}://{host}:{port}{router.forward[0].rstrip('/')}"


def bind(listen: str, setting: str) -> socket.socket:
    """A bound, listening, non-blocking socket for HOST:PORT.

    Without SO_REUSEPORT, so that a second instance finds the address in use instead of
    getting half of the traffic. Raises ListenError naming the setting.
    """
    host, _, port = listen.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by every client's socket: a silent WebSocket whose client is dead must end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(_explain(error, listen, port, setting)) from None
    sock.setblocking(False)
    return sock


def _explain(error: OSError, listen: str, port: str, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: set {setting}, or stop what uses it"
    if error.errno == errno.EACCES:
        return f"no permission to listen on port {port}: set {setting} to a port above 1023"
    return f"cannot listen on {listen} ({error.strerror}): set {setting}"


class TlsListener:
    """The certificate of the API listener; a reload changes it for new connections."""

    def __init__(self, config: RouterConfig) -> None:
        self.context: ssl.SSLContext | None = None
        if config.tls_cert:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.set_alpn_protocols(["http/1.1"])
            self.load(config)

    def load(self, config: RouterConfig) -> None:
        """Read certificate and key again. Raises OSError or ssl.SSLError; the old ones stay."""
        if self.context is not None and config.tls_cert:
            self.context.load_cert_chain(config.tls_cert, config.tls_key)


class Acceptor:
    """Takes clients from the shared socket into this process, or lets them wait for a while."""

    def __init__(
        self,
        listen: socket.socket,
        protocol: Callable[..., asyncio.BaseProtocol],
        tls: ssl.SSLContext | None,
        proxied: float | None = None,
        tasks: Tasks | None = None,
    ) -> None:
        """`protocol` is called without argument, or with the address that a PROXY header names.

        `proxied`: seconds for such a header on each connection; None: there is none.
        """
        self._proxied = proxied
        self._tasks = tasks or Tasks()
        self._listen = listen
        self._protocol = protocol
        self._tls = tls
        self._server: asyncio.Server | HandshakeServer | None = None
        self._wanted = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def set(self, on: bool) -> None:
        """Accept, or pause: whoever comes then waits in the backlog, or goes to another worker."""
        self._wanted = on and not self._stopped
        if not on:
            self._pause()
        elif self._task is None or self._task.done():
            self._task = self._tasks.service("accept", self._resume, longest=LONGEST_PAUSE)

    async def resume(self) -> None:
        """Accept, and return when that has begun."""
        self._wanted = not self._stopped
        await self._resume()

    async def _resume(self) -> None:
        """A server closes its socket with itself, so it is given a copy."""
        if self._server is None and self._wanted:
            listen = self._listen.dup()
            try:
                self._server = await self._make_server(listen)
            except BaseException:
                listen.close()
                raise
        self._pause_unless_wanted()

    async def _make_server(self, listen: socket.socket) -> asyncio.Server | HandshakeServer:
        if self._proxied is not None or self._tls is not None:
            return HandshakeServer(listen, self._protocol, self._tls, self._proxied, self._tasks)
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._protocol, sock=listen, backlog=BACKLOG)

    def expect_headers(self, proxied: float | None) -> None:
        """Change how new connections are taken, if that has changed: see `__init__`."""
        changed, self._proxied = proxied != self._proxied, proxied
        if changed and self._wanted:
            self._pause()
            self.set(True)

    def stop(self) -> None:
        """Accept no more."""
        self._stopped = True
        self._wanted = False
        self._pause()
        self._listen.close()

    def _pause_unless_wanted(self) -> None:
        if not self._wanted:
            self._pause()

    def _pause(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
