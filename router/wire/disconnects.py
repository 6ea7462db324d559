"""Watches for the end of client connections that are not read: behind a mirror that takes no more
of an upload, or with requests that wait for their turn. The event loop would notice only when it
reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import Callable
from typing import Any, NamedTuple

from router.wire.closing import close

_LOST = select.EPOLLERR | select.EPOLLHUP


class _Paused(NamedTuple):
    transport: asyncio.Transport
    was_reset: Callable[[], None]
    """What ends it when it has been reset."""


class DisconnectWatcher:
    """An epoll(7) of its own for clients that are paused, itself watched by the event loop."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._paused: dict[int, _Paused] = {}
        self._descriptors: dict[asyncio.Transport, int] = {}
        """As they were when watching began: a lost transport no longer knows its own."""
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
        if fd < 0 or self._descriptors.get(transport) == fd:
            return
        if fd in self._paused:  # closed without a word, and the number is in use again
            self._drop(fd)
        with contextlib.suppress(OSError):  # it is gone already
            self._poll.register(fd, select.EPOLLRDHUP if was_reset is None else 0)
            self._paused[fd] = _Paused(transport, was_reset or transport.abort)
            self._descriptors[transport] = fd

    def forget(self, transport: asyncio.Transport) -> None:
        """Stop watching a client that is read again, or gone; harmless when it was not watched."""
        fd = self._descriptors.get(transport)
        if fd is not None:
            self._drop(fd)

    def close(self) -> None:
        """Stop watching altogether."""
        self._paused.clear()
        self._descriptors.clear()
        loop: Any = self._loop  # compiled code holds functions to their types; uvloop returns None
        if loop is not None:
            loop.remove_reader(self._poll.fileno())
        self._poll.close()

    def _drop(self, fd: int) -> _Paused:
        with contextlib.suppress(OSError):  # closed: the kernel has forgotten it
            self._poll.unregister(fd)
        paused = self._paused.pop(fd)
        del self._descriptors[paused.transport]
        return paused

    def _look(self) -> None:
        for fd, events in self._poll.poll(0):
            paused = self._drop(fd)
            if events & _LOST:
                paused.was_reset()
            else:
                close(paused.transport)
