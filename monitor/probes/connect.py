"""Does an address accept TCP connections?"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time

from monitor.probes.failures import failure_of
from monitor.probes.result import Operation, StepResult

_LINGER = struct.Struct("ii")


async def connect(
    address: str, port: int, timeout: float, hostname: str = ""
) -> tuple[socket.socket | None, StepResult]:
    """Connect to an IP address. The caller closes the socket, which is None after a failure."""
    started = time.perf_counter()
    failure: str | None = None
    connection: socket.socket | None = None
    try:
        async with asyncio.timeout(timeout):
            connection = await _connected(address, port)
    except OSError as error:
        failure = failure_of(error)
    seconds = time.perf_counter() - started
    return connection, StepResult(Operation.connect, failure, seconds, address, hostname=hostname)


async def _connected(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def fall_silent_on_close(connection: socket.socket, whether: bool) -> None:
    """What is not acknowledged is forgotten by `close`, with an RST (SO_LINGER in socket(7)).

    Else the kernel would go on sending a hello that was met with silence, for minutes, and its name
    to an address that is left alone.
    """
    with contextlib.suppress(OSError):  # it may have ended meanwhile
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(whether, 0))
