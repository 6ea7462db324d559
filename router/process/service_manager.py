"""Word to the service manager that has started this process: the protocol of sd_notify(3).

A datagram of lines to the socket that the environment names. Without one nothing is sent, so that
a start by hand, in a container or by another manager costs nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

_PARTS = 3
"""Words within the time of the watchdog, so that one may come late (sd_watchdog_enabled(3) advises
half of that time)."""


class ServiceManager:
    """Tells systemd how the instance is."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        """`address`: of its socket, "" for none; `watchdog`: seconds after which it takes silence
        for a hang, 0 for never."""
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        self._every = watchdog / _PARTS
        self._due = float("-inf")

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> ServiceManager:
        """The one that the environment of the process with this id names."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog = int(microseconds) / 1e6 if meant and microseconds.isdigit() else 0.0
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog)

    def ready(self, status: str) -> None:
        """It serves, or the reload that was announced is over."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """State of the service in a sentence."""
        self._tell(f"STATUS={text}")

    def reloading(self, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        """A reload has begun."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic() // 1000}")

    def stopping(self) -> None:
        """It ends, once what runs has ended."""
        self._tell("STOPPING=1", "STATUS=stopping: running requests may end")

    def alive(self, now: float) -> None:
        """It is not hung; called often, told as often as the watchdog needs it."""
        if self._every and now >= self._due:
            self._due = now + self._every
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(lines).encode(), os.fsencode(self._address))
            except OSError:
                pass  # it is gone, or does not read: the next word may come through
