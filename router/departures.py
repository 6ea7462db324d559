"""Watches for the end of client connections that are not read: behind a mirror that takes no more
of an upload, or with requests that wait for their turn. The event loop would notice only when it
reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable

from router.relay import close

_LOST = select.EPOLLERR | select.EPOLLHUP


class Departures:
    """An epoll(7) of its own for clients that are paused, itself watched by the event loop."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._paused: dict[int, asyncio.Transport] = {}
        self._descriptors: dict[asyncio.Transport, int] = {}
        """As they were when watching began: a lost transport no longer knows its own."""
        self._resets: dict[int, Callable[[], None]] = {}
        """What ends a client that has been reset."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._paused)

    def watch(
        self, transport: asyncio.Transport, was_reset: Callable[[], None] | None = None
    ) -> None:
        """Watch a client that is not read from now on; with `was_reset`, for a reset only, since
        what stands before its FIN is still wanted."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._poll.fileno(), self._look)
        sock = transport.get_extra_info("socket")
        fd = -1 if sock is None else sock.fileno()
        if fd < 0 or self._paused.get(fd) is transport:
            return
        if fd in self._paused:  # closed without a word, and the number is in use again
            self._drop(fd)
        with contextlib.suppress(OSError):  # it is gone already
            self._poll.register(fd, select.EPOLLRDHUP if was_reset is None else 0)
            self._paused[fd] = transport
            self._descriptors[transport] = fd
            self._resets[fd] = was_reset or transport.abort

    def forget(self, transport: asyncio.Transport) -> None:
        """Stop watching a client that is read again, or gone; harmless when it was not watched."""
        fd = self._descriptors.get(transport)
        if fd is not None:
            self._drop(fd)

    def close(self) -> None:
        """Stop watching altogether."""
        self._paused.clear()
        self._descriptors.clear()
        self._resets.clear()
        if self._loop is not None:
            self._loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def _drop(self, fd: int) -> asyncio.Transport:
        with contextlib.suppress(OSError):  # closed: the kernel has forgotten it
            self._poll.unregister(fd)
        transport = self._paused.pop(fd)
        del self._descriptors[transport], self._resets[fd]
        return transport

    def _look(self) -> None:
        for fd, events in self._poll.poll(0):
            was_reset = self._resets[fd]
            transport = self._drop(fd)
            if events & _LOST:
                was_reset()
            else:
                close(transport)
