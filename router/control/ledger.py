"""The ledger: takes what workers say that keys have used, writes it, and says what is left.

A batch is on disk before it is acknowledged, and none is written twice. What is left of a key is
told before its batch is acknowledged, so that no worker forgets its own use too early.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from monitor.common.ipc import Message
from monitor.common.keys import DayUse, Left, Spent
from monitor.common.metric_registry import MetricRegistry
from monitor.store.ledger import Batch, forget
from monitor.store.store import Store, StoreError
from router.control.key_service import KeyService
from router.forwarding.metrics import LEDGER_GAPS

log = logging.getLogger("control")

EVERY = 0.25
"""Seconds between two transactions, and between two messages on what is left of a key."""
LATELY = 60.0
"""Seconds for which a worker that said it was used may have used more that it did not say."""
_REMEMBERED = 7 * 86400.0
"""Seconds after which a process that says nothing is taken for gone."""
_FORGET_EVERY = 3600.0


class Ledger:
    """The uses of all keys of one instance."""

    def __init__(
        self,
        store: Store,
        key_service: KeyService,
        acknowledge: Callable[[str, Message], None],
        totals: MetricRegistry,
        *,
        clock: Callable[[], float] = time.time,
        every: float = EVERY,
    ) -> None:
        """`acknowledge` tells one worker process something."""
        self._store = store
        self._key_service = key_service
        self._acknowledge = acknowledge
        self._totals = totals
        self._clock = clock
        self._every = every
        self._batches: dict[str, Batch] = {}
        """What each process has sent last, until it is written."""
        self._heard_at: dict[str, float] = {}
        self._told: dict[str, Left] = {}
        self._woken = asyncio.Event()
        self._forget_at = float("-inf")
        self._fails = False

    def __repr__(self) -> str:
        return f"<Ledger, {len(self._batches)} batches wait>"

    def hear(self, process: str, message: Message) -> None:
        """A worker says what was used, or with `ends` that it will say no more."""
        if message.get("ends"):
            self._heard_at.pop(process, None)
            return
        self._heard_at[process] = self._clock()
        uses = tuple(DayUse(*row) for row in message["rows"])
        self._batches[process] = Batch(process, message["seq"], uses)
        self._woken.set()

    def left(self, process: str) -> None:
        """A worker has ended: was there more than it could say?"""
        heard_at = self._heard_at.pop(process, None)
        if heard_at is not None and self._clock() - heard_at < LATELY:
            log.warning("a worker died: up to one second of usage of issued keys may be missing")
            self._totals.add(LEDGER_GAPS.name)

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + _FORGET_EVERY
                await self._forget()
            try:
                await asyncio.wait_for(self._woken.wait(), _FORGET_EVERY)
            except TimeoutError:
                continue
            await self.write()
            await asyncio.sleep(self._every)

    async def write(self) -> None:
        """Write what is here; what cannot be written will be sent again."""
        self._woken.clear()
        batches, self._batches = list(self._batches.values()), {}
        if not batches:
            return
        writing = asyncio.ensure_future(self._store.write_uses(batches, self._clock()))
        writing.add_done_callback(_retrieved)  # when this is cancelled, nobody else does
        try:
            spent = await asyncio.shield(writing)
        except StoreError as error:
            if not self._fails:
                log.error("usage of issued keys cannot be written, workers keep it: %s", error)
            self._fails = True
            return
        if self._fails:
            log.warning("usage of issued keys is written again")
        self._fails = False
        self._settle(spent)
        for batch in batches:
            self._acknowledge(batch.process, {"type": "used", "seq": batch.seq})

    def _settle(self, spent: Mapping[str, Spent]) -> None:
        self._key_service.charge(spent)
        self._key_service.announce(self._worth_telling(spent))

    def _worth_telling(self, key_ids: Iterable[str]) -> Sequence[str]:
        """The keys of which noticeably less is left, or little."""
        some = []
        for key_id in key_ids:
            account = self._key_service.find(key_id)
            if account is None:  # another instance issued it since this one started
                continue
            record, left = account.record, account.record.left(account.spent)
            told = self._told.get(key_id, Left(record.quota, record.quota_tokens))
            quotas = (record.quota, record.quota_tokens)
            if any(map(_noticeable, quotas, told, left)):
                self._told[key_id] = left
                some.append(key_id)
        return some

    async def _forget(self) -> None:
        try:
            before = self._clock() - _REMEMBERED
            if self._store.clock.steady:
                await self._store.decide(lambda session: forget(session, before))
        except StoreError as error:
            log.error("usage records of ended processes were not pruned: %s", error)


def _retrieved(writing: asyncio.Future[dict[str, Spent]]) -> None:
    if not writing.cancelled():
        writing.exception()


def _noticeable(quota: int | None, told: int | None, left: int | None) -> bool:
    """True if workers have to know: a hundredth of a quota less than they were told, or any
    change of the last tenth."""
    if quota is None or left is None:
        return False
    before = quota if told is None else told
    return left != before and (abs(before - left) * 100 >= quota or left * 10 < quota)
