"""Waiting must give up in time, say what it waited for, and not hide other failures."""

import asyncio

import pytest

from tests.testkit.wait import NotReached, wait_until, wait_until_async


def test_the_value_that_ended_the_wait_is_returned():
    values = iter([None, 0, "here"])
    assert wait_until(lambda: next(values)) == "here"


def test_a_condition_that_never_comes_true_is_named_with_its_last_value():
    with pytest.raises(NotReached, match=r"the cow; the last value was \[\]"):
        wait_until(lambda: [], timeout=0.02, what="the cow")


def test_an_exception_of_the_condition_is_not_swallowed():
    def condition() -> bool:
        raise KeyError("broken")

    with pytest.raises(KeyError):
        wait_until(condition)


async def test_waiting_lets_the_loop_run():
    arrived = asyncio.Event()
    asyncio.get_running_loop().call_soon(arrived.set)
    assert await wait_until_async(arrived.is_set)


async def test_a_coroutine_that_hangs_is_given_up_at_the_deadline():
    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(NotReached, match="no answer"):
        await wait_until_async(never, timeout=0.02)


async def test_a_timeout_inside_the_condition_is_told_from_ours():
    async def condition() -> bool:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await wait_until_async(condition)
