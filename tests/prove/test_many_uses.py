"""Many uses of issued keys, and processes that are killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.watched import Watched
from tests.support import ledger
from tests.support.instance import Instance
from tests.support.ledger import Callers
from tests.support.measure import Measure
from tests.support.mirror_process import MirrorProcess
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.prove,
    pytest.mark.skipif(
        "metered" not in Watched.__slots__, reason="requests are not metered on their way yet"
    ),
]

AT_ONCE = 12
Farm = tuple[Instance, list[MirrorProcess]]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with ledger.farm(tmp_path) as made:
        yield made


def test_ten_thousand_requests_are_charged_to_the_token(farm: Farm, measured: Measure):
    callers = ledger.run_of(*farm, 10_000, seed=random.randrange(1 << 30))
    measured("requests answered with 200", callers.statuses[200])
    measured("broken off by a mirror", callers.statuses[0])
    measured("lines of the account", len(ledger.charged(farm[0])))


def killed_meanwhile(instance: Instance, callers: Callers, many: int, role: str) -> int:
    """Ask so often while processes of this role are killed; how many were."""
    over, kills, rng = threading.Event(), 0, random.Random()

    def ask() -> None:
        try:
            asyncio.run(callers.ask(many, AT_ONCE))
        finally:
            over.set()

    thread = threading.Thread(target=ask)
    thread.start()
    while not over.wait(rng.uniform(1.0, 2.0)):
        children = instance.workers() if role == "worker" else [instance.control()]
        os.kill(rng.choice(children).pid, signal.SIGKILL)
        kills += 1
        wait_until(lambda: len(instance.children()) == 3, 20.0, "three processes")
        instance.wait_ready()
    thread.join()
    return kills


def test_killing_control_loses_nothing(farm: Farm, measured: Measure):
    instance, mirrors = farm
    keys = [ledger.create(instance, f"customer {number}") for number in range(3)]
    callers = Callers(instance, keys, random.Random())
    kills = killed_meanwhile(instance, callers, 3000, "control")
    account = ledger.settled(instance, mirrors)
    measured("kills", kills)
    measured("requests charged, as billed", sum(each["requests"] for each in account.values()))
    assert kills > 3


def test_a_killed_worker_loses_at_most_a_second_of_use(farm: Farm, measured: Measure):
    """And what it was answering, which mirrors had billed."""
    instance, mirrors = farm
    keys = [ledger.create(instance, f"customer {number}") for number in range(3)]
    callers = Callers(instance, keys, random.Random())
    kills = killed_meanwhile(instance, callers, 3000, "worker")
    lost = ledger.missing(ledger.billed(mirrors), ledger.quiet(instance))
    measured("kills", kills)
    measured("requests billed and not charged", lost["requests"])
    assert min(lost.values(), default=0) >= 0, "nobody is charged more than was billed"
    assert lost["requests"] <= kills * (callers.most_in_a_second + AT_ONCE)
    assert kills > 3
