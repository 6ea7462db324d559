"""An instance as one of several: exchanges shares of limits with the others, and news.

No request waits for any of it: workers count in the table of this host, in which control writes
what this host may use. While Valkey is away, each host goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from router.admission.shared_table import Table
from router.cluster import metrics
from router.cluster.address import Address
from router.cluster.allotment import even
from router.cluster.config import ClusterConfig
from router.cluster.leases import CONNECTIONS, RATE, Leases, Name
from router.cluster.valkey import Unreachable, Valkey

log = logging.getLogger("control")

BEAT_EVERY = 1.0
LOOK_EVERY = 0.05
"""Seconds between two looks at what others wait for."""
TRY_AGAIN_AFTER = 1.0
AT_ONCE = 200
"""Limits that are asked for in one round trip."""
MOST_NEWS = 1000
"""Messages that wait to be sent; the store has what those that are dropped say."""


class Cluster:
    """This instance among all of them."""

    def __init__(
        self,
        config: ClusterConfig,
        valkey: Valkey,
        table: Table,
        host: str,
        totals: MetricRegistry,
        hear: Callable[[Message], None],
        catch_up: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`host` names this instance; `hear` takes news of others, and `catch_up` reads from the
        store what may have been missed."""
        self._config = config
        self._place = Address.of(config.url).place
        self._valkey = valkey
        self._table = table
        self._totals = totals
        self._hear = hear
        self._catch_up = catch_up
        self._clock = clock
        self._leases = Leases(host)
        self._host = host
        self._alive: list[str] = []
        self._problem = "not connected yet"
        self._news: deque[Message] = deque(maxlen=MOST_NEWS)
        self._woken = asyncio.Event()
        self._beat_at = float("-inf")
        self._unset: set[Name] = set()
        """Shares that could not be written, as somebody had the lock."""
        table.set_hosts(max(table.hosts, config.hosts))

    def __repr__(self) -> str:
        return f"<Cluster {self._host}, {self._leases!r}>"

    def state(self) -> dict[str, Any]:
        """State of the cluster, for operators."""
        return {
            "valkey": self._place,
            "problem": self._problem,
            "hosts": list(self._alive),
            "leases": len(self._leases),
            "clock_ahead": round(self._valkey.ahead, 1),
        }

    def short(self, key: bytes, limit: int, tolerance: float) -> None:
        """A client was refused here for want of a share (`Table.on_short`)."""
        self._leases.short(key, limit, tolerance, self._clock())
        self._woken.set()

    def tell(self, message: Message) -> None:
        """Tell all others, as soon as possible; while Valkey is away they find it in the store."""
        self._news.append(message)
        self._woken.set()

    async def run(self) -> None:
        """Exchange shares, until cancelled."""
        self._table.forget_shares()
        try:
            while True:
                if await self.turn():
                    await self._wait()
                else:
                    await asyncio.sleep(TRY_AGAIN_AFTER)
        finally:
            try:
                await self._valkey.leave()
            except Unreachable:
                pass
            await self._valkey.close()

    async def listen(self) -> None:
        """Hear what others tell, until cancelled."""
        while True:
            try:
                async with self._valkey.listening() as messages:
                    await self._catch_up()
                    async for message in messages:
                        self.take(message)
            except Unreachable as error:
                log.debug("messages of other instances cannot be received: %s", error)
                await asyncio.sleep(TRY_AGAIN_AFTER)

    async def turn(self) -> bool:
        """Exchange what is due; False if Valkey does not answer."""
        try:
            now = self._clock()
            if now >= self._beat_at:
                self._meet(await self._valkey.beat())
                self._beat_at = now + BEAT_EVERY
            while self._news:
                await self._valkey.tell(self._news[0])
                self._news.popleft()
            await self._exchange()
        except Unreachable as error:
            self._part(str(error))
            return False
        unset, self._unset = self._unset, set()
        for name in unset:
            self._apply(name)
        return True

    async def _wait(self) -> None:
        """Wait until something is due."""
        wait = min(self._leases.next_due(), self._beat_at) - self._clock()
        if self._leases.owes or self._unset:
            wait = min(wait, LOOK_EVERY)
        try:
            await asyncio.wait_for(self._woken.wait(), max(wait, 0.001))
        except TimeoutError:
            pass
        self._woken.clear()

    async def _exchange(self) -> None:
        asks = self._leases.due(self._clock(), self._table.use_of, self._apply)
        for start in range(0, len(asks), AT_ONCE):
            some, began = asks[start : start + AT_ONCE], self._clock()
            answers = await self._valkey.exchange(some)
            now = self._clock()
            self._totals.observe(metrics.EXCHANGE.name, now - began)
            for ask, answer in zip(some, answers, strict=True):
                self._leases.answered(ask, answer, now)
                self._apply(ask.name)
        self._totals.set(metrics.LEASES.name, len(self._leases))

    def take(self, message: Message) -> None:
        """Hear what another instance tells."""
        if message["type"] == "share":
            name = Name(message["kind"], bytes.fromhex(message["key"]))
            limit, tolerance = message["limit"], message["tolerance"]
            self._leases.heard(name, limit, tolerance, message["wanted"], self._clock())
            self._woken.set()
        elif message["type"] != "beat":
            self._hear(message)

    def _meet(self, alive: list[str]) -> None:
        """Valkey has answered."""
        hosts = max(len(alive), self._config.hosts)
        if sorted(alive) != self._alive:
            self._alive = sorted(alive)
            log.info("limits are shared among %d instances: %s", hosts, ", ".join(self._alive))
        self._table.set_hosts(hosts)
        self._leases.hosts = hosts
        self._totals.set(metrics.HOSTS.name, hosts)
        self._totals.set(metrics.CONNECTED.name, 1)
        self._totals.set(metrics.AHEAD.name, self._valkey.ahead)
        if self._problem:
            self._problem = ""
            log.info("Valkey at %s answers", self._place)
            self._leases.retry(self._clock())
            self._apply_all()

    def _part(self, problem: str) -> None:
        """Valkey does not answer: go on with our shares, and with even ones at least."""
        self._valkey.forget()
        self._totals.set(metrics.CONNECTED.name, 0)
        self._beat_at = float("-inf")
        if not self._problem or self._problem == "not connected yet":
            log.error(
                "Valkey at %s does not answer (%s): limits are held with the last shares, bans and "
                "keys of other instances come from the store within 15 s",
                self._place,
                problem,
            )
        before, self._problem = self._problem, problem
        if not before:
            self._apply_all()

    def _apply_all(self) -> None:
        for name in self._leases.names():
            self._apply(name)

    def _apply(self, name: Name) -> None:
        """Write what workers go by."""
        rate = Name(RATE, name.key)
        connections = self._usable(Name(CONNECTIONS, name.key))
        tolerance, now = self._leases.tolerance(rate), self._clock()
        if not self._table.set_share(name.key, now, connections, self._usable(rate), tolerance):
            self._unset.add(name)

    def _usable(self, name: Name) -> int | None:
        found = self._leases.share(name)
        if found is None:
            return None
        share, limit = found
        return max(share, even(limit, self._leases.hosts)) if self._problem else share
