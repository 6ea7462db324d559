"""The ledger over real processes: keys are charged what the mirrors billed, to the token."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.watched import Watched
from tests.support import ledger
from tests.support.instance import Instance
from tests.support.ledger import Account, Callers
from tests.support.measure import Measure
from tests.support.mirror_process import MirrorProcess
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        "metered" not in Watched.__slots__, reason="requests are not metered on their way yet"
    ),
]

LEFT = 5


@pytest.fixture
def mirrors(tmp_path: Path) -> Iterator[list[MirrorProcess]]:
    """One that is well, and one that fails now and then."""
    with (
        MirrorProcess("alpha", tmp_path, keys=["*"]) as alpha,
        MirrorProcess("beta", tmp_path, keys=["*"], status=503, every=4) as beta,
    ):
        yield [alpha, beta]


@pytest.fixture
def instance(tmp_path: Path, mirrors: list[MirrorProcess]) -> Iterator[Instance]:
    with Instance(ledger.config(mirrors), tmp_path / "instance") as instance:
        yield instance


def settled(instance: Instance, mirrors: list[MirrorProcess], leaver: str) -> Account:
    """The two accounts, once they are the same, or when they should have been."""
    wanted = ledger.with_costs(ledger.billed(mirrors, [leaver]))
    try:
        wait_until(lambda: ledger.charged(instance, leavers=[leaver]) == wanted, 15.0)
    except AssertionError:
        assert ledger.charged(instance, leavers=[leaver]) == wanted
        raise
    return wanted


def run_of(instance: Instance, mirrors: list[MirrorProcess], many: int, seed: int) -> Callers:
    """Ask so often, compare the two accounts, and return who asked."""
    keys = [ledger.create(instance, f"customer {number}") for number in range(3)]
    keys.append(ledger.create(instance, "with quotas", "--quota", "1000", "--tokens", "100000000"))
    leaver = ledger.create(instance, "leaver")
    callers = Callers(instance, keys, random.Random(seed))
    asyncio.run(callers.ask(many, at_once=12))
    asyncio.run(callers.leave(leaver, LEFT))
    account = settled(instance, mirrors, leaver.id)
    assert {key for key, _ in account} == {key.id for key in keys}
    assert callers.leaks == 0
    wait_until(
        lambda: ledger.charged(instance, "estimate")[leaver.id, "gpt-4o"]["requests"] == LEFT
    )
    estimated = ledger.charged(instance, "estimate")
    assert list(estimated) == [(leaver.id, "gpt-4o")], "whoever stayed has the mirror's own numbers"
    assert estimated[leaver.id, "gpt-4o"]["output_tokens"] == 2 * LEFT
    return callers


def test_what_is_charged_is_what_the_mirrors_billed(instance: Instance, mirrors, tmp_path: Path):
    callers = run_of(instance, mirrors, 300, seed=7)
    assert callers.statuses[200] > 100
    assert set(callers.statuses) >= {0, 200, 400}
    before = ledger.charged(instance)
    assert instance.stop() == 0
    instance.start()
    assert ledger.charged(instance) == before


def test_a_quota_ends_where_it_is_used_up(instance: Instance, mirrors: list[MirrorProcess]):
    """Each answer has one token in and five out; requests come one by one."""
    key = ledger.create(instance, "small", "--tokens", "60")
    callers = Callers(instance, [key], random.Random(1), alike=True)
    asyncio.run(callers.ask(40, at_once=1))
    asked = callers.statuses[200]
    assert callers.statuses == Counter({200: asked, 429: 40 - asked})
    assert 10 <= asked <= 12, "two workers may each let one in that the other has paid for"
    account = settled(instance, mirrors, "")
    assert account[key.id, "gpt-4o"]["requests"] == asked


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_ten_thousand_requests_are_charged_to_the_token(
    instance: Instance, mirrors: list[MirrorProcess], measured: Measure
):
    callers = run_of(instance, mirrors, 10_000, seed=random.randrange(1 << 30))
    measured("requests answered with 200", callers.statuses[200])
    measured("of 10,000 broken off by a mirror", callers.statuses[0])
    measured("lines of the account", len(ledger.charged(instance)))


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ["worker", "control"])
def test_kills_lose_at_most_what_a_worker_had_not_said(
    instance: Instance, mirrors: list[MirrorProcess], measured: Measure, role: str
):
    """A killed control loses nothing; each killed worker what it was just answering, and one batch.

    What a killed worker had passed on but its client could not use counts as billed, not charged.
    """
    keys = [ledger.create(instance, f"customer {number}") for number in range(3)]
    callers = Callers(instance, keys, random.Random())
    over, kills = threading.Event(), 0

    def asking() -> None:
        asyncio.run(callers.ask(4000, at_once=12))
        over.set()

    thread = threading.Thread(target=asking)
    thread.start()
    rng = random.Random()
    while not over.wait(rng.uniform(1.0, 2.0)):
        children = instance.workers() if role == "worker" else [instance.control()]
        os.kill(rng.choice(children).pid, signal.SIGKILL)
        kills += 1
        instance.wait_ready()
        wait_until(lambda: len(instance.workers()) == 2, 20.0, "two workers")
    thread.join()
    if role == "control":
        settled(instance, mirrors, "")
        measured("kills of control, nothing lost", kills)
        return
    wait_until(lambda: ledger.charged(instance) == ledger.charged(instance), 5.0)
    lost = missing(ledger.billed(mirrors), ledger.charged(instance))
    measured("kills of workers", kills)
    measured("requests billed and not charged", lost["requests"])
    assert min(lost.values(), default=0) >= 0, "nobody is charged more than was billed"
    rate = sum(callers.statuses.values()) / max(kills, 1)
    assert lost["requests"] <= kills * max(rate, 24), "at most about a second of each"


def missing(bills: Account, charges: Account) -> Counter[str]:
    """How much more was billed than charged, line by line summed; negative amounts stay."""
    lost: Counter[str] = Counter()
    for line in bills.keys() | charges.keys():
        more = Counter(bills.get(line, Counter()))
        more.subtract(charges.get(line, Counter()))
        del more["nano"]
        lost.update(more)
    return lost
