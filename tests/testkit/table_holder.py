"""A process that takes the lock of a key in a shared table and stops itself while it holds it.

`python -m tests.testkit.table_holder FD COLUMN COLUMNS NAME`: the key is `named_key("test", NAME)`.
Sent SIGCONT, it gives the lock back, prints a line and waits to be killed.
"""

import os
import signal
import sys
import time

from router.admission.client_address import named_key
from router.admission.robust_mutex import try_lock, unlock
from router.admission.shared_table import Table


def main() -> None:
    fd, column, columns = map(int, sys.argv[1:4])
    table = Table(fd, column, columns)
    lock = table._spot(named_key("test", sys.argv[4])).lock
    while not try_lock(lock):
        pass
    os.kill(os.getpid(), signal.SIGSTOP)
    unlock(lock)
    print("free", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main()
