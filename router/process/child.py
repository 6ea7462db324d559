"""The child processes of a supervisor: their start, supervision and end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from monitor.common.compiled import ROOT, form
from monitor.common.ipc import Channel, ChannelClosed, Message, channel_pair
from router.process.inherited import write_document

log = logging.getLogger("supervisor")

PING_EVERY = 2.0
HUNG_AFTER = 10.0
"""Seconds without an answer from a child's event loop after which it is replaced."""
STARTING = 60.0
"""The same while it has not said that it is ready: imports on a busy machine take their time."""
LONGEST_START = 600.0
"""What `STARTING` becomes at most: each start that took too long doubles it for the next one."""
STEADY = 10.0
"""A child that lived this long is restarted at once; one that did not waits, longer each time."""
MAX_BACKOFF = 30.0
"""Seconds of the longest such pause, for a child that never got ready …"""
MAX_PAUSE = 1.0
"""… and for one that did: it may end again soon, but until then it serves."""


class Shared(NamedTuple):
    """Descriptors of the anonymous files that all children have."""

    table: int
    """Open requests and rates of clients (`admission/table.py`)."""
    lists: int
    """Bans and issued keys (`process/last_lists.py`)."""


@dataclass(slots=True)
class ChildSlot:
    """A place that must be filled: a worker slot, or control. Children come and go."""

    name: str
    module: str
    arguments: dict[str, str]
    fds: tuple[int, ...]
    child: Child | None = None
    failures: int = 0
    due: float = 0.0
    """When the next child may be started, on the supervisor's clock."""
    starting: float = STARTING
    """Seconds without a word after which a child that is not ready is killed."""
    killed_for: str = ""
    """Why the present child was killed; empty while it was not."""

    def check(self, now: float) -> None:
        """Ping the child's event loop now and then; a hung one is killed."""
        child = self.child
        assert child is not None
        limit = HUNG_AFTER if child.ready else self.starting
        if now - child.heard <= limit:
            child.ping(now)
            return
        if self.killed_for:
            return
        pid = child.process.pid
        if child.ready:
            self.killed_for = f"process {pid} did not answer for {limit:.0f} s"
        else:
            self.starting = min(2 * self.starting, LONGEST_START)
            self.killed_for = (
                f"process {pid} had not started within {limit:.0f} s ({_load()}); "
                f"the next one has {self.starting:.0f} s"
            )
        log.error("killing %s: %s", self.name, self.killed_for)
        child.signal(signal.SIGKILL)

    def ended(self, now: float) -> float:
        """The child has ended: forget it; returns the seconds until the next may start."""
        child = self.child
        assert child is not None
        child.life.close()
        self.child, self.killed_for = None, ""
        if child.ready and now - child.started >= STEADY:
            self.failures, self.due = 0, now
            return 0.0
        return self.failed(now, MAX_PAUSE if child.ready else MAX_BACKOFF)

    def failed(self, now: float, longest: float = MAX_BACKOFF) -> float:
        """It could not be filled for long; returns the seconds until the next try."""
        self.failures += 1
        delay = min(backoff(self.failures), longest)
        self.due = now + delay
        return delay


@dataclass(slots=True)
class Child:
    """A running process and the channel on which it answers."""

    process: subprocess.Popen[bytes]
    life: Channel
    started: float
    heard: float
    pinged: float = 0.0
    ready: bool = False
    messages: list[Message] = field(default_factory=list)

    def ping(self, now: float) -> None:
        """Ask its event loop whether it is alive, now and then."""
        if now - self.pinged >= PING_EVERY:
            self.pinged = now
            self.send({"type": "ping"})

    def send(self, message: Message) -> None:
        """Send it a message; a child that is gone is noticed elsewhere."""
        try:
            self.life.send(message)
        except ChannelClosed:
            pass

    def receive(self, now: float) -> list[Message]:
        """Take the messages of the child, pongs apart."""
        try:
            messages = self.life.receive()
        except ChannelClosed:
            return []
        if messages:
            self.heard = now
        return [message for message in messages if message.get("type") != "pong"]

    def signal(self, number: int) -> None:
        """Send it a signal; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)


def _load() -> str:
    """The load of this machine in words."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def backoff(failures: int) -> float:
    """Seconds to wait before the next start after this many early ends in a row."""
    return 0.0 if failures == 0 else min(0.1 * 3 ** (failures - 1), MAX_BACKOFF)


def start(slot: ChildSlot, document: dict[str, Any], now: float) -> Child:
    """Start a fresh interpreter in a slot, with its descriptors and the configuration.

    Raises OSError when the system does not let it start.
    """
    ours, theirs = channel_pair()
    try:
        with theirs, open(write_document(document), "rb") as handed:
            process = _spawn(slot, theirs.fileno(), handed.fileno())
    except BaseException:
        ours.close()
        raise
    slot.child = Child(process, Channel(ours), started=now, heard=now)
    return slot.child


def _spawn(slot: ChildSlot, life: int, document: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, *_own_code(), "-m", slot.module]
    for name, value in {**slot.arguments, "life": life, "document": document}.items():
        command += (f"--{name}", str(value))
    return subprocess.Popen(
        command,
        pass_fds=(*slot.fds, life, document),
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C in a terminal is for the supervisor alone
    )


def _own_code() -> tuple[str, ...]:
    """Options of a Python that takes our code from where this process has it. With none, it looks
    first in the working directory: that may hold another version, or any folder of such a name."""
    try:
        return () if os.path.samefile(os.curdir, ROOT) else ("-P",)
    except OSError:  # the directory is gone
        return ("-P",)


def worker_slot(
    slot: int, feed: socket.socket, listen: socket.socket, shared: Shared, workers: int
) -> ChildSlot:
    """The place of one data-plane process."""
    fds = {"feed": feed.fileno(), "listen": listen.fileno(), **shared._asdict()}
    numbers = {"slot": slot, "workers": workers, **fds}
    arguments = {name: str(number) for name, number in numbers.items()} | {"form": form.name}
    return ChildSlot(f"worker {slot}", "router.process.worker", arguments, tuple(fds.values()))


def control_slot(
    feeds: Sequence[socket.socket],
    listeners: dict[str, socket.socket],
    shared: Shared,
    totals: int,
    workers: int,
) -> ChildSlot:
    """The place of the control process; `totals`: the file of all counters."""
    numbers = {name: str(sock.fileno()) for name, sock in listeners.items()}
    numbers |= {name: str(fd) for name, fd in shared._asdict().items()}
    numbers["totals"] = str(totals)
    numbers["workers"] = str(workers)
    return ChildSlot(
        "control",
        "router.control.control",
        {"feeds": ",".join(str(feed.fileno()) for feed in feeds), **numbers},
        (*(sock.fileno() for sock in (*feeds, *listeners.values())), *shared, totals),
    )
