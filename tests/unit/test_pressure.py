"""What a worker can carry, and who makes way."""

from __future__ import annotations

from router.body import RequestBody
from router.pressure import Crowd, Memory
from router.wire.request import RequestHead


class FakeDoor:
    def __init__(self, client: str, idle: bool = False) -> None:
        self.client = client
        self.idle = idle
        self.drained = False

    def drain(self) -> None:
        self.drained = True

    def end_if_banned(self) -> None:
        raise AssertionError("nobody is banned for room")

    def cut(self) -> None:
        raise AssertionError("nobody is cut for room")


def test_accepting_pauses_at_the_limit_and_goes_on_when_there_is_room() -> None:
    said: list[bool] = []
    crowd = Crowd(10, said.append)
    doors = [FakeDoor(f"192.0.2.{i}") for i in range(10)]
    for door in doors[:9]:
        crowd.join(door)
    assert said == []
    crowd.join(doors[9])
    assert said == [False]
    crowd.leave(doors[0])
    assert said == [False, True]
    assert len(crowd) == 9


def test_at_the_limit_idle_connections_make_way_for_those_who_wait() -> None:
    crowd = Crowd(3)
    doors = [FakeDoor("a", idle=True), FakeDoor("b"), FakeDoor("c", idle=True)]
    for door in doors:
        crowd.join(door)
    assert [door.drained for door in doors] == [True, False, True]
    assert crowd.full


def test_a_greedy_clients_oldest_idle_connection_makes_way_for_its_newest() -> None:
    crowd = Crowd(100, per_client=3)
    doors = [FakeDoor("greedy"), FakeDoor("greedy", True), FakeDoor("greedy", True)]
    other = FakeDoor("other", True)
    for door in (other, *doors, FakeDoor("greedy")):
        crowd.join(door)
    assert [door.drained for door in doors] == [False, True, False]
    assert not other.drained


def test_who_leaves_twice_is_counted_once() -> None:
    crowd = Crowd(10)
    door = FakeDoor("a")
    crowd.join(door)
    crowd.leave(door)
    crowd.leave(door)
    assert len(crowd) == 0
    assert crowd.all() == []


def test_a_body_that_there_is_no_memory_for_is_streamed_and_its_bytes_are_given_back() -> None:
    memory = Memory(100)
    head = RequestHead(b"POST", b"/v1/x", [], {b"content-type": b"application/json"}, chunked=True)
    first, second = (RequestBody(head, True, 1000, memory) for _ in range(2))
    for body in (first, second):
        body.size = 80
        body.keep(b"x" * 80)
    assert (first.collected, second.collected) == (True, False)
    assert second.to_send() == [b"50\r\n" + b"x" * 80 + b"\r\n"]
    assert memory.used == 80
    first.drop()
    second.drop()
    assert memory.used == 0
