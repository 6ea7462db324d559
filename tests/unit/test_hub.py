"""Control's side of the feeds: who says hello is told all, and numbers outlive their process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from monitor import feed
from monitor.feed import Channel, Message, channel_pair
from monitor.totals import Family, MergedTotals
from router.main.hub import Hub
from tests.support.wait import wait_until_async

FAMILIES = (Family("requests", "counter", "…"), Family("doors", "gauge", "…"))


class Workers:
    """A hub, and the workers' ends of its channels."""

    def __init__(self, count: int = 2) -> None:
        pairs = [channel_pair() for _ in range(count)]
        self.ends = [Channel(theirs) for _, theirs in pairs]
        self.channels = [Channel(ours) for ours, _ in pairs]
        self.merged = MergedTotals(FAMILIES)
        self.failures: list[str] = []
        self.bans: list[str] = []
        self.hub = Hub(self.channels, self.merged, self.state, self.hear)

    def state(self) -> list[Message]:
        return [{"type": "state"}, {"type": "bans", "rows": list(self.bans)}]

    def hear(self, message: Message) -> None:
        self.failures.extend(message["mirrors"])

    def say(self, slot: int, **message: Any) -> None:
        self.ends[slot].send(message)

    def sums(self) -> dict[str, float]:
        return {family.name: cells[0] for family, _, cells in self.merged.sums()}

    async def see(self, **expected: float) -> None:
        await wait_until_async(lambda: self.sums() == expected, 5, f"{expected}")

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


def rows(requests: float, doors: float) -> list[list[Any]]:
    return [["requests", [], requests], ["doors", [], doors]]


async def told(end: Channel, count: int) -> list[Message]:
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(end.receive())
        return len(messages) >= count

    await wait_until_async(enough, 5, f"{count} messages")
    return messages


async def test_a_new_control_brings_everybody_up_to_date(workers: Workers):
    for end in workers.ends:
        assert await told(end, 2) == [{"type": "state"}, {"type": "bans", "rows": []}]


async def test_a_worker_that_says_hello_is_told_the_state_of_now(workers: Workers):
    await told(workers.ends[0], 2)
    workers.bans.append("192.0.2.0/24")
    workers.say(0, type="hello", process="0-17-1", pid=17)
    bans = {"type": "bans", "rows": ["192.0.2.0/24"]}
    assert await told(workers.ends[0], 2) == [{"type": "state"}, bans]
    assert workers.hub.workers()[0] == {"slot": 0, "pid": 17, "alive": True}
    assert workers.hub.workers()[1] == {"slot": 1, "pid": 0, "alive": False}


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


async def test_who_missed_a_message_is_told_the_whole_state_instead_of_the_next(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    await told(workers.ends[0], 2)
    monkeypatch.setattr(feed, "MAX_QUEUED", 0)
    workers.hub.broadcast({"type": "ban"})
    assert not workers.hub.workers()[0]["alive"]
    monkeypatch.undo()
    workers.bans.append("192.0.2.1/32")
    workers.hub.broadcast({"type": "snapshot"})
    bans = {"type": "bans", "rows": ["192.0.2.1/32"]}
    assert await told(workers.ends[0], 2) == [{"type": "state"}, bans]
    workers.hub.broadcast({"type": "snapshot"})
    assert await told(workers.ends[0], 1) == [{"type": "snapshot"}]


async def test_the_last_totals_are_taken_when_control_stops():
    workers = Workers()
    workers.hub.start(asyncio.get_running_loop())
    workers.say(0, type="totals", process="0-17-1", rows=rows(5, 2))
    workers.close()
    assert workers.sums() == {"requests": 5, "doors": 2}
