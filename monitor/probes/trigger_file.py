"""Memory across runs of when an address and port was last cut off: one small file.

`mirrorgate probe` would else meet the after-effect of the run before, and call it a dead address.
A damaged file is as good as none; where it cannot be kept, runs go on without.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

MOST_ENDPOINTS = 256
MOST_BYTES = 64 * 1024
LOCKED_WITHIN = 1.0
"""Seconds that another run may hold the file; it takes a moment."""


def since_boot() -> float:
    """Seconds since the machine was started, asleep or awake (CLOCK_BOOTTIME, clock_gettime(2)):
    all its processes have the same, and nobody sets it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TriggerFile:
    """Times (seconds since the machine was started) at which endpoints ("ip:port") were cut off."""

    def __init__(
        self,
        path: Path,
        keep: float,
        *,
        failed: Callable[[OSError], None] = lambda error: None,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        """A time is kept for `keep` seconds. `failed` is called with the first fault that keeps the
        file from being used."""
        self._path = path
        self._keep = keep
        self._failed: Callable[[OSError], None] | None = failed
        self._clock = clock

    def __repr__(self) -> str:
        return f"<TriggerFile {self._path}>"

    def ago(self, endpoint: str) -> float | None:
        """Seconds since the endpoint was cut off; None if it was not, of late."""
        at = self._changed(lambda known: None).get(endpoint)
        return None if at is None else max(self._clock() - at, 0.0)

    def cut(self, endpoint: str) -> None:
        """The endpoint was cut off just now."""

        def note(known: dict[str, float]) -> None:
            known[endpoint] = self._clock()

        self._changed(note)

    def answered(self, endpoint: str) -> None:
        """It answers: nothing is shut there."""

        def forget(known: dict[str, float]) -> None:
            known.pop(endpoint, None)

        self._changed(forget)

    def _changed(self, change: Callable[[dict[str, float]], None]) -> dict[str, float]:
        """The content after a change of it, which is written if it differs."""
        if self._failed is None:
            return {}
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with closing(_File(os.open(self._path, flags, 0o600))) as file:
                before = file.read()
                known = self._fresh(before)
                change(known)
                if (after := _written(known)) != before:
                    file.write(after)
                return known
        except OSError as error:
            self._failed(error)
            self._failed = None
            return {}

    def _fresh(self, content: bytes) -> dict[str, float]:
        now = self._clock()
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            return {}
        return {
            endpoint: float(at)
            for endpoint, at in (data.items() if isinstance(data, dict) else ())
            if isinstance(at, int | float) and math.isfinite(at) and now - self._keep < at <= now
        }


def _written(known: dict[str, float]) -> bytes:
    newest = sorted(known.items(), key=lambda pair: pair[1])[-MOST_ENDPOINTS:]
    return json.dumps(dict(newest)).encode()


class _File:
    """An open file under an exclusive lock; raises OSError where it cannot be had in time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        give_up = time.monotonic() + LOCKED_WITHIN
        try:
            while not self._locked():
                if time.monotonic() >= give_up:
                    raise TimeoutError("another process holds it")
                time.sleep(0.02)
        except BaseException:
            self.close()
            raise

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def read(self) -> bytes:
        """All of it, or its first `MOST_BYTES`, which are no whole document."""
        return os.pread(self._descriptor, MOST_BYTES, 0)

    def write(self, content: bytes) -> None:
        """Replace the content."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def close(self) -> None:
        """Give the file and the lock back."""
        os.close(self._descriptor)
