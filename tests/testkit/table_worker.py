"""A process that takes and gives back places in a shared table, as fast as it can.

`python -m tests.testkit.table_worker FD BOOK COLUMN COLUMNS LIMIT` works until its standard input
ends; then it prints how often it took a place, was refused, and saw more than LIMIT taken, keeps
its places and waits to be killed. BOOK is a file (`Book`) in which all write what they have.
"""

import json
import mmap
import os
import random
import select
import sys
import time

from router.admission.client_address import named_key
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


def main() -> None:
    fd, kept, column, columns, limit = map(int, sys.argv[1:])
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


if __name__ == "__main__":
    main()
