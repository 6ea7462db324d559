"""Capacity of a worker, and the connections that make way."""

from __future__ import annotations

from router.admission.capacity import Connections, Memory
from router.upstream.request_body import EARLY, PIECE, RequestBody
from router.wire.request import RequestHead


class FakeConnection:
    def __init__(self, client: str, idle: bool = False, half: bool = False) -> None:
        """`half`: half of a head has come."""
        self.key = client.encode()
        self.idle = idle
        self.vacant = idle or half
        self.drained = self.makes_way = self.is_cut = False

    def drain(self) -> None:
        self.drained = True

    def make_way(self) -> None:
        self.makes_way = True

    def end_if_banned(self) -> None:
        raise AssertionError("nobody is banned for room")

    def cut(self) -> None:
        self.is_cut = True


def test_accepting_pauses_at_the_limit_and_goes_on_when_there_is_room() -> None:
    said: list[bool] = []
    kept = Connections(10, said.append)
    connections = [FakeConnection(f"192.0.2.{i}") for i in range(10)]
    for connection in connections[:9]:
        kept.join(connection)
    assert said == []
    kept.join(connections[9])
    assert said == [False]
    kept.leave(connections[0])
    assert said == [False, True]
    assert len(kept) == 9


def test_at_the_limit_idle_connections_make_way_for_those_who_wait() -> None:
    kept = Connections(3)
    connections = [
        FakeConnection("a", idle=True),
        FakeConnection("b"),
        FakeConnection("c", idle=True),
    ]
    for connection in connections:
        kept.join(connection)
    assert [connection.drained for connection in connections] == [True, False, True]
    assert kept.full


def test_at_the_limit_only_those_who_have_most_make_way_and_only_where_nothing_runs() -> None:
    kept = Connections(20)
    modest = [FakeConnection("modest", idle=True) for _ in range(4)]
    busy = [FakeConnection("busy") for _ in range(8)]
    greedy = [FakeConnection("greedy"), *(FakeConnection("greedy", half=True) for _ in range(7))]
    for connection in (*modest, *busy, *greedy):
        kept.join(connection)
    assert [connection.is_cut for connection in greedy] == [False, True, True, *([False] * 5)]
    assert not any(connection.is_cut or connection.drained for connection in (*modest, *busy))


def test_a_greedy_clients_oldest_connection_makes_way_for_its_newest() -> None:
    kept = Connections(100, per_client=4)
    connections = [FakeConnection("greedy"), *(FakeConnection("greedy", True) for _ in range(2))]
    connections.append(FakeConnection("greedy", half=True))
    other = FakeConnection("other", True)
    for connection in (other, *connections, FakeConnection("greedy"), FakeConnection("greedy")):
        kept.join(connection)
    assert [connection.makes_way for connection in connections] == [False, True, True, False]
    assert not other.makes_way


def test_a_connection_that_leaves_twice_is_counted_once() -> None:
    kept = Connections(10)
    connection = FakeConnection("a")
    kept.join(connection)
    kept.leave(connection)
    kept.leave(connection)
    assert len(kept) == 0
    assert kept.all() == []


def test_a_body_that_there_is_no_memory_for_is_streamed_and_its_bytes_are_given_back() -> None:
    memory = Memory(3 * EARLY)
    head = RequestHead(b"POST", b"/v1/x", [], {b"content-type": b"application/json"}, chunked=True)
    first, second = (RequestBody(head, True, 1 << 20, memory, b"a") for _ in range(2))
    for body in (first, second):
        body.size = 2 * EARLY
        body.keep(b"x" * body.size)
    assert (first.collected, second.collected) == (True, False)
    assert second.to_send() == [b"20000\r\n" + b"x" * 2 * EARLY + b"\r\n"]
    assert memory.used == 2 * EARLY + PIECE
    first.drop()
    second.drop()
    assert memory.used == 0


class FakeRequest:
    """A request that keeps so many bytes until it is crowded out."""

    def __init__(self, memory: Memory, client: bytes, size: int) -> None:
        self.memory, self.client, self.size = memory, client, size
        memory.take(client, size)
        memory.arrives(client, self)

    def crowded_out(self) -> None:
        self.memory.give_back(self.client, self.size)
        self.size = 0


def test_the_client_with_most_of_the_memory_gives_way_to_one_with_less() -> None:
    memory = Memory(1000)
    greedy = [FakeRequest(memory, b"greedy", 200) for _ in range(3)]
    modest = [FakeRequest(memory, b"modest", 100) for _ in range(3)]
    assert memory.has_room(b"modest")
    newcomer = FakeRequest(memory, b"newcomer", 300)
    assert memory.has_room(b"newcomer")
    assert [each.size for each in greedy] == [200, 200, 0]
    assert [each.size for each in modest] == [100, 100, 100]
    newcomer.crowded_out()
    assert memory.used == 700


def test_the_client_with_most_of_the_memory_gets_no_more() -> None:
    memory = Memory(1000)
    modest = FakeRequest(memory, b"modest", 400)
    greedy = [FakeRequest(memory, b"greedy", 250) for _ in range(3)]
    assert not memory.has_room(b"greedy")
    assert memory.has_room(b"modest")
    assert (modest.size, [each.size for each in greedy]) == (400, [250, 250, 0])


def test_a_complete_body_is_not_evicted() -> None:
    memory = Memory(1000)
    whole = FakeRequest(memory, b"greedy", 900)
    memory.arrived(b"greedy", whole)
    FakeRequest(memory, b"newcomer", 200)
    assert not memory.has_room(b"newcomer")
    assert whole.size == 900


def test_a_body_in_very_many_pieces_counts_with_what_they_cost() -> None:
    memory = Memory(1 << 20)
    head = RequestHead(b"POST", b"/v1/x", [], {b"content-type": b"application/json"}, chunked=True)
    body = RequestBody(head, True, 1 << 20, memory, b"a")
    for size in range(4, 80_004, 4):
        body.size = size
        body.keep(b"xxxx")
    assert not body.collected, "20,000 pieces take more than a MiB"
    assert body.crowded_out
    body.drop()
    assert memory.used == 0
