"""One writer per vantage, in a file and in PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from monitor.health.snapshot import State
from monitor.health.uptime import HOUR, Credit
from monitor.store import lease, queries
from monitor.store.database import backend_of, open_database
from monitor.store.errors import StoreError
from monitor.store.lease import EXPIRES_AFTER, Holder, LeaseLost, has_ended
from monitor.store.queries import sums
from monitor.store.records import Transition
from monitor.store.store import Store

OURS = Holder.of_process(os.getpid())
ELSEWHERE = Holder("boot-of-another-machine", 7, "123", "other.example")


class Clocks:
    """Clocks that only sleeping moves; each sleep can have a consequence."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    open_database(store_url).close()
    made = backend_of(store_url).decisions()
    yield made
    made.dispose()


def take(engine: Engine, holder: Holder, clocks: Clocks | None = None, wait: bool = True) -> int:
    clocks = clocks or Clocks()
    now = lambda: clocks.now  # noqa: E731
    return lease.take(engine, "here", holder, wait, now, now, clocks.sleep)


def ended_process() -> Holder:
    """A process of this machine that is gone, as after `kill -9`."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = Holder.of_process(process.pid)
    assert not has_ended(holder.name, holder.machine)
    process.kill()
    process.communicate()
    return holder


def test_the_first_one_takes_it_and_the_same_instance_takes_it_again(engine):
    assert take(engine, OURS) == 0
    assert take(engine, Holder.of_process(os.getpid())) == 0


def test_a_living_instance_of_this_machine_keeps_it(engine):
    take(engine, Holder.of_process(os.getppid()))
    clocks = Clocks()
    with pytest.raises(
        StoreError, match=r'"here" is in use.*set another monitor\.vantage'
    ) as caught:
        take(engine, OURS, clocks)
    assert str(os.getppid()) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert clocks.now == 0.0


def test_a_killed_instance_of_this_machine_frees_it_at_once(engine):
    clocks = Clocks()
    take(engine, ended_process())
    take(engine, OURS, clocks)
    assert clocks.now == 0.0


def test_a_process_that_only_has_the_same_id_is_not_taken_for_it(engine):
    take(engine, replace(OURS, started="another time"))
    clocks = Clocks()
    take(engine, OURS, clocks)
    assert clocks.now == 0.0


def test_an_instance_elsewhere_that_renews_it_keeps_it(engine):
    take(engine, ELSEWHERE)
    clocks = Clocks()
    clocks.meanwhile = lambda: lease.renew(engine, "here", ELSEWHERE, 1.0)
    with pytest.raises(StoreError, match=r"other\.example \(process 7\)"):
        take(engine, OURS, clocks)
    assert clocks.now < EXPIRES_AFTER


def test_an_instance_elsewhere_that_is_gone_loses_it_in_time(engine):
    take(engine, ELSEWHERE)
    clocks = Clocks()
    take(engine, OURS, clocks)
    assert EXPIRES_AFTER <= clocks.now < EXPIRES_AFTER + 1
    with pytest.raises(LeaseLost):
        lease.renew(engine, "here", ELSEWHERE, 1.0)


def test_of_two_that_wait_for_it_one_gets_it(engine):
    take(engine, ELSEWHERE)
    clocks, others = Clocks(), Clocks()

    def meanwhile() -> None:
        if clocks.now >= EXPIRES_AFTER:
            clocks.meanwhile = lambda: None
            take(engine, replace(ELSEWHERE, pid=8), others)

    clocks.meanwhile = meanwhile
    with pytest.raises(StoreError, match="in use"):
        take(engine, OURS, clocks)


def test_it_is_free_once_it_was_given_back(engine):
    take(engine, ELSEWHERE)
    lease.release(engine, "here", ELSEWHERE)
    clocks = Clocks()
    take(engine, OURS, clocks)
    assert clocks.now == 0.0


def test_other_vantages_do_not_matter(engine):
    take(engine, ELSEWHERE)
    assert lease.take(engine, "there", OURS) == 0


async def test_a_batch_whose_commit_was_not_acknowledged_is_written_once(store_url, monkeypatch):
    store = await Store.open(store_url)
    await store.hold("here", OURS)
    real, lose = store._write_batch, [True]

    def write(items, number):
        real(items, number)
        if lose and lose.pop():
            raise StoreError("the answer to the commit was lost")

    monkeypatch.setattr(store, "_write_batch", write)
    store.record(Credit("hk", "here", 0, 1000, State.up))
    assert not await store.flush()
    store.record(Credit("hk", "here", 1, 1000, State.up))
    assert await store.flush()
    found = await store.read(lambda session: sums(session, HOUR, [0, HOUR], 7200))
    assert found["hk"][0].up == 2000
    await store.close()


async def test_an_instance_that_has_lost_the_lease_writes_nothing_until_it_is_free_again(store_url):
    store = await Store.open(store_url)
    await store.hold("here", OURS)
    engine = backend_of(store_url).decisions()
    lease.release(engine, "here", OURS)
    take(engine, ELSEWHERE)
    store.record(Transition("hk", 1.0, State.up, vantage="here"))
    assert not await store.flush()
    with pytest.raises(StoreError, match=r"is in use by an instance on other\.example"):
        await store.renew(1.0)
    lease.release(engine, "here", ELSEWHERE)
    await store.renew(1.0)
    assert await store.flush()
    assert len(await store.read(lambda session: queries.transitions(session, "hk", 9))) == 1
    engine.dispose()
    await store.close()


async def test_closing_gives_it_back(store_url):
    store = await Store.open(store_url)
    await store.hold("here", OURS)
    await store.close()
    engine = backend_of(store_url).decisions()
    clocks = Clocks()
    take(engine, ELSEWHERE, clocks)
    engine.dispose()
    assert clocks.now == 0.0, "nobody waits for its end"


def test_it_is_not_taken_from_one_who_renews_it_at_the_last_moment(engine):
    take(engine, ELSEWHERE)
    stale = lease._row(engine, "here")
    lease.renew(engine, "here", ELSEWHERE, 1.0)
    with engine.begin() as connection:
        assert not lease._replace(connection, "here", OURS, stale, 2.0)
    lease.renew(engine, "here", ELSEWHERE, 3.0)
