"""Issued keys: creates, revokes and tops up, and tells all workers.

A decision is on disk before it is announced. A key itself is in the answer to who ordered it, and
nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.common.audit import Actor
from monitor.common.ipc import Message, encoded
from monitor.common.keys import NOTHING, DayUse, KeyAccount, KeyBook, KeyOrder, KeyRecord, Spent
from monitor.common.metric_registry import MetricRegistry
from monitor.store import keys
from monitor.store.store import Store, StoreError
from router.admission.ban_list import pieces
from router.admission.credentials import Caller, new_key
from router.admission.key_index import Row, digest_of, row_of
from router.control.sections import Config
from router.metering.metrics import KEYS
from router.process.replica import whole

log = logging.getLogger("control")

STANDINGS = ("active", "low", "spent", "expired", "revoked")
"""States of keys, as metrics have them: of the active ones, those with little left are "low"."""
LOW = 0.1
"""Share of a quota that is little."""
COUNT_EVERY = 10.0
FOLLOW_EVERY = 15.0
"""Seconds between two looks at what other instances have changed."""
USE_EVERY = 4
"""Every so many looks, the use of all keys is read too; what others say of it may be lost."""


class KeyService:
    """The issued keys of one instance."""

    def __init__(
        self,
        store: Store,
        book: KeyBook,
        tell: Callable[[Message], None],
        prefix: str,
        clock: Callable[[], float] = time.time,
        on_use: Callable[[Iterable[KeyAccount]], None] = lambda accounts: None,
        tell_others: Callable[[Message], None] = lambda message: None,
    ) -> None:
        """`on_use` hears of keys that were used or changed; `tell_others` tells other instances."""
        self.version = 0
        """Goes up with every change, so that a worker notices what it has missed."""
        self.prefix = prefix
        """What new keys begin with."""
        self._store = store
        self._pepper = book.pepper
        self._records = {record.id: record for record in book.records}
        self._by_digest = {record.digest: record.id for record in book.records}
        self._spent = dict(book.spent)
        self._tell = tell
        self._clock = clock
        self._on_use = on_use
        self._tell_others = tell_others
        self._changed_elsewhere = asyncio.Event()
        self._counted_at = float("-inf")
        self._encoded: Sequence[bytes] = ()
        """What `messages` said, until something changes."""

    def __repr__(self) -> str:
        return f"<KeyService of {len(self._records)}>"

    def messages(self) -> Sequence[bytes]:
        """All keys, for a worker that has not got `version` of them; encoded, as they may be many.

        Workers ask at the same time, so what one was told is kept until something changes.
        """
        if not self._encoded:
            self._encoded = [encoded(message) for message in self._list()]
        return self._encoded

    def _list(self) -> list[Message]:
        valid = (record for record in self._records.values() if record.revoked_at is None)
        rows = [self._row(record) for record in valid]
        messages = whole("keys", rows, self.version)
        messages[0]["pepper"] = self._pepper
        return messages

    def ids(self) -> Collection[str]:
        """The ids of all keys, revoked ones included: they only become more."""
        return self._records.keys()

    def accounts(self) -> list[KeyAccount]:
        """All keys, newest first, revoked ones included."""
        records = sorted(self._records.values(), key=lambda each: (-each.created_at, each.id))
        return [self.account(record.id) for record in records]

    def account(self, key_id: str) -> KeyAccount:
        """A key, and what it has used. Raises KeyError when there is none of this id."""
        return KeyAccount(self._records[key_id], self._spent.get(key_id, NOTHING))

    def find(self, key_id: str) -> KeyAccount | None:
        """As `account`, or None."""
        return self.account(key_id) if key_id in self._records else None

    def find_key(self, key: str) -> KeyAccount | None:
        """The account of a key itself; None if it was not issued here.

        It is looked up by its keyed digest, which takes as long for one that there is as for one
        that there is not.
        """
        digest = digest_of(key.encode("utf-8", "replace"), bytes.fromhex(self._pepper)).hex()
        return self.find(self._by_digest.get(digest, ""))

    async def bill(self, key_id: str, first: str) -> dict[str, Any] | None:
        """The account of a key in plain values, with the costs of its days and models from this day
        on; empty: without days. None if there is no such key. Raises StoreError."""
        account = self.find(key_id)
        if account is None:
            return None
        uses = await self._store.key_days(first, key_id) if first else []
        record = account.record
        return {
            "quota": record.quota,
            "expires_at": record.expires_at,
            "cost": account.spent.cost,
            "days": [(use.day, use.model, use.cost) for use in uses],
        }

    async def accounts_since(self, days: int) -> list[KeyAccount]:
        """All keys with what they used of each model today and on the days before, so many in all.

        Raises StoreError.
        """
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        first = (today - timedelta(days=days - 1)).isoformat()
        by_key: dict[str, list[DayUse]] = {}
        for use in await self._store.key_days(first):
            by_key.setdefault(use.key, []).append(use)
        return [a._replace(days=tuple(by_key.get(a.record.id, ()))) for a in self.accounts()]

    # Operators; each raises StoreError and then has changed nothing

    async def create(self, order: KeyOrder, by: Actor) -> tuple[KeyAccount, str]:
        """Issue a key; it is returned this once."""
        key = new_key(self.prefix)
        record = KeyRecord(
            id=f"k{secrets.token_hex(6)}",
            name=order.name,
            digest=digest_of(key.encode(), bytes.fromhex(self._pepper)).hex(),
            created_at=self._clock(),
            created_by=by.who,
            expires_at=order.expires_at,
            revoked_at=None,
            revoked_by="",
            rate=order.rate,
            models=order.models,
            quota=order.quota,
            quota_tokens=order.tokens,
        )
        await self._store.create_key(record, by)
        self._take([record])
        self._tell_others({"type": "keys"})
        return self.account(record.id), key

    async def revoke(self, key_id: str, by: Actor) -> KeyAccount:
        """Let a key be used no more. Raises KeyFault."""
        record = await self._store.revoke_key(key_id, by, self._clock())
        self._take([record])
        self._tell_others({"type": "keys"})
        return self.account(key_id)

    async def top_up(
        self, key_id: str, quota: int | None, tokens: int | None, by: Actor
    ) -> KeyAccount:
        """Grant more of the quotas that a key has. Raises KeyFault."""
        record = await self._store.top_up_key(key_id, quota, tokens, by, self._clock())
        self._take([record])
        self._tell_others({"type": "keys"})
        return self.account(key_id)

    # Other instances

    async def follow(self) -> None:
        """Take over what others do to keys in a store that is shared, until cancelled."""
        looks = 0
        while True:
            try:
                await asyncio.wait_for(self._changed_elsewhere.wait(), FOLLOW_EVERY)
            except TimeoutError:
                looks += 1
            self._changed_elsewhere.clear()
            await self.catch_up(with_use=looks % USE_EVERY == 0)

    async def catch_up(self, with_use: bool = True) -> None:
        """Take over what others have done to keys, and used of them."""
        try:
            records = await self._store.decide(keys.records)
            spent = await self._store.decide(keys.spent) if with_use else self._spent
        except StoreError as error:
            log.error("keys of other instances are not known for now: %s", error)
            return
        self._take([r for r in records if self._records.get(r.id) != r])
        used = [key for key, sums in spent.items() if self._spent.get(key) != sums]
        if used:
            self._spent.update((key, spent[key]) for key in used)
            self._used(used)
            self.announce(used)

    def hear_other(self, message: Message) -> None:
        """Take what another instance has done just now."""
        if message["type"] == "keys":
            self._changed_elsewhere.set()
        elif message["type"] == "used":
            self._spend({key: Spent(*sums) for key, sums in message["rows"].items()})
            self.announce(message["rows"])

    def count(self, totals: MetricRegistry) -> None:
        """Set how many keys there are in each state: ten thousand take 10 ms, so not often."""
        now = self._clock()
        if now - self._counted_at < COUNT_EVERY:
            return
        self._counted_at = now
        states = Counter(map(self._stands, self._records.values()))
        for state in STANDINGS:
            totals.set(KEYS.name, states[state], (state,))

    def _stands(self, record: KeyRecord) -> str:
        spent = self._spent.get(record.id, NOTHING)
        state = record.state(self._clock(), spent)
        if state == "active":
            quotas = (record.quota, record.quota_tokens)
            left = record.left(spent)
            if any(q and r is not None and r < q * LOW for q, r in zip(quotas, left, strict=True)):
                return "low"
        return state

    # What was used

    def charge(self, sums: Mapping[str, Spent]) -> None:
        """Keys have used so much more, which is on disk; workers hear of it by `announce`."""
        self._spend(sums)
        if sums:
            self._tell_others({"type": "used", "rows": {k: list(s) for k, s in sums.items()}})

    def _spend(self, sums: Mapping[str, Spent]) -> None:
        for key_id, more in sums.items():
            self._spent[key_id] = self._spent.get(key_id, NOTHING).and_also(more)
        self._used(sums)

    def _used(self, key_ids: Iterable[str]) -> None:
        self._encoded = ()
        self._on_use(self.account(key_id) for key_id in key_ids if key_id in self._records)

    def announce(self, key_ids: Iterable[str]) -> None:
        """Tell workers what these keys, as far as they are valid, may still use."""
        records = (self._records.get(key_id) for key_id in key_ids)
        valid = [record for record in records if record is not None and record.revoked_at is None]
        for some in pieces(valid):
            rows = [self._row(record) for record in some]
            self._change({"type": "key", "rows": rows})

    def _row(self, record: KeyRecord) -> Row:
        return row_of(record, record.left(self._spent.get(record.id, NOTHING)))

    def _take(self, records: Sequence[KeyRecord]) -> None:
        self._records.update((record.id, record) for record in records)
        self._by_digest.update((record.digest, record.id) for record in records)
        self.announce(record.id for record in records)
        self._on_use(self.account(record.id) for record in records)
        revoked = [record.id for record in records if record.revoked_at is not None]
        for ids in pieces(revoked):
            self._change({"type": "unkey", "ids": ids})

    def _change(self, message: Message) -> None:
        self.version += 1
        self._encoded = ()
        self._tell({**message, "version": self.version})


def key_notes(config: Config, order: KeyOrder) -> tuple[str, ...]:
    """A sentence on each setting that keeps a new key from being of use, with what to set."""
    return tuple(_key_notes(config, order))


def _key_notes(config: Config, order: KeyOrder) -> Iterator[str]:
    if Caller.issued not in config.router.callers:
        yield 'keys issued here are not let in: add "issued" to router.callers'
    if not any(mirror.api_key for mirror in config.mirrors if mirror.enabled):
        yield "no mirror lends its key to callers with a key issued here: set mirrors.api_key"
    if order.quota is not None and not config.prices:
        yield "a key with a quota of money may only ask for models with a price: write [prices]"
