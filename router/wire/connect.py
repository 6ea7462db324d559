"""Opening a connection to a mirror: name, TCP, TLS, each with its own limit and its own failure."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.choice.failure import Failure
from router.wire.upstream import UpstreamConnection

MAX_ADDRESSES = 3


class ConnectFailed(Exception):
    """No connection; `failure` says at which step."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect, and how to know that it is the right one."""

    host: str
    """The name that is verified and sent as SNI."""
    port: int
    addresses: Sequence[str]
    tls: ssl.SSLContext | None


async def connect(
    route: Route,
    factory: Callable[[], UpstreamConnection],
    connect_timeout: float,
    tls_timeout: float,
) -> tuple[UpstreamConnection, float]:
    """A ready connection to the first address that answers, and the seconds it took.

    Raises ConnectFailed with the last address's failure.
    """
    began = time.monotonic()
    failed = ConnectFailed(Failure.resolve, "it has no address")
    for address in route.addresses[:MAX_ADDRESSES]:
        try:
            sock = await _tcp(address, route.port, connect_timeout)
            connection = await _secure(sock, route, factory, tls_timeout)
        except ConnectFailed as error:
            failed = error
        else:
            return connection, time.monotonic() - began
    raise failed


async def _tcp(address: str, port: int, timeout: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with asyncio.timeout(timeout):
            await loop.sock_connect(sock, (address, port))
    except TimeoutError:
        sock.close()
        raise ConnectFailed(Failure.connect, f"no connection within {timeout:g} s") from None
    except OSError as error:
        sock.close()
        raise ConnectFailed(Failure.connect, _refusal(error)) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _secure(
    sock: socket.socket,
    route: Route,
    factory: Callable[[], UpstreamConnection],
    timeout: float,
) -> UpstreamConnection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout + 1):  # the handshake's own limit comes first
            _, connection = await loop.create_connection(
                factory,
                sock=sock,
                ssl=route.tls,
                server_hostname=route.host if route.tls else None,
                ssl_handshake_timeout=timeout if route.tls else None,
            )
    except ssl.SSLCertVerificationError as error:
        sock.close()
        what = error.verify_message.partition(",")[0]  # a name or an address would follow
        raise ConnectFailed(Failure.tls, f"its certificate: {what}") from None
    except (OSError, TimeoutError) as error:
        sock.close()
        raise ConnectFailed(Failure.tls, _reason(error)) from None
    except BaseException:
        sock.close()
        raise
    return connection


def _refusal(error: OSError) -> str:
    """In the system's words; asyncio adds the address, which is not for clients."""
    return os.strerror(error.errno) if error.errno else "no connection"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'handshake'}"
    return "no TLS handshake" if isinstance(error, TimeoutError) else "TLS was interrupted"
