"""The bounded queue and the thread through which a process writes its log.

No event loop waits for a pipe that nobody reads or for a disk that stalls. The descriptor stays
blocking: its open file description may be shared with a shell and with other processes.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

_MOST_LINES = 10_000
_MOST_BYTES = 1 << 20
"""A reader that pauses for a moment loses nothing; a process never keeps more than this."""
_AT_ONCE = 64 << 10
"""Bytes of one write to a file, which is appended as a whole."""
_PIPE_AT_ONCE = 4096
"""Bytes that a pipe takes as a whole, whoever else writes to it (PIPE_BUF, pipe(7))."""
FLUSH_WITHIN = 1.0
"""Seconds that a process which ends gives its log."""

_writers: set[LogWriter] = set()
_closed_dropped = 0
"""Lines that writers which are closed have lost."""
_registry = threading.Lock()


class LogWriter:
    """Writes lines to a descriptor in their order; drops and counts what the queue cannot hold.

    From the first dropped line on, all are dropped until the queue is empty; then one line, made
    by `lost`, says how many were. `failed` gets errors, in the writer's thread. Lines that
    could not be written count as dropped too.
    """

    def __init__(
        self,
        fd: int,
        lost: Callable[[int], bytes],
        failed: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        """`fd` is closed by `close`. Raises OSError when there can be no more threads."""
        self.lost = lost
        self.dropped = 0
        self._fd = fd
        self._failed = failed
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._at_once = _AT_ONCE if regular else _PIPE_AT_ONCE
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._untold = 0
        self._idle = False
        self._closing = False
        try:
            threading.Thread(target=self._run, name="log", daemon=True).start()
        except RuntimeError:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
        with _registry:
            _writers.add(self)

    def put(self, line: bytes) -> None:
        """Queue a line, or drop it; never waits for the descriptor."""
        with self._changed:
            if (
                self._untold
                or len(self._lines) >= _MOST_LINES
                or self._bytes + len(line) > _MOST_BYTES
            ):
                self._untold += 1
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            if self._idle:
                self._idle = False
                self._changed.notify()

    def flush(self, within: float) -> bool:
        """Wait until all is written, for so many seconds; False when it is not."""
        with self._changed:
            return self._changed.wait_for(lambda: self._idle, within)

    def close(self) -> None:
        """Take no more; the thread closes the descriptor when it has written what is queued."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread's
        while batch := self._take():
            try:
                self._write(b"".join(batch))
            except OSError as error:
                with self._changed:
                    self.dropped += len(batch)
                self._failed(error)
        self._end()

    def _end(self) -> None:
        global _closed_dropped
        with _registry:
            _closed_dropped += self.dropped
            _writers.discard(self)
        os.close(self._fd)

    def _take(self) -> list[bytes]:
        """Wait for lines, and take as many as are written at once; none: the writer is closed."""
        with self._changed:
            while not self._lines and not self._untold:
                self._idle = True
                self._changed.notify_all()  # who flushes
                if self._closing:
                    return []
                self._changed.wait()
            self._idle = False
            if not self._lines:
                count, self._untold = self._untold, 0
                return [self.lost(count)]
            taken = [self._lines.popleft()]
            size = len(taken[0])
            while self._lines and size + len(self._lines[0]) <= self._at_once:
                taken.append(self._lines.popleft())
                size += len(taken[-1])
            self._bytes -= size
            return taken

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]


def flush_all(within: float = FLUSH_WITHIN) -> bool:
    """Wait until all logs of this process are written, for so many seconds; False: they are not."""
    deadline = time.monotonic() + within
    with _registry:
        writers = list(_writers)
    flushed = [writer.flush(max(0.0, deadline - time.monotonic())) for writer in writers]
    return all(flushed)


def dropped_lines() -> int:
    """Lines that the logs of this process have lost."""
    with _registry:
        return _closed_dropped + sum(writer.dropped for writer in _writers)


atexit.register(flush_all)
