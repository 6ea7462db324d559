"""Keeps the processes of an instance alive, workers and control; it serves nothing itself.

It has no event loop, so that nothing a request or a probe does can hang it. It keeps the listening
sockets, which `router/cli/startup.py` has bound, both ends of every channel, the table of open
requests, the last lists of bans and keys, and all counters: a child that is replaced loses only its
own connections, and the places it held are free again. When the supervisor dies, the kernel kills
its children (`inherited.py`); one that has not asked for that yet sees its channel end, and ends.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from monitor.common.ipc import Message, channel_pair
from router.admission import shared_table
from router.process import last_lists
from router.process.child import STARTING, ChildSlot, Shared, control_slot, start, worker_slot
from router.process.service_manager import ServiceManager

log = logging.getLogger("supervisor")

GRACE = 10.0
"""Seconds that children have after draining before they are killed."""
SUSPENDED_AFTER = 5.0
"""Seconds between two turns after which the whole instance was suspended, as by `docker pause`."""
STUCK_AGAIN = 0.5
"""Seconds after which a child that was told to keep a lock is killed if it still has the same one:
whoever runs gives it back within microseconds."""
_FIRST_TRIES = 3
_TURN = 0.5


class Supervisor:
    """The processes of one instance."""

    def __init__(
        self,
        document: dict[str, Any],
        workers: int,
        drain: float,
        api: socket.socket,
        control_listeners: dict[str, socket.socket],
        on_ready: Callable[[], None],
        manager: ServiceManager,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._document = document
        self._drain = drain
        self._clock = clock
        self._on_ready = on_ready
        self._manager = manager
        self._reloading = False
        self._ready = False
        self._turned = clock()
        self._stopping: float | None = None
        self._control_told = False
        self._signals: list[int] = []
        self._failure = ""
        self._suspects: dict[int, tuple[int, float]] = {}
        """By the number of a lock: the process that keeps it, and when to look again."""
        pairs = [channel_pair() for _ in range(workers)]
        self._listeners = [api, *control_listeners.values()]
        self._kept = [end for pair in pairs for end in pair]
        self._table = shared_table.create(workers + 1)  # the last column is control's
        self._lists = last_lists.create()
        self._totals = last_lists.create("mirrorgate-totals")
        shared = Shared(self._table, self._lists)
        self._control = control_slot(
            [theirs for _, theirs in pairs], control_listeners, shared, self._totals, workers
        )
        self._workers = [
            worker_slot(i, ours, api, shared, workers) for i, (ours, _) in enumerate(pairs)
        ]
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()

    def run(self) -> int:
        """Stay until stopped; the exit code."""
        self._catch_signals()
        for slot in self._slots():
            self._start(slot)
        while True:
            self._turn()
            if self._stopping is not None and not any(slot.child for slot in self._slots()):
                if self._ready:
                    log.info("stopped after %.0f s", self._clock() - self._stopping)
                self._close()
                return 1 if self._failure else 0

    @property
    def failure(self) -> str:
        """Why it had to end, in one sentence; empty when it was asked to."""
        return self._failure

    def _slots(self) -> Iterable[ChildSlot]:
        return (self._control, *self._workers)

    def _turn(self) -> None:
        self._selector.select(self._pause())
        self._drain_waker()
        now = self._clock()
        self._forgive_suspension(now)
        for number in self._take_signals():
            self._on_signal(number, now)
        for slot in self._slots():
            self._look_after(slot, now)
        self._look_at_suspects(now)
        self._check_ready()
        self._manager.alive(now)
        if self._stopping is not None:
            self._end_stragglers(now)

    def _pause(self) -> float:
        """Seconds until something is due of itself."""
        now = self._clock()
        due = [slot.due - now for slot in self._slots() if slot.child is None]
        return min([_TURN, *(max(0.0, wait) for wait in due if self._stopping is None)])

    def _forgive_suspension(self, now: float) -> None:
        """Forgive silence after a suspension: a supervisor that could not ask must not take a child
        for hung."""
        if now - self._turned > SUSPENDED_AFTER:
            for slot in self._slots():
                if slot.child is not None:
                    slot.child.heard = now
            self._suspects.clear()
        self._turned = now

    def _look_at_suspects(self, now: float) -> None:
        """Kill a process that was reported to keep a lock of the table and still does."""
        for lock, (holder, due) in list(self._suspects.items()):
            slot = self._slot_of(holder)
            if slot is None or shared_table.holder_of_lock(self._table, lock) != holder:
                del self._suspects[lock]
            elif now >= due and slot.child is not None:
                del self._suspects[lock]
                log.warning("killing %s: it does not release a lock", slot.name)
                slot.child.signal(signal.SIGKILL)

    def _slot_of(self, pid: int) -> ChildSlot | None:
        return next(
            (slot for slot in self._slots() if slot.child and slot.child.process.pid == pid), None
        )

    def _look_after(self, slot: ChildSlot, now: float) -> None:
        child = slot.child
        if child is None:
            if self._stopping is None and now >= slot.due:
                self._start(slot)
            return
        for message in child.receive(now):
            self._on_message(slot, message)
        code = child.process.poll()
        if code is None:
            slot.check(now)
            return
        for message in child.receive(now):
            self._on_message(slot, message)
        self._child_ended(slot, code, now)

    def _child_ended(self, slot: ChildSlot, code: int, now: float) -> None:
        assert slot.child is not None
        self._selector.unregister(slot.child.life)
        column = [*self._workers, self._control].index(slot)
        shared_table.clear_column(self._table, column)  # what it held is free again
        if slot is self._control:
            self._reloaded("the reload was cut off, as control ended")
        killed_for = slot.killed_for
        delay = slot.ended(now)
        if self._stopping is not None:
            return
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        log.warning("%s ended %s; the next one starts in %.1f s", slot.name, how, delay)
        if not self._ready and slot.failures >= _FIRST_TRIES:
            why = killed_for.partition(";")[0] or "see the messages above"
            self._fail(f"{slot.name} cannot start: {why}")

    def _start(self, slot: ChildSlot) -> None:
        now = self._clock()
        try:
            child = start(slot, self._document, now)
        except OSError as error:  # the machine is out of memory, processes or descriptors
            delay = slot.failed(now)
            log.error("%s cannot start (%s); again in %.1f s", slot.name, error.strerror, delay)
            if not self._ready and slot.failures >= _FIRST_TRIES:
                self._fail(f"{slot.name} cannot start: {error.strerror}")
            return
        self._selector.register(child.life, selectors.EVENT_READ)
        log.debug("%s is process %d", slot.name, child.process.pid)

    def _on_message(self, slot: ChildSlot, message: Message) -> None:
        try:
            self._take(slot, message)
        except (KeyError, TypeError):  # a fault of one child must not end all of them
            log.error("%s sent a malformed message", slot.name)

    def _take(self, slot: ChildSlot, message: Message) -> None:
        kind = message["type"]
        if kind == "ready" and slot.child is not None:
            slot.child.ready = True
            slot.starting = STARTING
        elif kind == "stuck":
            suspect = (message["holder"], self._clock() + STUCK_AGAIN)
            self._suspects.setdefault(message["lock"], suspect)
        elif kind == "reloaded":
            self._reloaded(message["problem"])
        elif kind == "document":
            self._document = message["document"]
            self._drain = message["drain"]
        elif kind == "failed":
            if self._ready:
                log.error("%s: %s", slot.name, message["message"])
            else:
                self._fail(message["message"])

    def _check_ready(self) -> None:
        if self._ready or self._stopping is not None:
            return
        if all(slot.child is not None and slot.child.ready for slot in self._slots()):
            self._ready = True
            self._on_ready()
            self._manager.ready(self._status())

    def _status(self, problem: str = "") -> str:
        told = f"; the configuration file is not in use: {problem}" if problem else ""
        workers = len(self._workers)
        return f"serving with {workers} worker{'s' if workers != 1 else ''}{told}"

    def _reload(self) -> None:
        self._manager.reloading()
        self._reloading = True
        if self._control.child is not None:
            self._control.child.send({"type": "reload"})
        else:
            self._reloaded("control is being replaced: try again")

    def _reloaded(self, problem: str) -> None:
        """The reload that a signal asked for is over."""
        if self._reloading:
            self._reloading = False
            self._manager.ready(self._status(problem))

    # Stopping

    def _fail(self, sentence: str) -> None:
        self._failure = self._failure or sentence
        self._manager.status(sentence)
        self._stop(self._clock())

    def _on_signal(self, number: int, now: float) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif self._stopping is None:
            self._stop(now)
        else:
            log.warning("second signal: killing all processes")
            self._signal_all(signal.SIGKILL)

    def _stop(self, now: float) -> None:
        """Refuse new connections, let workers drain, end control last: it takes their totals."""
        if self._stopping is not None:
            return
        self._stopping = now
        if self._ready:
            log.info("stopping; running requests have %.0f s", self._drain)
            self._manager.stopping()
        for sock in self._listeners:
            sock.close()
        for slot in self._workers:
            if slot.child is not None:
                slot.child.signal(signal.SIGTERM)

    def _end_stragglers(self, now: float) -> None:
        assert self._stopping is not None
        overdue = now - self._stopping > self._drain + GRACE
        if overdue:
            self._signal_all(signal.SIGKILL)
        elif not any(slot.child for slot in self._workers) and not self._control_told:
            self._control_told = True
            if self._control.child is not None:
                self._control.child.signal(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for slot in self._slots():
            if slot.child is not None:
                slot.child.signal(number)

    # Signals and resources

    def _catch_signals(self) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, frame: self._signals.append(received))
        signal.signal(signal.SIGCHLD, lambda received, frame: None)  # only to be woken

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _drain_waker(self) -> None:
        try:
            while self._woken.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for sock in (*self._kept, self._woken, self._waker):
            sock.close()
        os.close(self._table)
        os.close(self._lists)
        os.close(self._totals)


def worker_count(setting: int) -> int:
    """Number of workers to run: as set, or one per core that this process may use."""
    return setting or len(os.sched_getaffinity(0))
