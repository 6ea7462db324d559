"""Capacity of one worker: connections by its descriptors, idle ones by client, bodies by memory.

Nothing here refuses a request that could be served: accepting pauses until there is room, the
oldest idle connection of a greedy client makes way, a body that there is no memory for is streamed.
Where it gets tight, the client that has most gives way, so that a few cannot use it all up.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Protocol

RESERVED_DESCRIPTORS = 64
"""For listeners, feeds, the log, and connections that are being opened."""
MOST_HANDSHAKES = 1024
"""Connections that wait for their TLS handshake or PROXY header; of more, the client that has most
loses its oldest."""
MAX_COLLECTED = 256 << 20
"""Bytes of request bodies that a worker keeps for looking into and repeating."""
MAX_IDLE_PER_CLIENT = 256
"""Connections of one address before those without a request are closed; a proxy in front has that
many."""
_RESUME = 0.9
_MANY = 100
WRITE_BUFFER = 32 << 10
"""Bytes that wait for a slow receiver before its sender is paused, beside one read of that."""


class IdleClient(Protocol):
    """A client connection."""

    @property
    def key(self) -> bytes:
        """`Client.key` of the address that it came from."""

    @property
    def idle(self) -> bool:
        """True if no request is under way on it, and none has begun to come."""

    @property
    def vacant(self) -> bool:
        """True if no request is under way on it, though one may have begun to come."""

    def make_way(self) -> None:
        """End soon unless it is needed at once: its client has too many."""

    def drain(self) -> None:
        """End as soon as nothing is under way."""

    def cut(self) -> None:
        """End now."""

    def end_if_banned(self) -> None:
        """Bans were added: end if one is on the client."""


class Arriving(Protocol):
    """A request whose body is kept, and has not come whole yet."""

    def crowded_out(self) -> None:
        """There is no memory for it: give back what it has."""


class Memory:
    """The bytes that kept bodies may take together.

    When they are used up, whoever has most of them gives up those that have not come whole yet, for
    a client that has less; so nobody is refused because of others who have more. Clients are known
    by their `Client.key`.
    """

    def __init__(self, limit: int = MAX_COLLECTED) -> None:
        self.limit = limit
        self._by_client: dict[bytes, int] = {}
        self._arriving: dict[bytes, dict[Arriving, None]] = {}
        self.used = 0

    def __repr__(self) -> str:
        return f"<Memory, {self.used} bytes of {self.limit}, {len(self._by_client)} clients>"

    def take(self, client: bytes, size: int) -> None:
        """Count these bytes in, whatever is left; see `has_room`."""
        self._by_client[client] = self._by_client.get(client, 0) + size
        self.used += size

    def give_back(self, client: bytes, size: int) -> None:
        """Count them out."""
        self.used -= size
        own = self._by_client[client] - size
        if own:
            self._by_client[client] = own
        else:
            del self._by_client[client]

    def has_room(self, client: bytes) -> bool:
        """True if the client may keep what it has taken; others may have to give up theirs."""
        while self.used > self.limit:
            own, of = self._by_client[client], self._by_client
            greediest = max(self._arriving, key=of.__getitem__, default=client)
            if of[greediest] <= own:
                return False
            request, _ = self._arriving[greediest].popitem()
            self.arrived(greediest, request)
            request.crowded_out()
        return True

    def arrives(self, client: bytes, request: Arriving) -> None:
        """More of a body has come that it may have to give up."""
        self._arriving.setdefault(client, {})[request] = None

    def arrived(self, client: bytes, request: Arriving) -> None:
        """It is complete, or not kept any more; harmless when it was not known."""
        requests = self._arriving.get(client)
        if requests is not None:
            requests.pop(request, None)
            if not requests:
                del self._arriving[client]


class Share:
    """The memory that one owner holds, on a client's account."""

    def __init__(self, memory: Memory, client: bytes) -> None:
        """`client`: its `Client.key`."""
        self._memory = memory
        self._client = client

    def change(self, size: int) -> bool:
        """Take so many bytes more, or give them back where negative; whether there is room."""
        if size < 0:
            self._memory.give_back(self._client, -size)
        elif size:
            self._memory.take(self._client, size)
            return self._memory.has_room(self._client)
        return True


class Connections:
    """The client connections of one worker.

    A client that has many ends its oldest ones without a request for its newest. When no more
    connections can be taken, those without a request are cut of the clients that have most, until
    there is room again or nobody has more than others.
    """

    def __init__(
        self,
        limit: int,
        accept: Callable[[bool], None] = lambda on: None,
        per_client: int = MAX_IDLE_PER_CLIENT,
    ) -> None:
        self.limit = limit
        self._accept = accept
        self._per_client = per_client
        self._by_client: dict[bytes, dict[IdleClient, None]] = {}
        """The oldest first."""
        self._size = 0
        self.full = False
        """True if new connections have to wait; then no connection is kept for a next request."""

    def __len__(self) -> int:
        return self._size

    def join(self, connection: IdleClient) -> None:
        """A client has come."""
        of_client = self._by_client.setdefault(connection.key, {})
        if len(of_client) >= self._per_client:
            self._end_oldest(of_client)
        of_client[connection] = None
        self._size += 1
        if self._size >= self.limit and not self.full:
            self.full = True
            self._accept(False)
            if not self._make_room():
                for idle in [connection for connection in self.all() if connection.idle]:
                    idle.drain()

    def leave(self, connection: IdleClient) -> None:
        """A client has gone; harmless when it had gone before."""
        of_client = self._by_client.get(connection.key, {})
        if connection not in of_client:
            return
        del of_client[connection]
        if not of_client:
            del self._by_client[connection.key]
        self._size -= 1
        if self.full and self._size <= self.limit * _RESUME:
            self.full = False
            self._accept(True)

    def replace(self, connection: IdleClient, other: IdleClient) -> None:
        """Another object handles the client's connection now."""
        of_client = self._by_client[connection.key]
        del of_client[connection]
        of_client[other] = None

    def all(self) -> list[IdleClient]:
        """Everybody who is there."""
        return [
            connection for connections in self._by_client.values() for connection in connections
        ]

    @staticmethod
    def _end_oldest(connections: dict[IdleClient, None]) -> None:
        oldest = next((connection for connection in connections if connection.vacant), None)
        if oldest is not None:
            oldest.make_way()
            del connections[oldest]  # another one is next
            connections[oldest] = None

    def _make_room(self) -> bool:
        """Cut connections of whoever has most; whether there is room when these are gone."""
        excess = self._size - int(self.limit * _RESUME)
        vacant = {
            key: [d for d in connections if d.vacant]
            for key, connections in self._by_client.items()
        }
        most = [(-len(connections), key) for key, connections in self._by_client.items()]
        heapify(most)
        cut: list[IdleClient] = []
        while most and len(cut) < excess and most[0][0] < -1:
            size, key = most[0]
            connections = vacant[key]
            if connections:
                cut.append(connections.pop(0))
                heapreplace(most, (size + 1, key))
            else:
                heappop(most)
        for connection in cut:
            connection.cut()
        return len(cut) >= excess


class Trimmer:
    """Gives freed memory back to the system after a crowd has left.

    glibc keeps what was freed between blocks that are still in use: 140 MB after a thousand
    stalled streams. malloc_trim(3) returns it.
    """

    def __init__(self) -> None:
        self._most = 0
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def look(self, connections: int) -> None:
        """To be called now and then with the number of connections."""
        self._most = max(self._most, connections)
        if self._trim is not None and self._most - connections > _MANY:
            self._most = connections
            self._trim(0)


def handshake_limit() -> int:
    """Connections whose TLS handshake or PROXY header may be awaited at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(MOST_HANDSHAKES, (soft - RESERVED_DESCRIPTORS) // 8))


def connection_limit(handshakes: bool = False) -> int:
    """Client connections that the descriptors allow: each may need another one to a mirror.

    `handshakes`: there are also those that are not clients yet (`handshake_limit`).
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = RESERVED_DESCRIPTORS + (handshake_limit() if handshakes else 0)
    return max(1, (soft - reserved) // 2)


def raise_descriptor_limit() -> None:
    """Use as many descriptors as the system allows this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
