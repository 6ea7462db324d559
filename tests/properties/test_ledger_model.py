"""The ledger stays exact whatever is lost, repeated or comes late; a worker that dies costs what it
had not handed over."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlmodel import Session, SQLModel

from monitor.common.ipc import Message
from monitor.common.keys import DayUse, Spent
from monitor.store import keys
from monitor.store.ledger import Batch, write
from monitor.store.tables import LedgerBatchRow, UseRow
from router.metering.batches import AGAIN_AFTER, UsageBatches
from router.metering.usage import Basis, Usage

DAYS = ("2026-11-21", "2026-11-22")
KEYS = ("k1", "k2", "k3")
TABLES = [SQLModel.metadata.tables[str(t.__tablename__)] for t in (UseRow, LedgerBatchRow)]


class Worker:
    """One worker process, and what it was asked to count."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.uses = UsageBatches()
        self.counted = 0
        self.acknowledged: set[int] = set()
        self.alive = True
        self.sums_of_batches: dict[int, int] = {}


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.engine = sqlalchemy.create_engine("sqlite://")
        SQLModel.metadata.create_all(self.engine, tables=TABLES)
        self.now = 0.0
        self.under_way: list[tuple[Worker, Message]] = []
        self.acks: list[tuple[Worker, int]] = []
        self.workers = [Worker("w0"), Worker("w1")]

    def teardown(self) -> None:
        self._let_all_arrive()
        with Session(self.engine) as session:
            spent = keys.spent(session)
        written = sum(each.cost for each in spent.values())
        assert written == sum(self._owed(worker) for worker in self.workers)
        assert sum(each.tokens for each in spent.values()) == written
        self.engine.dispose()

    def _let_all_arrive(self) -> None:
        """The end of all trouble."""
        while any(worker.alive and worker.uses for worker in self.workers) or self.under_way:
            self.now += AGAIN_AFTER
            for worker in self.workers:
                self._send(worker)
            while self.under_way:
                self.deliver(0, False)
            while self.acks:
                self.acknowledge(0)

    def _owed(self, worker: Worker) -> int:
        """Batches of a worker that must be written: all, or whole ones of it if it has died."""
        if worker.alive:
            return worker.counted
        with Session(self.engine) as session:
            row = session.get(LedgerBatchRow, worker.name)
        last = row.seq if row is not None else 0
        assert last >= max(worker.acknowledged, default=0)
        assert last >= len(worker.sums_of_batches) - 1, "only the last batch may be missing"
        return sum(cost for seq, cost in worker.sums_of_batches.items() if seq <= last)

    def _send(self, worker: Worker) -> None:
        message = worker.uses.due(self.now) if worker.alive else None
        if message is not None:
            cost = sum(row[-1] for row in message["rows"])
            assert worker.sums_of_batches.setdefault(message["seq"], cost) == cost
            self.under_way.append((worker, message))

    @rule(
        which=st.integers(0, 1),
        key=st.sampled_from(KEYS),
        day=st.sampled_from(DAYS),
        model=st.sampled_from(("a", "b")),
        cost=st.integers(0, 100),
    )
    def answer(self, which: int, key: str, day: str, model: str, cost: int) -> None:
        worker = self.workers[-1 - which]
        usage = Usage(input=cost // 3, cached=cost // 4, output=cost - cost // 3)
        worker.uses.add(key, day, model, Basis.usage, usage, cost)
        worker.counted += cost

    @rule(seconds=st.sampled_from((0.25, AGAIN_AFTER)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for worker in self.workers:
            self._send(worker)

    @rule(at=st.integers(0, 9), stays=st.booleans())
    def deliver(self, at: int, stays: bool) -> None:
        """Any message comes; it may come once more."""
        if not self.under_way:
            return
        place = at % len(self.under_way)
        worker, message = self.under_way[place] if stays else self.under_way.pop(place)
        rows: list[list[Any]] = message["rows"]
        batch = Batch(worker.name, message["seq"], tuple(DayUse(*row) for row in rows))
        with Session(self.engine) as session:
            write(session, [batch], self.now)
            session.commit()
        self.acks.append((worker, batch.seq))

    @rule(at=st.integers(0, 9))
    def lose(self, at: int) -> None:
        if self.under_way:
            self.under_way.pop(at % len(self.under_way))

    @rule(at=st.integers(0, 9))
    def acknowledge(self, at: int) -> None:
        if self.acks:
            worker, seq = self.acks.pop(at % len(self.acks))
            if worker.alive:
                worker.uses.acknowledged(seq)
                worker.acknowledged.add(seq)

    @rule(at=st.integers(0, 9))
    def lose_acknowledgement(self, at: int) -> None:
        if self.acks:
            self.acks.pop(at % len(self.acks))

    @rule()
    def control_restarts(self) -> None:
        self.under_way.clear()
        self.acks.clear()
        for worker in self.workers:
            if worker.alive:
                worker.uses.to_new_control()

    @rule(which=st.integers(0, 1))
    def a_worker_dies(self, which: int) -> None:
        worker = self.workers[-1 - which]
        worker.alive = False
        self.workers.remove(worker)
        self.workers.insert(0, worker)
        self.workers.append(Worker(f"w{len(self.workers)}"))

    @invariant()
    def what_is_not_written_yet_is_deducted_here(self) -> None:
        for worker in self.workers:
            if worker.alive:
                settled = sum(worker.sums_of_batches[seq] for seq in worker.acknowledged)
                open_ = [worker.uses.spent(key) for key in KEYS]
                rest = worker.counted - settled
                assert sum(each.cost for each in open_) == rest
                assert sum(each.tokens for each in open_) == rest
                assert bool(worker.uses) or not rest


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_acknowledgement_of_a_batch_that_came_twice_is_none_of_the_next():
    uses = UsageBatches()
    for seq in (1, 2):
        uses.add("k1", DAYS[0], "a", Basis.usage, Usage(input=3, output=4), 5)
        message = uses.due(0.0)
        assert message is not None
        assert message["seq"] == seq
        uses.acknowledged(1)
    assert uses.spent("k1") == Spent(5, 7)
    assert uses.due(AGAIN_AFTER) == message
    uses.acknowledged(2)
    assert not uses


def test_more_models_than_can_be_told_apart_become_one():
    uses = UsageBatches()
    for number in range(30_000):
        uses.add("k1", DAYS[0], f"model-{number}", Basis.usage, Usage(input=1), 1)
    assert uses.spent("k1") == Spent(30_000, 30_000)
    rows = []
    while (message := uses.due(0.0)) is not None:
        assert len(message["rows"]) <= 2000
        rows += message["rows"]
        uses.acknowledged(message["seq"])
    assert sum(row[-1] for row in rows) == 30_000
    assert len(rows) == 20_001
    assert uses.spent("k1") == Spent()
    assert not uses
