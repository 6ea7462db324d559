"""The resolver of the operating system, asked in threads of our own.

`getaddrinfo` cannot be broken off: with a dead resolver it blocks its thread for half a minute.
In the loop's own executor such threads would keep others waiting, and the process from ending.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from monitor.probes.connect import MAX_ADDRESSES, as_address

MAX_THREADS = 16

RESOLV_CONF = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""Where the servers of the system's resolver are listed: resolv.conf(5), and behind the stub of
systemd-resolved(8) its own list of the servers that it asks."""
_STUB = "127.0.0.53"

Lookup = Callable[[str], list[str]]
"""The addresses of a name; blocks. Raises OSError, UnicodeError."""


class Busy(TimeoutError):
    """So many lookups hang already that no other is begun."""


class SystemResolver:
    """Looks names up, each at most once at a time, in at most 16 threads that nobody waits for."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or _getaddrinfo
        self._running: dict[str, asyncio.Future[list[str]]] = {}

    async def addresses(self, hostname: str, timeout: float) -> list[str]:
        """The addresses in the system's order, at most 16. Raises OSError, UnicodeError."""
        running = self._running.get(hostname) or self._begin(hostname)
        async with asyncio.timeout(timeout):
            return await asyncio.shield(running)

    def _begin(self, hostname: str) -> asyncio.Future[list[str]]:
        if len(self._running) >= MAX_THREADS:
            raise Busy("the system's resolver does not answer")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()
        thread = threading.Thread(
            target=self._run, args=(loop, hostname), name=f"resolve {hostname}", daemon=True
        )
        self._running[hostname] = future
        try:
            thread.start()
        except RuntimeError as error:
            del self._running[hostname]
            raise Busy("the system has no thread left") from error
        return future

    def _run(self, loop: asyncio.AbstractEventLoop, hostname: str) -> None:
        found: list[str] | Exception
        try:
            found = self._lookup(hostname)
        except Exception as error:
            found = error
        try:
            loop.call_soon_threadsafe(self._end, hostname, found)
        except RuntimeError:
            pass  # the loop has been closed: nobody is waiting any more

    def _end(self, hostname: str, found: list[str] | Exception) -> None:
        future = self._running.pop(hostname)
        if future.cancelled():
            return
        if isinstance(found, Exception):
            future.set_exception(found)
            future.exception()  # seen, even if whoever asked has given up
        else:
            future.set_result(found)


def nameserver(files: Sequence[Path] = RESOLV_CONF) -> str | None:
    """The address of the server that the system's resolver asks first; None if it is on this
    machine, so that nobody stands between, or not known."""
    for file in files:
        listed: list[str] = []
        with suppress(OSError, UnicodeError):
            words = (line.split() for line in file.read_text("utf-8").splitlines())
            listed = [line[1] for line in words if line[:1] == ["nameserver"] and len(line) > 1]
        address = as_address(listed[0]) if listed else None
        if address is None or not address.is_loopback:
            return None if address is None else str(address)
        if str(address) != _STUB:
            return None
    return None


def _getaddrinfo(hostname: str) -> list[str]:
    found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]
