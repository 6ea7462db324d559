"""Many uses of issued keys, and processes that are killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.scenarios import metered_calls as ledger
from tests.scenarios.metered_calls import Callers
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

AT_ONCE = 12
KILLS = 8
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


def is_replaced(instance: Instance, killed: int) -> bool:
    """True if control and two workers run, and this process is none of them."""
    children = instance.children()
    return len(children) == 3 and killed not in [child.pid for child in children]


def killed_meanwhile(instance: Instance, callers: Callers, role: str) -> None:
    """Ask without a pause until processes of this role have been killed often enough."""
    enough, rng = threading.Event(), random.Random()

    def ask_on() -> None:
        while not enough.is_set():
            asyncio.run(callers.ask(200, AT_ONCE))

    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(ask_on)
        try:
            for _ in range(KILLS):
                enough.wait(rng.uniform(1.0, 2.0))
                children = instance.workers() if role == "worker" else [instance.control()]
                killed = rng.choice(children).pid
                os.kill(killed, signal.SIGKILL)
                wait_until(partial(is_replaced, instance, killed), 30.0, "another process")
                instance.wait_ready()
        finally:
            enough.set()
        asked.result()


def test_killing_control_loses_nothing(farm: Farm, measured: Measure):
    instance, mirrors = farm
    keys = [ledger.create(instance, f"customer {number}") for number in range(3)]
    callers = Callers(instance, keys, random.Random())
    killed_meanwhile(instance, callers, "control")
    account = ledger.settled(instance, mirrors)
    measured("kills", KILLS)
    measured("requests charged, as billed", sum(each["requests"] for each in account.values()))


def test_a_killed_worker_loses_at_most_a_second_of_use(farm: Farm, measured: Measure):
    """And what it was answering, which mirrors had billed."""
    instance, mirrors = farm
    keys = [ledger.create(instance, f"customer {number}") for number in range(3)]
    callers = Callers(instance, keys, random.Random())
    killed_meanwhile(instance, callers, "worker")
    lost = ledger.missing(ledger.billed(mirrors), ledger.quiet(instance))
    measured("kills", KILLS)
    measured("requests billed and not charged", lost["requests"])
    told = ask(f"{instance.admin_url}/metrics", key="").body.decode()
    gaps = re.findall(r"^mirrorgate_ledger_gaps_total ([0-9.]+)$", told, re.MULTILINE)
    measured("gaps counted", float(gaps[0]))
    assert 1 <= float(gaps[0]) <= KILLS
    assert min(lost.values(), default=0) >= 0, "nobody is charged more than was billed"
    assert lost["requests"] <= KILLS * (callers.most_in_a_second + AT_ONCE)
