"""An instance's part in a cluster, if its configuration has one; without, it leads itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from monitor.common.tasks import Work
from monitor.store.lease import Holder
from monitor.store.store import Store
from router.admission.shared_table import Table
from router.cluster.cluster import Cluster
from router.cluster.config import ClusterConfig
from router.cluster.leadership import Leadership
from router.cluster.valkey import MissingPart as MissingPart
from router.cluster.valkey import connect


class Follower(Protocol):
    """A service that takes over the decisions of other instances."""

    def hear_other(self, message: Message) -> None:
        """Take what another instance has decided just now."""

    async def catch_up(self) -> None:
        """Read from the store what may not have been heard."""


class Membership:
    """Wires the parts of a cluster; each is left out where there is none."""

    def __init__(
        self,
        config: ClusterConfig,
        store: Store,
        holder: Holder,
        table: Table,
        vantage: str,
        totals: MetricRegistry,
        take_over: Callable[[], Awaitable[None]],
    ) -> None:
        """`take_over` as of `Leadership`. Raises MissingPart."""
        self._followers: tuple[Follower, ...] = ()
        self._cluster: Cluster | None = None
        self._leadership: Leadership | None = None
        if not config.url:
            table.set_hosts(0)
            return
        valkey = connect(config.url, config.prefix, vantage, config.hosts)
        self._cluster = Cluster(config, valkey, table, vantage, totals, self._hear, self._catch_up)
        self._leadership = Leadership(store, holder, take_over, totals)
        table.on_short = self._cluster.short

    def followed_by(self, *followers: Follower) -> None:
        """Tell these what other instances decide."""
        self._followers = followers

    def tell(self, message: Message) -> None:
        """Tell other instances what was decided here."""
        if self._cluster is not None:
            self._cluster.tell(message)

    def hear_short(self, message: Message) -> None:
        """A worker reports that a share was too small (`shortages.py`)."""
        if self._cluster is not None:
            key = bytes.fromhex(message["key"])
            self._cluster.short(key, message["limit"], message["tolerance"])

    def leads(self) -> bool:
        """True if this instance does what is to be done once."""
        return self._leadership is None or self._leadership.leads()

    def state(self) -> dict[str, Any] | None:
        """State of the cluster, for operators; None without one."""
        if self._cluster is None:
            return None
        return {**self._cluster.state(), "leads": self.leads()}

    def services(self) -> Iterator[tuple[str, Work]]:
        """Parts that run for as long as the process."""
        if self._cluster is not None and self._leadership is not None:
            yield "cluster", self._cluster.run
            yield "cluster news", self._cluster.listen
            yield "leadership", self._leadership.run

    def _hear(self, message: Message) -> None:
        for follower in self._followers:
            follower.hear_other(message)

    async def _catch_up(self) -> None:
        for follower in self._followers:
            await follower.catch_up()
