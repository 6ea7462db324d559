"""Free TCP ports on the loopback address."""

import random
import socket
from contextlib import ExitStack

HOST = "127.0.0.1"
LOWEST, HIGHEST = 15000, 32000
"""Below Linux's default range for outgoing connections (32768-60999), so that none of the tests'
own connections can take a port between our finding it free and its being used."""

ATTEMPTS = 500


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that could be bound a moment ago."""
    with ExitStack() as stack:
        return [stack.enter_context(_bind_somewhere()).getsockname()[1] for _ in range(count)]


def free_port() -> int:
    """Return one port that could be bound a moment ago."""
    return free_ports(1)[0]


def _bind_somewhere() -> socket.socket:
    for _ in range(ATTEMPTS):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            candidate.bind((HOST, random.randint(LOWEST, HIGHEST)))
        except OSError:
            candidate.close()
        else:
            return candidate
    raise RuntimeError(f"no free port between {LOWEST} and {HIGHEST} in {ATTEMPTS} attempts")
