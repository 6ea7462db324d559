"""Inheritance of a child from the supervisor: its life, its limits, and descriptors.

The configuration travels in an anonymous file: it holds secrets, so neither a command line nor the
environment nor the disk may carry it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even if it hangs by then.

    The channel's end tells it too, but only who listens; and nobody but the supervisor could ever
    end a process that keeps the ports.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_no_core() -> None:
    """Have the kernel keep no core of this process or its children: keys and bodies are in it.

    A limit of nothing holds for files only; one of a single byte also where cores go to a program
    (`RLIMIT_CORE` in fs/coredump.c of Linux). The hard limit stays, for who looks for a fault.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))


def write_document(document: dict[str, Any]) -> int:
    """A descriptor of an anonymous file with this document; the caller closes it."""
    fd = os.memfd_create("mirrorgate-document", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(json.dumps(document).encode())
    return fd


def read_document(fd: int) -> dict[str, Any]:
    """The document in an inherited descriptor, which is closed."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        document: dict[str, Any] = json.load(file)
    return document
