"""A process that works on a shared table of admission, to be stopped or killed.

`… work FD BOOK COLUMN COLUMNS LIMIT` takes and gives back places as fast as it can until its
standard input ends; then it prints how often it took a place, was refused, and saw more than LIMIT
taken, keeps its places and waits to be killed. BOOK is a file (`Book`) in which all write what they
have.

`… hold FD COLUMN COLUMNS NAME` takes the lock of the key `named_key("test", NAME)` and stops itself
while it holds it. Sent SIGCONT, it gives the lock back, prints a line and waits to be killed.
"""

import json
import mmap
import os
import random
import select
import signal
import sys
import time

from router.admission.client_address import named_key
from router.admission.robust_mutex import try_lock, unlock
from router.admission.shared_table import TOO_MANY, Table

KEYS = [named_key("test", str(i)) for i in range(5)]


class Book:
    """The places that each process has been given, by key: never more than there truly are."""

    def __init__(self, fd: int, columns: int) -> None:
        self._memory = mmap.mmap(fd, 2 * columns * len(KEYS))
        self._counts = memoryview(self._memory).cast("H")

    @staticmethod
    def create(columns: int) -> int:
        """A descriptor of an empty one; the caller closes it."""
        fd = os.memfd_create("book")
        os.ftruncate(fd, 2 * columns * len(KEYS))
        return fd

    def add(self, column: int, key: int, number: int) -> None:
        """Places were taken, or are given back in a moment."""
        self._counts[column * len(KEYS) + key] += number

    def clear(self, column: int) -> None:
        """This process has died."""
        for key in range(len(KEYS)):
            self._counts[column * len(KEYS) + key] = 0

    def open(self, key: int) -> int:
        """Places of all processes."""
        return sum(self._counts[key :: len(KEYS)])


def work(fd: int, kept: int, column: int, columns: int, limit: int) -> None:
    """Take places and give them back."""
    table, book, rng = Table(fd, column, columns), Book(kept, columns), random.Random(column)
    held: list[tuple[int, int]] = []
    taken = refused = overshot = 0
    print("ready", flush=True)
    while not (taken % 50 == 0 and select.select([sys.stdin], [], [], 0)[0]):
        key = rng.randrange(len(KEYS))
        place = table.acquire(KEYS[key], limit)
        if place == TOO_MANY:
            refused += 1
        else:
            taken += 1
            book.add(column, key, 1)
            overshot += book.open(key) > limit
            held.append((key, place))
        if held and (place == TOO_MANY or rng.random() < 0.5):
            key, place = held.pop(rng.randrange(len(held)))
            book.add(column, key, -1)
            table.release(place)
    told = {"taken": taken, "refused": refused, "overshot": overshot}
    print(json.dumps({**told, "held": len(held), "busy": table.busy}), flush=True)
    time.sleep(60)


def hold(fd: int, column: int, columns: int, name: str) -> None:
    """Stop with a lock."""
    table = Table(fd, column, columns)
    lock = table.lock_of(named_key("test", name))
    while not try_lock(lock):
        pass
    os.kill(os.getpid(), signal.SIGSTOP)
    unlock(lock)
    print("free", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(*map(int, sys.argv[2:]))
    else:
        numbers = [int(each) for each in sys.argv[2:5]]
        hold(numbers[0], numbers[1], numbers[2], sys.argv[5])
