"""Control's side of the feeds: who says hello is told all, and numbers outlive their process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from monitor.common import ipc
from monitor.common.ipc import Channel, Message, channel_pair
from monitor.common.metric_registry import Family, MergedMetrics
from router.control.worker_channels import WorkerChannels
from router.control.worker_questions import Questions
from tests.testkit.wait import wait_until_async

FAMILIES = (Family("requests", "counter", "…"), Family("doors", "gauge", "…"))


class Workers:
    """A hub, and the workers' ends of its channels."""

    def __init__(self, count: int = 2) -> None:
        pairs = [channel_pair() for _ in range(count)]
        self.ends = [Channel(theirs) for _, theirs in pairs]
        self.channels = [Channel(ours) for ours, _ in pairs]
        self.merged = MergedMetrics(FAMILIES)
        self.failures: list[str] = []
        self.bans: list[str] = []
        self.left: list[str] = []
        self.explained = 0
        self.hub = WorkerChannels(
            self.channels, self.merged, self.state, self.hear, self.left.append
        )
        self.questions = Questions(self.hub)

    def state(self) -> list[Message]:
        return [{"type": "state"}, {"type": "bans", "rows": list(self.bans)}]

    def hear(self, message: Message) -> None:
        if message["type"] == "explained":
            self.questions.hear(message)
            self.explained += 1
        else:
            self.failures.extend(message["mirrors"])

    def say(self, slot: int, **message: Any) -> None:
        self.ends[slot].send(message)

    def sums(self) -> dict[str, float]:
        return {s.family.name: s.cells[0] for s in self.merged.frozen().series()}

    async def see(self, **expected: float) -> None:
        await wait_until_async(lambda: self.sums() == expected, 60, f"{expected}")

    def close(self) -> None:
        self.hub.stop()
        for channel in (*self.ends, *self.channels):
            channel.close()


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers()
    workers.hub.start(asyncio.get_running_loop())
    yield workers
    workers.close()


async def test_a_successor_waits_for_the_word_of_every_worker(workers: Workers) -> None:
    waiting = asyncio.create_task(workers.hub.all_met(60))
    workers.say(0, type="met", process="0-1-1", mirrors=["hk"])
    await wait_until_async(lambda: workers.failures == ["hk"], 60, "the first")
    assert not waiting.done()
    workers.say(1, type="met", process="1-2-1", mirrors=[])
    await asyncio.wait_for(waiting, 60)
    with contextlib.closing(Workers()) as silent:
        await silent.hub.all_met(0.01)


def rows(requests: float, doors: float) -> list[list[Any]]:
    return [["requests", [], requests], ["doors", [], doors]]


async def told(end: Channel, count: int) -> list[Message]:
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(end.receive())
        return len(messages) >= count

    await wait_until_async(enough, 60, f"{count} messages")
    return messages


async def test_a_new_control_brings_everybody_up_to_date(workers: Workers):
    for end in workers.ends:
        assert await told(end, 2) == [{"type": "state"}, {"type": "bans", "rows": []}]


async def test_a_worker_that_says_hello_is_told_the_state_of_now(workers: Workers):
    await told(workers.ends[0], 2)
    workers.bans.append("192.0.2.0/24")
    workers.say(0, type="hello", process="0-17-1", pid=17, form="pure")
    bans = {"type": "bans", "rows": ["192.0.2.0/24"]}
    assert await told(workers.ends[0], 2) == [{"type": "state"}, bans]
    assert workers.hub.workers()[0] == {
        "slot": 0,
        "pid": 17,
        "alive": True,
        "form": "pure",
    }
    assert workers.hub.workers()[1] == {
        "slot": 1,
        "pid": 0,
        "alive": False,
        "form": "",
    }


async def test_totals_are_replaced_by_newer_ones_and_added_over_workers(workers: Workers):
    workers.say(0, type="totals", process="0-17-1", rows=rows(5, 2))
    workers.say(1, type="totals", process="1-18-1", rows=rows(7, 3))
    workers.say(0, type="totals", process="0-17-1", rows=rows(6, 1))
    await workers.see(requests=13, doors=4)
    assert [worker["pid"] for worker in workers.hub.workers()] == [17, 18]


async def test_the_counters_of_a_dead_worker_stay_and_its_gauges_go(workers: Workers):
    workers.say(0, type="totals", process="0-17-1", rows=rows(5, 2))
    workers.say(0, type="hello", process="0-19-2", pid=19)
    await workers.see(requests=5)
    workers.say(0, type="totals", process="0-19-2", rows=rows(1, 1))
    await workers.see(requests=6, doors=1)


async def test_failures_are_passed_on(workers: Workers):
    workers.say(1, type="failures", mirrors=["alpha", "beta"])
    await wait_until_async(lambda: workers.failures == ["alpha", "beta"])


async def test_a_worker_that_missed_a_message_gets_the_whole_state_instead_of_the_next(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    await told(workers.ends[0], 2)
    monkeypatch.setattr(ipc, "MAX_QUEUED", 0)
    workers.hub.broadcast({"type": "ban"})
    assert not workers.hub.workers()[0]["alive"]
    monkeypatch.undo()
    workers.bans.append("192.0.2.1/32")
    workers.hub.broadcast({"type": "snapshot"})
    bans = {"type": "bans", "rows": ["192.0.2.1/32"]}
    assert await told(workers.ends[0], 2) == [{"type": "state"}, bans]
    workers.hub.broadcast({"type": "snapshot"})
    assert await told(workers.ends[0], 1) == [{"type": "snapshot"}]


async def test_a_worker_that_missed_a_piece_gets_the_state_before_any_more_of_it(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    await told(workers.ends[1], 2)
    workers.say(1, type="totals", process="1-18-1", rows=[])
    await wait_until_async(lambda: workers.hub.processes()[1] == "1-18-1")
    monkeypatch.setattr(ipc, "MAX_QUEUED", 10)
    pieces = [ipc.encoded({"n": 1}), ipc.encoded({"n": "x" * 30}), ipc.encoded({"n": 3})]
    workers.hub.send_encoded("1-18-1", pieces)
    assert await told(workers.ends[1], 1) == [{"n": 1}]
    assert not workers.hub.workers()[1]["alive"]
    workers.hub.send("1-18-1", {"n": 4})
    assert workers.ends[1].receive() == [], "it must hear the state before anything else"
    monkeypatch.undo()
    workers.hub.send("1-18-1", {"n": 5})
    state = [{"type": "state"}, {"type": "bans", "rows": []}]
    assert await told(workers.ends[1], 3) == [*state, {"n": 5, "to": "1-18-1"}]


async def test_the_last_totals_are_taken_when_control_stops():
    workers = Workers()
    workers.hub.start(asyncio.get_running_loop())
    workers.say(0, type="totals", process="0-17-1", rows=rows(5, 2))
    workers.close()
    assert workers.sums() == {"requests": 5, "doors": 2}


async def test_a_message_to_one_worker_says_to_which_process(workers: Workers):
    for end in workers.ends:
        await told(end, 2)
    workers.say(1, type="totals", process="1-18-1", rows=[])
    await wait_until_async(lambda: workers.hub.processes() == {0: "", 1: "1-18-1"})
    workers.hub.send("1-18-1", {"type": "breaker"})
    workers.hub.send("1-9-0", {"type": "breaker"})
    assert await told(workers.ends[1], 1) == [{"type": "breaker", "to": "1-18-1"}]
    assert workers.ends[0].receive() == workers.ends[1].receive() == []


async def test_a_process_has_left_when_another_one_is_in_its_place(workers: Workers):
    workers.say(0, type="failures", process="0-17-1", mirrors=["a"])
    workers.say(0, type="failures", process="0-17-1", mirrors=["b"])
    await wait_until_async(lambda: workers.failures == ["a", "b"])
    assert workers.left == []
    workers.say(0, type="hello", process="0-19-2", pid=19)
    await wait_until_async(lambda: workers.left == ["0-17-1"])


async def answer(workers: Workers, slot: int, process: str, **more: Any) -> None:
    """Answer the next question as this worker."""
    seen = await told(workers.ends[slot], 1)
    (question,) = [each for each in seen if each["type"] == "explain"]
    workers.say(slot, type="explained", process=process, number=question["number"], **more)


async def test_all_workers_are_asked_and_nobody_waits_for_the_silent(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    workers.questions.patience = 60
    for slot, process in enumerate(("0-17-1", "1-18-1")):
        await told(workers.ends[slot], 2)
        workers.say(slot, type="totals", process=process, rows=[])
    await wait_until_async(lambda: workers.hub.processes() == {0: "0-17-1", 1: "1-18-1"})
    asking = asyncio.create_task(workers.questions.ask({"type": "explain"}))
    await asyncio.gather(answer(workers, 0, "0-17-1", x=1), answer(workers, 1, "1-18-1", x=2))
    answers = await asking
    assert {slot: each["x"] for slot, each in answers.by_worker.items()} == {0: 1, 1: 2}
    assert answers.silent == []
    limits = [asyncio.timeout(60)]
    monkeypatch.setattr(asyncio, "timeout", lambda seconds: limits[0])
    asking = asyncio.create_task(workers.questions.ask({"type": "explain"}))
    await answer(workers, 1, "1-18-1", x=3)
    await wait_until_async(lambda: workers.explained == 3, 60)
    limits[0].reschedule(0)  # its time is over, however fast this machine is
    answers = await asking
    assert (list(answers.by_worker), answers.silent) == ([1], [0])
    await answer(workers, 0, "0-17-1", x=4)  # too late: dropped
    await wait_until_async(lambda: workers.explained == 4)


def test_numbers_that_are_read_later_are_those_of_the_moment_that_was_asked_for():
    merged = MergedMetrics(FAMILIES)
    name = next(f.name for f in FAMILIES if f.type == "counter" and not f.labels)
    merged.update("a", [[name, [], 1.0]])
    merged.update("b", [[name, [], 2.0]])
    merged.end("b")
    before = merged.frozen()
    merged.update("a", [[name, [], 10.0]])
    merged.end("a")
    merged.update("c", [[name, [], 5.0]])
    assert [series.cells for series in before.series()] == [[3.0]]
    assert [series.cells for series in merged.frozen().series()] == [[17.0]]
