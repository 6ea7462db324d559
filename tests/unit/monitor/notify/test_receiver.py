"""Attempts to deliver: repeated where that may help, given up where it cannot, none lost."""

import asyncio
import itertools
import random
from collections.abc import Callable

from monitor.common.languages import Text
from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from monitor.notify import metrics
from monitor.notify.config import Kind, NotifyConfig
from monitor.notify.formats import Outcome
from monitor.notify.message import Message, Style
from monitor.notify.notice import Notice
from monitor.notify.receiver import GIVE_UP_AFTER, LONGEST_PAUSE, Receiver
from tests.testkit.clock import ManualClock

TAKEN, BUSY = Outcome(), Outcome("HTTP 503")
CONFIG = read(
    NotifyConfig, {"url": "https://hooks.example.com/x", "group": 0, "on": ["down", "up"]}
)


class Scene:
    """A receiver whose service answers as it is told, on a clock that the test moves."""

    def __init__(self, answer: Callable[[int], Outcome], config: NotifyConfig = CONFIG) -> None:
        self.time = ManualClock()
        self.attempts: list[tuple[float, str]] = []
        self.totals = MetricRegistry(metrics.FAMILIES)

        async def send(message: Message, to: NotifyConfig) -> Outcome:
            self.attempts.append((self.time.now, message.text))
            return answer(len(self.attempts))

        self.receiver = Receiver(
            config,
            Style("en"),
            send,
            self.totals,
            clock=self.time,
            monotonic=self.time,
            sleep=self.time.sleep,
            rng=random.Random(1),
        )

    def tell(self, subject: str = "hk", kind: Kind = Kind.down) -> None:
        self.receiver.tell(Notice(kind, subject, self.time.now, Text(subject, subject)))

    async def run(self, seconds: float) -> None:
        task = asyncio.create_task(self.receiver.run())
        try:
            for _ in range(int(seconds / 10)):
                await self.time.run(asyncio.sleep(0))
                self.time.advance(10.0, ticks=0)
                for _ in range(5):
                    await asyncio.sleep(0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def count(self, result: str) -> float:
        return self.totals.get(metrics.NOTIFICATIONS.name, ("json", result))


async def test_a_message_is_tried_again_with_growing_pauses_until_it_is_taken():
    scene = Scene(lambda attempt: TAKEN if attempt == 5 else BUSY)
    scene.tell()
    await scene.run(1200)
    times = [at for at, _ in scene.attempts]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == 5
    assert all(3.0 <= pause <= LONGEST_PAUSE + 10.0 for pause in pauses)
    assert pauses == sorted(pauses)
    assert (scene.count("failed"), scene.count("sent"), scene.count("dropped")) == (4, 1, 0)
    assert scene.receiver.problem == ""


async def test_notices_during_a_retry_wait_and_follow_it():
    scene = Scene(lambda attempt: TAKEN if attempt > 3 else BUSY)
    scene.tell("hk")
    await scene.run(20)
    scene.tell("jp")
    scene.tell("sg")
    await scene.run(600)
    assert "jp" not in scene.attempts[3][1]
    assert all(name in scene.attempts[4][1] for name in ("jp", "sg"))
    assert len(scene.attempts) == 5


async def test_a_permanent_refusal_is_given_up_at_once_and_logged(caplog):
    scene = Scene(lambda attempt: Outcome("HTTP 404: no such hook", permanent=True))
    scene.tell()
    await scene.run(600)
    assert (len(scene.attempts), scene.count("dropped")) == (1, 1)
    assert "given up: 🔴 [mirrorgate]" in caplog.text
    assert scene.receiver.problem == "HTTP 404: no such hook"


async def test_after_an_hour_a_message_is_given_up_and_the_next_one_is_tried():
    scene = Scene(lambda attempt: BUSY)
    scene.tell()
    await scene.run(GIVE_UP_AFTER + 2 * LONGEST_PAUSE)
    assert scene.count("dropped") == 1
    before = len(scene.attempts)
    scene.tell("jp")
    await scene.run(60)
    assert "jp" in scene.attempts[before][1]


async def test_a_service_that_wants_to_be_left_alone_is():
    scene = Scene(lambda attempt: TAKEN if attempt == 2 else Outcome("HTTP 429", pause=300.0))
    scene.tell()
    await scene.run(600)
    (first, _), (second, _) = scene.attempts
    assert second - first >= 300.0


async def test_kinds_that_are_not_wanted_are_not_told():
    scene = Scene(lambda attempt: TAKEN)
    scene.tell(kind=Kind.ban_spike)
    await scene.run(60)
    assert scene.attempts == []
