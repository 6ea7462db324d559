"""A worker's bans are control's, whatever it missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from monitor.common.bans import Ban
from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from router.admission.ban_list import rows_of
from router.admission.client_address import parse
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.process.replica import ASK_AGAIN, Replica, whole
from router.process.worker_lists import ReplicatedBans


class Worker:
    """A follower, and how often it asked and was complete."""

    def __init__(self) -> None:
        self.asked = self.completed = 0
        self.now = 100.0
        self.context = WorkerContext(
            WorkerConfig(), MetricRegistry(FAMILIES), hand_over=self._nobody
        )
        followed = ReplicatedBans(self.context)
        self.bans = Replica(followed, self._ask, self._complete, lambda: self.now)

    def _nobody(self) -> asyncio.Protocol:
        raise AssertionError("nobody is handed over")

    def _ask(self) -> None:
        self.asked += 1

    def _complete(self) -> None:
        self.completed += 1

    def hear(self, messages: Iterator[Message]) -> None:
        for message in messages:
            self.bans.piece(message)

    def refuses(self, address: str) -> bool:
        client = parse(address)
        assert client is not None
        return self.context.bans.find(client, 1.0) is not None


def _whole(version: int, *networks: str) -> Iterator[Message]:
    """The list as control sends it, in pieces of two."""
    rows = rows_of(Ban("b" * 12, network, 0.0, None, "x", "operator") for network in networks)
    some = whole("bans", rows, version, 2)
    yield from json.loads(json.dumps(some))


def _ban(version: int, network: str) -> Message:
    return {"rows": [(network, None, "b" * 12, "x")], "version": version}


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_new_worker_asks_once_and_is_informed_when_all_pieces_are_there(worker: Worker):
    worker.bans.state("c1", 3)
    worker.bans.state("c1", 3)  # to all, and to whom said hello
    assert worker.asked == 1
    *first, last = _whole(3, "192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32")
    worker.hear(iter(first))
    assert (worker.completed, worker.refuses("192.0.2.1")) == (0, False)
    worker.hear(iter([last]))
    assert (worker.completed, worker.refuses("192.0.2.1")) == (1, True)
    worker.bans.state("c1", 3)
    assert worker.asked == 1


def test_changes_are_followed_without_asking(worker: Worker):
    worker.bans.state("c1", 3)
    worker.hear(_whole(3, "192.0.2.1/32"))
    worker.bans.add(_ban(4, "192.0.2.2/32"))
    worker.bans.remove({"networks": ["192.0.2.1/32"], "version": 5})
    worker.bans.state("c1", 5)
    assert worker.asked == 1
    assert [worker.refuses(f"192.0.2.{i}") for i in (1, 2)] == [False, True]


def test_a_worker_that_missed_a_change_asks_for_all_with_the_next_one(worker: Worker):
    worker.bans.state("c1", 3)
    worker.hear(_whole(3))
    worker.bans.add(_ban(5, "192.0.2.5/32"))  # the fourth was lost
    assert worker.refuses("192.0.2.5")
    assert worker.asked == 2
    worker.bans.add(_ban(6, "192.0.2.6/32"))
    worker.bans.state("c1", 6)
    assert worker.asked == 3, "it may not have been heard"
    worker.hear(_whole(6))
    worker.bans.look()
    assert worker.asked == 3


def test_a_worker_that_missed_the_last_change_asks_when_it_learns_the_version_of_control(
    worker: Worker,
):
    worker.bans.state("c1", 3)
    worker.hear(_whole(3))
    worker.bans.state("c1", 4)
    assert worker.asked == 2


def test_messages_for_a_former_process_cause_no_question(worker: Worker):
    worker.bans.add(_ban(5, "192.0.2.5/32"))
    assert worker.asked == 0


def test_a_list_without_its_first_or_a_middle_piece_is_no_list(worker: Worker):
    worker.bans.state("c1", 3)
    pieces = list(_whole(3, *(f"192.0.2.{i}/32" for i in range(1, 7))))
    worker.hear(iter(pieces[1:]))
    worker.hear(iter([pieces[0], pieces[2]]))
    assert (worker.completed, worker.refuses("192.0.2.6")) == (0, False)
    worker.bans.look()
    assert worker.asked == 1
    worker.now += ASK_AGAIN
    worker.bans.look()
    assert worker.asked == 2
    worker.hear(iter(pieces))
    assert (worker.completed, worker.refuses("192.0.2.6")) == (1, True)


def test_another_control_counts_anew(worker: Worker):
    worker.bans.state("c1", 3)
    worker.hear(_whole(3, "192.0.2.1/32"))
    worker.bans.state("c2", 3)
    assert worker.asked == 2
    assert worker.refuses("192.0.2.1"), "until the list has come"
    worker.hear(_whole(3, "192.0.2.2/32"))
    assert [worker.refuses(f"192.0.2.{i}") for i in (1, 2)] == [False, True]


def test_an_unfinished_list_is_forgotten_and_a_lost_answer_asked_for_again(worker: Worker):
    worker.bans.state("c1", 3)
    first, *_ = _whole(3, "192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32")
    worker.hear(iter([first]))
    worker.now += ASK_AGAIN
    worker.bans.state("c1", 3)
    assert worker.asked == 2
    worker.hear(_whole(3, "192.0.2.9/32"))
    assert [worker.refuses(f"192.0.2.{i}") for i in (1, 9)] == [False, True]


def test_pieces_of_two_lists_are_no_list(worker: Worker):
    worker.bans.state("c1", 3)
    networks = [f"192.0.2.{i}/32" for i in range(1, 5)]
    worker.hear(iter(list(_whole(3, *networks))[:1]))
    worker.hear(iter(list(_whole(4, *networks))[1:]))
    assert (worker.completed, worker.refuses("192.0.2.4")) == (0, False)
