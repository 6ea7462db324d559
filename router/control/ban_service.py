"""Bans: hears of rejected clients, decides, keeps what is in force, and tells all workers."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import secrets
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from heapq import heapify, heappop, heappush
from typing import Any

from dashboard.common.metrics import BANS
from monitor.common.audit import AUTOMATIC, Actor
from monitor.common.bans import Ban, client_network
from monitor.common.ipc import Message, encoded
from monitor.common.metric_registry import MetricRegistry
from monitor.diagnosis.cdn import networks as content_networks
from monitor.store.bans import Allowance, changes, lift, overlap, sentence
from monitor.store.store import Store, StoreError
from router.admission.ban_list import pieces, rows_of
from router.admission.ban_policy import BanPolicy, Offence, ban_seconds
from router.admission.client_address import LOOPBACK, named_networks, network_map
from router.admission.config import BanConfig, LimitsConfig
from router.admission.network_map import NetworkMap, place
from router.admission.rejection_reports import read_alerts
from router.forwarding.config import RouterConfig
from router.process.replica import whole

log = logging.getLogger("control")

MOST_WAITING = 10_000
"""Offences that wait to be decided on; of more, control hears again if they go on."""
BY_OPERATOR = "operator"
"""The reason of a ban that no rule has made, in the metrics."""
_AT_ONCE = 500
FOLLOW_EVERY = 15.0
"""Seconds between two looks at what other instances have decided."""
FOLLOWED_AGAIN = 600.0
"""Seconds that are looked at once more: clocks differ, and some is written late."""
_FORGET_EVERY = 3600.0


class BanService:
    """Bans and allowances of one instance."""

    def __init__(
        self,
        store: Store,
        banned: BansInForce,
        allowances: Iterable[Allowance],
        tell: Callable[[Message], None],
        totals: MetricRegistry,
        *,
        on_ban: Callable[[Sequence[Ban]], None] = lambda bans: None,
        tell_others: Callable[[Message], None] = lambda message: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """`on_ban` hears of the bans that rules have made; `tell_others` tells other instances."""
        self.version = 0
        """Goes up with every change of the bans, so that a worker notices what it has missed."""
        self._encoded: tuple[int, Sequence[bytes]] = (-1, ())
        self._store = store
        self._banned = banned
        self._allowances = dict(allowances)
        self._tell = tell
        self._totals = totals
        self._on_ban = on_ban
        self._tell_others = tell_others
        self._followed_at = clock()
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng or random.Random()
        self._offences: dict[str, Offence] = {}
        self._woken = asyncio.Event()
        self._forget_at = float("-inf")
        self._judge = BanPolicy(BanConfig())
        self.configure(LimitsConfig(), RouterConfig())

    @property
    def settled(self) -> bool:
        """True if nothing that was heard waits for a decision."""
        return not self._offences and not self._woken.is_set()

    def configure(self, limits: LimitsConfig, router: RouterConfig) -> None:
        """Take new settings; what was heard is kept."""
        self._config = limits.ban
        self._judge.config = limits.ban
        trusted = (cidr for name in router.trusted_proxies for cidr in named_networks(name))
        content = (str(network) for network, _ in content_networks().ranges)
        exempt = (*LOOPBACK, *limits.allow, *trusted, *content)
        self._exempt = network_map(map(_as_clients, exempt))
        self._allowed = self._allowed_now()

    def allowances(self) -> list[Allowance]:
        """The networks that are allowed at present, and until when."""
        self._allowed = self._allowed_now()
        return sorted(self._allowances.items())

    def allowed(self) -> Message:
        """The networks that workers neither limit nor count, and until when."""
        return {"type": "allowed", "rows": [list(item) for item in self._allowances.items()]}

    def bans(self) -> Sequence[bytes]:
        """All bans, for a worker that has not got `version` of them; encoded, as they may be many.

        Workers ask at the same time, so what one was told is kept until something changes.
        """
        version, messages = self._encoded
        if version != self.version:
            rows = rows_of(self._banned.in_force())
            messages = [encoded(message) for message in whole("bans", rows, self.version)]
            self._encoded = (self.version, messages)
        return messages

    # Alerts

    def hear(self, rows: Sequence[Sequence[Any]]) -> None:
        """Take a worker's report of rejected clients."""
        for alert in read_alerts(rows):
            if self._is_exempt(alert.network) or alert.network in self._banned:
                continue
            offence = self._judge.hear(alert)
            if offence is not None and len(self._offences) < MOST_WAITING:
                self._offences[offence.network] = offence
                self._woken.set()

    async def run(self) -> None:
        """Decide on offences and forget what is long over, until cancelled.

        Started again after a crash, it goes on with what is left, and forgets when that is due.
        """
        while True:
            self._woken.clear()
            while self._offences:
                await self._decide()
            if self._monotonic() >= self._forget_at:
                self._forget_at = self._monotonic() + _FORGET_EVERY
                await self._forget()
            try:
                await asyncio.wait_for(self._woken.wait(), _FORGET_EVERY)
            except TimeoutError:
                pass

    async def _decide(self) -> None:
        some = dict(list(self._offences.items())[:_AT_ONCE])
        for network in some:
            del self._offences[network]

        def make(network: str, times: int) -> Ban:
            return self._ban(some[network], times)

        try:
            bans = await self._keep(list(some), make)
        except StoreError as error:
            log.error("bans will not survive a restart: %s", error)
            bans = [make(network, 1) for network in some]
        for ban in bans:
            seconds = (ban.until or 0.0) - ban.since
            log.warning("%s is banned for %.0f s: %s", ban.network, seconds, ban.reason)
            self._totals.add(BANS.name, (ban.reason,))
        self._enforce(bans)
        self._tell_bans(bans)
        self._on_ban(bans)

    async def _keep(
        self, networks: list[str], make: Callable[[str, int], Ban], origin: str = ""
    ) -> list[Ban]:
        """Keep bans, later where the store cannot be written now. Raises StoreError."""
        try:
            return await self._store.sentence(networks, make, origin)
        except StoreError as error:
            bans = {network: make(network, 1) for network in networks}

            def again(network: str, times: int) -> Ban:
                return replace(bans[network], count=times)

            what = f"ban {', '.join(networks[:3])}{' …' if len(networks) > 3 else ''}"
            self._store.postponed.put(lambda s: sentence(s, networks, again, origin), what, error)
            return list(bans.values())

    def _ban(self, offence: Offence, times: int) -> Ban:
        now = self._clock()
        until = now + ban_seconds(self._config, times, self._rng)
        return Ban(
            secrets.token_hex(6),
            offence.network,
            now,
            until,
            offence.reason,
            AUTOMATIC.who,
            offence.user_agent,
            times,
        )

    async def _forget(self) -> None:
        now = self._clock()
        try:
            await self._store.forget_bans(now - self._config.retention, now)
        except StoreError as error:
            log.error("old bans were not pruned: %s", error)

    async def recall(self) -> bool:
        """Take bans and allowances from the store again that a wrong clock had ended.

        False if the store does not tell them now.
        """
        now = self._clock()
        try:
            held = await self._store.active_bans(now)
            allowances = await self._store.allowances(now)
        except StoreError:
            return False
        for some in pieces([ban for ban in held if ban.network not in self._banned]):
            self._enforce(some)
        self._allowances.update(allowances)
        self._allowed = self._allowed_now()
        self._tell(self.allowed())
        return True

    # Operators; where the store cannot be written at present, all is in effect and written later.
    # Each raises StoreError where that would not help, and then has changed nothing.

    async def add(self, network: str, seconds: float | None, reason: str, by: Actor) -> Ban:
        """Ban a network for so long, or until it is lifted."""
        now = self._clock()
        until = None if seconds is None else now + seconds

        def make(network: str, times: int) -> Ban:
            return Ban(secrets.token_hex(6), network, now, until, reason, by.who, count=times)

        bans = await self._keep([client_network(network)], make, by.origin)
        self._totals.add(BANS.name, (BY_OPERATOR,))
        self._enforce(bans)
        self._tell_bans(bans)
        return bans[0]

    async def remove(self, network: str | None, by: Actor) -> list[Ban]:
        """Lift the bans that overlap a network, or all; returns them."""
        now = self._clock()
        try:
            lifted = await self._store.lift_bans(network, by, now)
        except StoreError as error:
            what = f"lift bans of {network or 'everybody'}"
            self._store.postponed.put(lambda s: lift(s, network, by, now), what, error)
            lifted = self._banned.overlapping(network)
        networks = [ban.network for ban in lifted]
        self._lift(network, networks)
        for piece in pieces(networks):
            self._tell_others({"type": "unban", "network": network, "networks": piece})
        return lifted

    async def allow(self, network: str, seconds: float | None, by: Actor) -> None:
        """Never limit or ban a network automatically, for so long or for good; lift its bans."""
        now = self._clock()
        until = None if seconds is None else now + seconds
        await self._store.allow(network, until, by, now)
        self._allowances[network] = until
        self._allowed = self._allowed_now()
        self._tell(self.allowed())
        self._tell_others({"type": "allow", "network": network, "until": until})
        await self.remove(network, by)

    # Other instances

    async def follow(self) -> None:
        """Take over what others have decided in a store that is shared, until cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY)
            await self.catch_up()

    async def catch_up(self) -> None:
        """Take over what others have decided since the last time."""
        if self._store.postponed:
            return  # the store does not know yet what was decided here
        now = self._clock()
        since = self._followed_at - FOLLOWED_AGAIN
        try:
            begun, lifted = await self._store.decide(lambda s: changes(s, since, now))
            allowances = dict(await self._store.allowances(now))
        except StoreError as error:
            log.error("bans of other instances are not known for now: %s", error)
            return
        self._followed_at = now
        gone = {ban.network for ban in lifted if self._banned.has(ban)}
        if gone:
            self._lift(None, sorted(gone), judged=False)
        fresh = [ban for ban in begun if not self._banned.has(ban)]
        for some in pieces(fresh):
            self._enforce(some)
        if allowances != self._allowances:
            self._allowances = allowances
            self._allowed = self._allowed_now()
            self._tell(self.allowed())

    def hear_other(self, message: Message) -> None:
        """Take what another instance has decided just now."""
        kind = message["type"]
        if kind == "ban":
            bans = [Ban(**row) for row in message["rows"]]
            self._enforce([ban for ban in bans if not self._banned.has(ban)])
            self._on_ban([ban for ban in bans if ban.by == AUTOMATIC.who])
        elif kind == "unban":
            self._lift(message["network"], message["networks"])
        elif kind == "allow":
            self._allowances[message["network"]] = message["until"]
            self._allowed = self._allowed_now()
            self._tell(self.allowed())

    def _tell_bans(self, bans: Iterable[Ban]) -> None:
        for some in pieces(list(bans), _AT_ONCE):
            self._tell_others({"type": "ban", "rows": [asdict(ban) for ban in some]})

    def _lift(self, network: str | None, networks: Sequence[str], judged: bool = True) -> None:
        """Lift the bans on `networks`, and forget what was heard of them and of `network` (None:
        of all, if `judged`)."""
        self._banned.remove(networks)
        if network is not None:
            self._judge.forget(network)
        elif judged:
            self._judge.forget_all()
        for name in networks:
            self._judge.forget(name)
            self._offences.pop(name, None)
        for piece in pieces(networks):
            self.version += 1
            self._tell({"type": "unban", "networks": piece, "version": self.version})

    def _enforce(self, bans: Iterable[Ban]) -> None:
        bans = list(bans)
        self._banned.add(bans)
        self.version += 1
        self._tell({"type": "ban", "rows": rows_of(bans), "version": self.version})

    # Who is exempt

    def _allowed_now(self) -> NetworkMap[float]:
        now = self._clock()
        made: NetworkMap[float] = NetworkMap()
        holding = {n: u for n, u in self._allowances.items() if u is None or u > now}
        self._allowances = holding
        for network, until in holding.items():
            made[_as_clients(network)] = float("inf") if until is None else until
        return made

    def _is_exempt(self, network: str) -> bool:
        version, width, bits = place(network)
        number, now = bits << width, self._clock()
        if any(self._exempt.around(version, number)):
            return True
        return any(now < until for until in self._allowed.around(version, number))


def _as_clients(cidr: str) -> str:
    """A network, or the /64 around it: IPv6 clients are not distinguished by less."""
    network = ipaddress.ip_network(client_network(str(ipaddress.ip_network(cidr, strict=False))))
    if network.version == 6 and network.prefixlen > 64:
        return client_network(str(network.network_address))
    return str(network)


_FEW = 64
"""More changes than these at once are cheaper as one pass over all bans."""

_Row = tuple[float, str, str]
"""When a ban began, its id and its network."""


class BansInForce:
    """The bans in force, in memory; the store keeps them, the workers enforce them.

    There may be very many, and somebody always looks: they are kept in order, and those that end
    are found in a heap, so that neither a change nor a page of the list costs a pass over all.
    """

    def __init__(self, bans: Iterable[Ban], clock: Callable[[], float] = time.time) -> None:
        self._by_network = {ban.network: ban for ban in sorted(bans, key=lambda ban: ban.since)}
        self._clock = clock
        self._rows: list[_Row] = []
        self._ends: list[tuple[float, str]] = []
        """When the ban on which network ends; some of them may be gone or replaced."""
        self._widths: set[tuple[int, int]] = set()
        """The IP versions and lengths of prefix that bans have had."""
        self._order()

    def __contains__(self, network: str) -> bool:
        ban = self._by_network.get(network)
        return ban is not None and ban.holds(self._clock())

    def __len__(self) -> int:
        self._end()
        return len(self._rows)

    def has(self, ban: Ban) -> bool:
        """True if this very ban is in force."""
        known = self._by_network.get(ban.network)
        return known is not None and known.id == ban.id

    def newest(self, most: int, after: tuple[float, str] | None = None) -> Sequence[Ban]:
        """Up to so many, newest first; `after`: only those behind this beginning and id."""
        self._end()
        stop = len(self._rows) if after is None else bisect_left(self._rows, after)
        rows = self._rows[max(0, stop - most) : stop]
        return [self._by_network[network] for _, _, network in reversed(rows)]

    def on(self, network: str) -> Ban | None:
        """The ban of the narrowest network around this one, if there is any."""
        client = ipaddress.ip_network(network)
        for version, width in sorted(self._widths, reverse=True):
            if version == client.version and width <= client.prefixlen:
                ban = self._by_network.get(str(client.supernet(new_prefix=width)))
                if ban is not None and ban.holds(self._clock()):
                    return ban
        return None

    def overlapping(self, network: str | None) -> list[Ban]:
        """Those that overlap a network, or all. A pass over all of them."""
        if network is None:
            return list(self.in_force())
        wanted = ipaddress.ip_network(client_network(network))
        return [ban for ban in self.in_force() if overlap(ban.network, wanted)]

    def in_force(self) -> Sequence[Ban]:
        """All that hold now, newest first."""
        return self.newest(len(self))

    def add(self, bans: Iterable[Ban]) -> None:
        """Take more, each in place of an older one on the same network."""
        bans = {ban.network: ban for ban in bans}.values()
        self.remove([ban.network for ban in bans if ban.network in self._by_network])
        self._by_network.update((ban.network, ban) for ban in bans)
        self._widths.update(map(_width, bans))
        if len(bans) > _FEW or len(self._ends) > 2 * len(self._by_network) + _FEW:
            return self._order()
        for ban in bans:
            insort(self._rows, _row(ban))
            if ban.until is not None:
                heappush(self._ends, (ban.until, ban.network))

    def remove(self, networks: Iterable[str]) -> None:
        """Forget those on exactly these networks."""
        gone = [ban for n in networks if (ban := self._by_network.pop(n, None)) is not None]
        self._drop(gone)

    def _end(self) -> None:
        """Forget those whose time is over."""
        now, gone = self._clock(), []
        while self._ends and self._ends[0][0] <= now:
            _, network = heappop(self._ends)
            ban = self._by_network.get(network)
            if ban is not None and not ban.holds(now):
                gone.append(self._by_network.pop(network))
        self._drop(gone)

    def _drop(self, gone: Collection[Ban]) -> None:
        if len(gone) > _FEW:
            return self._order()
        for ban in gone:
            del self._rows[bisect_left(self._rows, _row(ban))]

    def _order(self) -> None:
        bans = self._by_network.values()
        self._rows = sorted(map(_row, bans))
        self._widths = set(map(_width, bans))
        self._ends = [(ban.until, ban.network) for ban in bans if ban.until is not None]
        heapify(self._ends)


def _width(ban: Ban) -> tuple[int, int]:
    address, _, width = ban.network.partition("/")
    return 6 if ":" in address else 4, int(width)


def _row(ban: Ban) -> _Row:
    return ban.since, ban.id, ban.network
