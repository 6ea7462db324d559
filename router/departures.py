"""Clients that leave while they are not read: behind a mirror that takes no more of an upload, or
with requests that wait for their turn. The event loop would tell only when it reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import select

_LOST = select.EPOLLERR | select.EPOLLHUP


class Departures:
    """An epoll(7) of its own for clients that are paused, itself watched by the event loop."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._paused: dict[int, asyncio.Transport] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._paused)

    def watch(self, transport: asyncio.Transport) -> None:
        """This client is not read from now on."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._poll.fileno(), self._look)
        fd = transport.get_extra_info("socket").fileno()
        if self._paused.get(fd) is not transport:
            with contextlib.suppress(OSError):  # it is gone already
                self._poll.register(fd, select.EPOLLRDHUP)
                self._paused[fd] = transport

    def forget(self, transport: asyncio.Transport) -> None:
        """It is read again, or gone; harmless when it was not watched."""
        fd = transport.get_extra_info("socket").fileno()
        if self._paused.get(fd) is transport:
            self._drop(fd)

    def close(self) -> None:
        """Watch nobody any more."""
        self._paused.clear()
        if self._loop is not None:
            self._loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def _drop(self, fd: int) -> asyncio.Transport:
        with contextlib.suppress(OSError):  # closed: the kernel has forgotten it
            self._poll.unregister(fd)
        return self._paused.pop(fd)

    def _look(self) -> None:
        for fd, events in self._poll.poll(0):
            transport = self._drop(fd)
            if events & _LOST:
                transport.abort()
            else:
                transport.close()
