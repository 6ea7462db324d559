"""Renderings: made once, in steps with pauses between them, and never without a bound."""

import asyncio
from collections.abc import Callable

import pytest

from dashboard.common import renderings
from dashboard.common.answers import Answer, plain
from dashboard.common.renderings import KEPT, MOST_WAITING, REST, Busy, Renderings
from dashboard.common.steps import STEP, Steps


class Scene:
    """A cache whose steps take a millisecond each, by its own clock."""

    def __init__(self) -> None:
        self.now, self.spent, self.made = 100.0, 0.0, 0
        self.rests: list[float] = []
        self.cache = Renderings(lambda: self.now, self.pace)

    def pace(self) -> float:
        return self.spent

    def page(self, steps: int = 1) -> Callable[[float], Steps[Answer]]:
        def make(now: float) -> Steps[Answer]:
            self.made += 1
            for _ in range(steps):
                self.spent += 0.001
                yield
            return plain(f"made at {now}")

        return make


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()

    async def rest(seconds: float) -> None:
        made.spent += seconds
        made.rests.append(seconds)
        await _sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    monkeypatch.setattr(renderings, "PATIENCE", 600.0)  # on no machine is a reader turned away
    return made


_sleep = asyncio.sleep


def _in_the_making() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "page"]


async def test_readers_of_one_moment_share_one_rendering(scene):
    answers = await asyncio.gather(*(scene.cache.get("a", scene.page()) for _ in range(500)))
    assert scene.made == 1
    assert len({answer.tag for answer in answers}) == 1
    await scene.cache.get("a", scene.page())
    assert scene.made == 1
    scene.now += 1
    assert b"101" in (await scene.cache.get("a", scene.page())).body
    assert scene.made == 2


async def test_a_page_however_large_leaves_the_loop_alone_after_each_step(scene):
    await scene.cache.get("a", scene.page(steps=100))
    worked = 0.1
    assert len(scene.rests) >= worked / (STEP + 0.001)
    assert sum(scene.rests) == pytest.approx(REST * worked, rel=0.05)


async def test_a_page_that_waits_for_its_turn_is_refused_when_there_are_too_many(scene):
    asked = [asyncio.create_task(scene.cache.get(i, scene.page())) for i in range(MOST_WAITING)]
    await _sleep(0)
    with pytest.raises(Busy):
        await scene.cache.get("one more", scene.page())
    assert (await scene.cache.get(0, scene.page())).status == 200, "which is being made already"
    await asyncio.gather(*asked)
    assert (await scene.cache.get("one more", scene.page())).status == 200


async def test_a_busy_reader_gets_the_last_rendering(scene):
    await scene.cache.get("front", scene.page())
    scene.now += 10
    asked = [asyncio.create_task(scene.cache.get(i, scene.page())) for i in range(MOST_WAITING)]
    await _sleep(0)
    assert b"100" in (await scene.cache.get("front", scene.page())).body
    await asyncio.gather(*asked)


async def test_a_rendering_that_takes_too_long_is_not_waited_for(scene, monkeypatch):
    monkeypatch.setattr(renderings, "PATIENCE", 0.0)
    with pytest.raises(Busy):
        await scene.cache.get("a", scene.page(steps=50))
    monkeypatch.setattr(renderings, "PATIENCE", 10.0)
    assert (await scene.cache.get("a", scene.page())).status == 200
    assert scene.made == 1, "it was finished for the next reader"


async def test_answers_are_kept_within_a_bound_and_the_used_ones_stay(scene):
    for number in range(3 * KEPT):
        await scene.cache.get("front", scene.page())
        await scene.cache.get(number, scene.page())
    assert scene.made == 3 * KEPT + 1
    kept = range(3 * KEPT - (KEPT - 1), 3 * KEPT)
    for number in ("front", *kept):
        await scene.cache.get(number, scene.page())
    assert scene.made == 3 * KEPT + 1
    await scene.cache.get(kept[0] - 1, scene.page())
    assert scene.made == 3 * KEPT + 2, "which was forgotten"


async def test_a_reader_who_leaves_spoils_nothing(scene):
    leaving = asyncio.create_task(scene.cache.get("a", scene.page(steps=9)))
    staying = asyncio.create_task(scene.cache.get("a", scene.page(steps=9)))
    await _sleep(0)
    leaving.cancel()
    assert (await staying).status == 200
    assert not _in_the_making()


async def test_a_failure_is_told_to_all_who_wait_and_then_forgotten(scene):
    def fail(now: float) -> Steps[Answer]:
        yield
        raise RuntimeError("broken")

    results = await asyncio.gather(
        *(scene.cache.get("a", fail) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [RuntimeError] * 3
    assert (await scene.cache.get("a", scene.page())).status == 200


async def test_nothing_goes_on_after_the_end(scene):
    asked = asyncio.create_task(scene.cache.get("a", scene.page(steps=10**6)))
    await _sleep(0)
    await scene.cache.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not _in_the_making()
