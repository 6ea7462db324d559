"""A process that takes and gives back places in a shared table, as fast as it can.

`python -m tests.support.table_worker FD COLUMN COLUMNS LIMIT` works until its standard input ends;
then it prints how often it took a place, was refused, and saw more than LIMIT taken, keeps its
places and waits to be killed.
"""

import json
import random
import select
import sys
import time

from router.admission.clients import named_key
from router.admission.table import ROWS, TOO_MANY, Table

KEYS = [named_key("test", str(i)) for i in range(5)]


def main() -> None:
    fd, column, columns, limit = map(int, sys.argv[1:])
    table, rng = Table(fd, column, columns), random.Random(column)
    held: list[int] = []
    taken = refused = overshot = 0
    print("ready", flush=True)
    while not (taken % 50 == 0 and select.select([sys.stdin], [], [], 0)[0]):
        place = table.acquire(rng.choice(KEYS), limit)
        if place == TOO_MANY:
            refused += 1
        else:
            taken += 1
            overshot += sum(table._counts[place::ROWS]) > limit
            held.append(place)
        if held and (place == TOO_MANY or rng.random() < 0.5):
            table.release(held.pop(rng.randrange(len(held))))
    told = {"taken": taken, "refused": refused, "overshot": overshot}
    print(json.dumps({**told, "held": len(held), "busy": table.busy}), flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
