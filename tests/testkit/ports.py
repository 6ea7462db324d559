"""Free TCP ports on the loopback address."""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack

HOST = "127.0.0.1"
LOWEST, HIGHEST = 15000, 32000
"""Below Linux's default range for outgoing connections (32768-60999), so that none of the tests'
own connections can take a port between our finding it free and its being used."""

SHARES = 8
"""Parts of the range. Tests that run side by side (pytest-xdist) and the programs that they start
have one each, so that none of them can take a port that another has found free."""


def share(worker: str) -> range:
    """Return the ports of this worker of pytest-xdist ("gw0", "gw1", ...; "" without it)."""
    number = int(worker.removeprefix("gw") or 0) % SHARES
    size = (HIGHEST - LOWEST) // SHARES
    return range(LOWEST + number * size, LOWEST + (number + 1) * size)


def _round(ports: range) -> Iterator[int]:
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_OURS = share(os.environ.get("PYTEST_XDIST_WORKER", ""))
_NEXT = _round(_OURS)
"""In order, so that what was found free a moment ago and may be unused yet is not found again."""


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that could be bound a moment ago."""
    with ExitStack() as stack:
        return [stack.enter_context(_bind_somewhere()).getsockname()[1] for _ in range(count)]


def free_port() -> int:
    """Return one port that could be bound a moment ago."""
    return free_ports(1)[0]


def _bind_somewhere() -> socket.socket:
    for port in itertools.islice(_NEXT, len(_OURS)):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            candidate.bind((HOST, port))
        except OSError:
            candidate.close()
        else:
            return candidate
    raise RuntimeError(f"no free port in {_OURS}")
