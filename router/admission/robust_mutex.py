"""Locks that processes share: robust mutexes of the C library, in memory that all of them map.

Taking one that is free is an atomic instruction, not a system call: 0.5 µs for taking it and giving
it back from Python, where `fcntl.lockf` takes 2 µs and, with cold caches, up to 8. One whose holder
was killed is given to the next who asks (pthread_mutexattr_setrobust(3)). Two things are known of a
mutex here: `SIZE` bytes are enough for it, and one of its words holds the thread that has it, for
the kernel reads that word when a thread ends (Documentation/locking/robust-futex-ABI in Linux).
Where in the mutex it stands is found out by taking one.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import threading

SIZE = 64
"""Bytes of a lock: glibc and musl need 40 or 48, and one of its own cache line is best."""
_LARGEST_ATTRIBUTES = 64
_PROCESS_SHARED, _ROBUST = 1, 1
_WORD = 4
_THREAD = 0x3FFFFFFF
"""FUTEX_TID_MASK of linux/futex.h."""

_c = ctypes.PyDLL(None)  # unlike CDLL it keeps the GIL: none of these waits


def _function(name: str, arguments: int) -> ctypes._FuncPointer:
    function = _c[name]
    function.argtypes = [ctypes.c_void_p] * arguments
    function.restype = ctypes.c_int
    return function


grab = _function("pthread_mutex_trylock", 1)
"""Take the lock at this address: 0 if that is done; else ask `taken` what the answer means."""
_consistent = _function("pthread_mutex_consistent", 1)
unlock = _function("pthread_mutex_unlock", 1)
"""Give back the lock at this address."""


def taken(address: int, answer: int) -> bool:
    """True if `grab` has taken the lock: also if that was its first answer since its last holder
    was killed."""
    if answer == errno.EOWNERDEAD:
        _consistent(address)
        return True
    return answer == 0


def try_lock(address: int) -> bool:
    """Take the lock at this address, unless a living process has it."""
    return taken(address, grab(address))


def holder_of(address: int) -> int:
    """The thread that has the lock at this address; 0: nobody, or it cannot be told."""
    if _HOLDER < 0:
        return 0
    return ctypes.c_uint32.from_address(address + _HOLDER).value & _THREAD


def holder_in(fd: int, offset: int) -> int:
    """As `holder_of`, of the lock at this offset of a file."""
    word = os.pread(fd, _WORD, offset + _HOLDER) if _HOLDER >= 0 else b""
    return int.from_bytes(word, sys.byteorder) & _THREAD


def address_of(memory: mmap.mmap, offset: int) -> tuple[int, object]:
    """Where this byte of a mapping is, and what keeps it there for as long as it is referred to."""
    anchor = ctypes.c_char.from_buffer(memory, offset)
    return ctypes.addressof(anchor), anchor


def make_locks(address: int, count: int) -> None:
    """Make so many locks, one behind the other; once, before anybody uses them."""
    attributes = ctypes.create_string_buffer(_LARGEST_ATTRIBUTES)
    _done(_function("pthread_mutexattr_init", 1)(attributes))
    shared = _c.pthread_mutexattr_setpshared
    robust = _c.pthread_mutexattr_setrobust
    _done(shared(attributes, _PROCESS_SHARED))
    _done(robust(attributes, _ROBUST))
    make = _function("pthread_mutex_init", 2)
    for at in range(address, address + count * SIZE, SIZE):
        _done(make(at, attributes))


def _done(result: int) -> None:
    if result:
        raise OSError(result, "the C library makes no locks for several processes")


def _holder_offset() -> int:
    """Where in a lock its holder stands; -1 if it does not."""
    buffer = ctypes.create_string_buffer(2 * SIZE)
    address = ctypes.addressof(buffer)
    address += -address % SIZE
    make_locks(address, 1)
    if not try_lock(address):
        return -1
    try:
        words = range(0, SIZE, _WORD)
        held = [ctypes.c_uint32.from_address(address + at).value & _THREAD for at in words]
    finally:
        unlock(address)
    own = threading.get_native_id()
    return next((at for at, word in zip(words, held, strict=True) if word == own), -1)


_HOLDER = _holder_offset()
