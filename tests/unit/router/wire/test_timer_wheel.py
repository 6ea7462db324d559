"""Deadlines on the wheel."""

from __future__ import annotations

import asyncio

from router.wire.timer_wheel import NEVER, TimerWheel
from tests.testkit.clock import ManualClock
from tests.testkit.wait import wait_until_async


class Item:
    """Something that waits, and may do something to another when it expires."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expirations = 0
        self.ends: list[Item] = []
        self.aborted = False
        self.wheel: TimerWheel | None = None

    def expired(self) -> None:
        self.expirations += 1
        for other in self.ends:
            assert self.wheel is not None
            self.wheel.remove(other)

    def abort(self) -> None:
        self.aborted = True


class Raising(Item):
    """One whose deadline is handled badly."""

    def expired(self) -> None:
        raise RuntimeError("planted")


def _turn(wheel: TimerWheel) -> None:
    for _ in range(10):
        wheel.tick()


def test_a_deadline_is_noticed_within_one_turn_and_not_before() -> None:
    clock = ManualClock(100.0)
    wheel = TimerWheel(clock)
    items = [Item(105.0) for _ in range(100)]
    for item in items:
        wheel.add(item)
    clock.now = 104.9
    _turn(wheel)
    assert not any(item.expirations for item in items)
    clock.now = 105.0
    _turn(wheel)
    assert all(item.expirations == 1 for item in items)


def test_a_crowd_is_watched_whoever_is_in_it() -> None:
    clock = ManualClock(100.0)
    wheel = TimerWheel(clock)
    crowd: set[Item] = set()
    wheel.watch(crowd)
    here, gone = Item(105.0), Item(105.0)
    crowd |= {here, gone}
    assert len(wheel) == 2
    clock.now = 104.9
    _turn(wheel)
    crowd.discard(gone)
    assert here.expirations == 0
    clock.now = 105.0
    _turn(wheel)
    assert (here.expirations, gone.expirations) == (1, 0)


def test_a_moved_deadline_holds_and_never_is_never() -> None:
    clock = ManualClock(100.0)
    wheel = TimerWheel(clock)
    moved, never = Item(101.0), Item(NEVER)
    wheel.add(moved)
    wheel.add(never)
    moved.deadline = 200.0
    clock.now = 150.0
    _turn(wheel)
    assert (moved.expirations, never.expirations) == (0, 0)


def test_a_removed_timer_never_expires_and_may_be_removed_twice() -> None:
    clock = ManualClock(100.0)
    wheel = TimerWheel(clock)
    item = Item(0.0)
    wheel.add(item)
    wheel.add(item)
    assert len(wheel) == 1
    wheel.remove(item)
    wheel.remove(item)
    _turn(wheel)
    assert (len(wheel), item.expirations) == (0, 0)


def test_an_item_that_another_ended_in_the_same_tick_does_not_expire() -> None:
    wheel = TimerWheel(ManualClock(100.0))
    items = [Item(0.0) for _ in range(40)]
    for item in items:
        item.wheel = wheel
        item.ends = [other for other in items if other is not item]
        wheel.add(item)
    _turn(wheel)
    assert sum(item.expirations for item in items) == 1


async def test_a_started_wheel_turns_until_it_is_stopped() -> None:
    wheel = TimerWheel()
    item = Item(wheel.now)
    wheel.add(item)
    wheel.start(asyncio.get_running_loop())
    await wait_until_async(lambda: item.expirations > 0, what="the item to expire")
    wheel.stop()
    assert wheel.lag >= 0


async def test_an_item_that_raises_is_reported_and_ended_and_holds_up_no_other() -> None:
    reported: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    clock = ManualClock(100.0)
    wheel = TimerWheel(clock)
    items = [Raising(105.0) if at % 2 else Item(105.0) for at in range(100)]
    for item in items:
        wheel.add(item)
    clock.now = 105.0
    _turn(wheel)
    assert [item.aborted for item in items] == [isinstance(item, Raising) for item in items]
    assert all(item.expirations for item in items if not isinstance(item, Raising))
    assert len(reported) == 50
