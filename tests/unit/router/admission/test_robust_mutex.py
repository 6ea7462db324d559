"""Locks in shared memory, among processes of which some are killed."""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from router.admission.robust_mutex import SIZE, address_of, make_locks, try_lock, unlock
from tests.testkit.processes import python_environment

HOLDER = f"""
import mmap, signal, sys
from router.admission.robust_mutex import SIZE, address_of, try_lock
memory = mmap.mmap(int(sys.argv[1]), mmap.PAGESIZE)
address, anchor = address_of(memory, {SIZE})
print(try_lock(address), flush=True)
signal.pause()
"""


@pytest.fixture
def fd() -> Iterator[int]:
    made = os.memfd_create("locks")
    os.ftruncate(made, mmap.PAGESIZE)
    yield made
    os.close(made)


def test_a_lock_is_one_holder_s_until_he_gives_it_back_or_is_killed(fd: int):
    memory = mmap.mmap(fd, mmap.PAGESIZE)
    first, anchor = address_of(memory, 0)
    make_locks(first, 3)
    second, third = first + SIZE, first + 2 * SIZE
    command = [sys.executable, "-c", HOLDER, str(fd)]
    environment = python_environment()
    with subprocess.Popen(
        command, pass_fds=[fd], stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not try_lock(second)
        assert try_lock(third)
        assert not try_lock(third)
        unlock(third)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert try_lock(second)
    assert not try_lock(second)
    unlock(second)
    assert try_lock(second)
    unlock(second)
    del anchor
    memory.close()
