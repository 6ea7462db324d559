"""Holders of a connection, named as operators would: with /proc (proc(5))."""

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path


def owner_of(server_port: int, client_port: int, pids: Iterable[int]) -> int | None:
    """Return which of these processes holds the server's end of an IPv4 connection."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(server_port, client_port)}
    return next((pid for pid in pids if wanted & _links(pid)), None)


def _inodes(server_port: int, client_port: int) -> Iterator[str]:
    """Yield those of the living; a connection that has ended may have had the same ports."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(fields[i].rpartition(":")[2], 16) for i in (1, 2)]
        if ports == [server_port, client_port] and fields[9] != "0":
            yield fields[9]


def _links(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            found.add(os.readlink(entry.path))
    except OSError:
        pass  # the process or the descriptor is gone
    return found


def open_files(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def can_bind(address: str) -> bool:
    """True if HOST:PORT is free for a server."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError:
            return False
    return True
