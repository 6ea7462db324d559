"""The mirrors as this worker sees them: settings, health, load and idle connections in one place.

`available` is what operator, health and quarantine allow; load and the caller's key are asked by
whoever selects. A mirror whose settings change becomes a new upstream; the old one serves its
running requests to their end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final, NamedTuple

from monitor.common.config import MirrorConfig
from monitor.diagnosis.verdicts import ANSWERED, NAME_CUT, REACHED
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, Override, State
from router.admission.client_address import named_key
from router.admission.shared_table import UNCOUNTED, Table
from router.balancing.breaker import Breaker
from router.balancing.config import BalanceConfig, EjectionConfig, Settings
from router.balancing.ejection import FailureWatch
from router.balancing.load import Baseline, Load, network_terms
from router.balancing.timeouts import OVERDUE, leave_early
from router.upstream.connection import UpstreamConnection
from router.upstream.key_leaks import KeyForms
from router.upstream.limiter import Limiter
from router.upstream.model_lists import lacking, named_by, only_models
from router.upstream.offered_models import OfferedModels
from router.upstream.paths import LAST, USABLE, Route, route_to, routes_of
from router.upstream.trials import Trials
from router.wire.timer_wheel import NEVER, TimerWheel

MAX_IDLE: Final = 256
"""Idle connections kept per mirror and worker. Answers come in bursts: with 64 clients, 32 as in
nginx's usual `keepalive 32` closed half of the connections each time, and a request cost 85 µs of
CPU instead of 50. Those that a burst has left over go after `IDLE_SECONDS`."""
IDLE_SECONDS: Final = 45.0
"""Below the 60 to 75 s after which the usual servers close, so that few are stale when taken."""
LEFT_ALONE_SECONDS: Final = 600.0
"""The same while no new one may be opened: an old connection is better than none."""

FREEZING = 0.2
"""Share of its traffic that a mirror keeps whose longer answers stop dead; most are streams."""
NOBODY: Mapping[str, float] = MappingProxyType({})
"""The quarantine in which nothing is."""


NO_FALLBACK = 0
ON_TRIAL = 3
FALLBACK_RANKS = (1, 2, ON_TRIAL)
"""The ranks of mirrors that are down, in the order in which they are tried when none is up."""


def fallback_rank(health: MirrorHealth, left_alone: bool = False) -> int:
    """Rank of a mirror as a last resort: 1 if it answers something, or did before it was
    `left_alone` and its open connections are as good as ever; 2 if it can only be reached; 3 if
    its names were cut off, so that now and then one request tries them; 0 if it must not be used:
    not wanted, not reached, or under a wrong certificate."""
    if health.wish is not Override.use or health.in_rotation:
        return NO_FALLBACK
    if left_alone or health.verdict in ANSWERED:
        return 1
    if health.verdict in REACHED:
        return 2
    return ON_TRIAL if health.verdict in NAME_CUT else NO_FALLBACK


class Record(NamedTuple):
    """Statistics of a mirror from traffic; they outlive a change of the mirror's other settings."""

    load: Load
    breaker: Breaker
    watch: FailureWatch

    @classmethod
    def new(cls, mirror: str, config: Settings, table: Table, now: float) -> Record:
        """The record of a mirror that nothing is known of."""
        stamp = table.stamp_of(named_key("mirror", mirror))
        load = Load(1.0, config.balance, now, table.stamps, stamp)
        return cls(load, Breaker(mirror), FailureWatch(config.ejection))


class Upstream:
    """One mirror, seen from one worker."""

    def __init__(
        self,
        mirror: MirrorConfig,
        health: MirrorHealth,
        quarantine: Mapping[str, float] = NOBODY,
        record: Record | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self.mirror = mirror
        self.id = mirror.id
        self.encoded_id = mirror.id.encode()
        self.priority = mirror.priority
        self.record = record or Record(
            Load(1.0, BalanceConfig(), 0.0), Breaker(mirror.id), FailureWatch(EjectionConfig())
        )
        self.load = self.record.load
        self.breaker = self.record.breaker
        self.watch = self.record.watch
        self.limiter = limiter
        """What its operator allows at most, if there is a limit."""
        self.removed = False
        self.lacks: frozenset[str] = frozenset()
        """Models that it does not list for its own key while another mirror has them."""
        self.account = mirror.account or f"\0{mirror.id}"
        """Where files and threads made on it are found; it has one of its own unless it says so."""
        self.only = only_models(mirror)
        """The models that it has, by the operator's word; empty: any."""
        self.renames = mirror.model_map
        """Clients' names of models, and its own."""
        self.base_path = mirror.base_path.encode()
        self.relays_images = mirror.relay_images
        self.api_key = mirror.api_key.encode()
        self.key_forms = KeyForms.of(self.api_key)
        """What no answer to a request with its key may hold."""
        paths = [path.encode() for path in mirror.paths]
        below = (path if path.endswith(b"/") else path + b"/" for path in paths)
        self._paths = (*below, *(path + b"?" for path in paths))
        self._whole_paths = frozenset(paths)
        self._takes_any_key = "*" in mirror.client_keys
        self._idle: deque[UpstreamConnection] = deque()
        self._charted = health
        """The last health that knew of paths: a control process that has just begun knows none."""
        self.beside: tuple[Route, ...] = ()
        """The paths of other mirrors to the only address of this one, under other names."""
        self.trials = Trials()
        """Of a mirror all names of which were cut off."""
        self.late: Callable[[], None] | None = None
        """Ends the opening of a connection that no request waits for any more, if there is one."""
        self._take(health, quarantine)

    def __repr__(self) -> str:
        return f"<Upstream {self.id} {self.health.state}, {self.in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        """Requests on it."""
        return self.load.in_flight

    def see(self, health: MirrorHealth, quarantine: Mapping[str, float], now: float) -> None:
        """Take what is known of the mirror now, and which endpoints are held until when. One that
        was down begins with a small share."""
        if health is self.health and quarantine == self._quarantine:
            return
        if self.health.state is State.down and health.in_rotation:
            self.load.recover(now)
        if self.health.in_rotation and not health.in_rotation:
            self.trials = Trials()
        self._take(health, quarantine)

    def _take(self, health: MirrorHealth, quarantine: Mapping[str, float]) -> None:
        self.health = health
        if health.paths:
            self._charted = health
        frozen = FREEZING if health.freezes_streams else 1.0
        self.load.weight = self.mirror.weight * health.weight * frozen
        self.lends_key = bool(self.api_key) and not health.key_refused
        """True if issued and anonymous callers can be served now."""
        self._quarantine = quarantine
        self.routes = routes_of(self.mirror, self._charted, quarantine)
        """The paths for new connections, in the order to use; empty: its name is resolved."""
        first = next((route for route in self.routes if route.rank == USABLE), None)
        own = first is not None and first.host == self.mirror.host
        self._main = first.authority if first and own else None
        self.settle(0.0)
        for connection in [each for each in self._idle if self._strays(each)]:
            self._idle.remove(connection)
            connection.leave()

    def settle(self, now: float) -> None:
        """Look anew whether it can be used, `now` in seconds since the epoch; 0: every quarantine
        counts as running until somebody who knows the time looks again."""
        self.left_alone = bool(self.routes) and (not self.open_routes(now) or self._yields)
        """True if no new connection may be opened: all its addresses are left alone, or it would
        shut the only one for other mirrors."""
        usable = self.mirror.enabled and (bool(self._idle) or not self.left_alone)
        self.available = usable and self.health.in_rotation
        """True if new requests may be sent: enabled, wanted, not known to be down, and with a
        connection, or with a path that is not quarantined."""
        self.fallback_rank = fallback_rank(self.health, self.left_alone) if usable else NO_FALLBACK
        """Place among those that are tried while no mirror is available."""
        self.few_ways = self.left_alone or self.fallback_rank == ON_TRIAL
        """True if not every request can be sent to it, though it may be chosen: ask `can_take`."""

    @property
    def _yields(self) -> bool:
        """True if its names are known to be cut off, and others depend on the only address."""
        others = any(route.rank < LAST for route in self.beside)
        return others and all(route.rank == LAST for route in self.routes)

    def share_address_with(self, routes: Iterable[Route]) -> None:
        """Take the paths of all mirrors to its address; those under other names count."""
        names = {route.host for route in self.routes}
        beside = tuple(route for route in routes if route.host not in names)
        if beside != self.beside:
            self.beside = beside
            self.settle(0.0)

    def can_take(self, now: float, pooled: bool) -> bool:
        """True if there is a way to it now, where ways are few: `pooled` requests may take an idle
        connection, others need a new one; `now` on the clock of loads."""
        if pooled and self._idle:
            return True
        return not self.left_alone and (self.fallback_rank != ON_TRIAL or self.trials.may(now))

    def open_routes(self, now: float) -> list[Route]:
        """The paths that a connection may be opened over now."""
        return [route for route in self.routes if route.quarantined_until <= now]

    def resolved(self, found: Mapping[str, Iterable[str]], now: float) -> list[Route]:
        """The paths over the addresses of names that were resolved here, because the monitor knows
        none yet."""
        ways = ((name, address) for name, addresses in found.items() for address in addresses)
        routes = (route_to(self.mirror, *way, self._quarantine) for way in ways)
        return [route for route in routes if route.quarantined_until <= now]

    def takes_key(self, key: bytes) -> bool:
        """True if this key of a caller's own fits `client_keys`."""
        if self._takes_any_key:
            return True
        text = key.decode("latin-1")
        return any(fnmatchcase(text, pattern) for pattern in self.mirror.client_keys)

    def serves(self, target: bytes) -> bool:
        """True if it has this endpoint."""
        return not self._paths or target.startswith(self._paths) or target in self._whole_paths

    @property
    def idle_seconds(self) -> float:
        """Seconds that a connection is kept that nobody uses."""
        return LEFT_ALONE_SECONDS if self.left_alone else IDLE_SECONDS

    @property
    def is_suspect(self) -> bool:
        """True if probes, its breaker or its last request say that it may be failing."""
        unwell = self.health.state in (State.down, State.degraded)
        return unwell or not self.breaker.closed or self.watch.failed_last

    def seems_well(self, now: float) -> bool:
        """True if nothing says that it may be failing."""
        return not self.is_suspect and self.load.overdue(now) < OVERDUE

    def seems_lost(self, since: float, baseline: Baseline, now: float) -> bool:
        """True if it has answered nobody since then, when it got a request with this baseline, and
        is most likely dead."""
        if self.load.answered_at > since:
            return False
        return leave_early(
            now - since,
            baseline,
            suspect=self.is_suspect,
            dead=self.health.state is State.down and self.watch.unreached,
            overdue=self.load.overdue(now),
        )

    @property
    def has_idle(self) -> bool:
        """True if a connection waits to be used again."""
        return bool(self._idle)

    def take_idle(self, now: float) -> UpstreamConnection | None:
        """The most recently used idle connection that is likely to live."""
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < self.idle_seconds and not connection.is_closed():
                return connection
            connection.leave()
        return None

    def give_back(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection for the next request, or close it."""
        if not connection.reusable():
            connection.leave()
            return
        connection.release()
        self.keep(connection, now)

    def _strays(self, connection: UpstreamConnection) -> bool:
        """True if it was opened under another name, while the mirror's own comes first again, and
        can be used."""
        strange = self._main is not None and connection.authority not in (b"", self._main)
        return strange and not self.left_alone

    def keep(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection that nobody uses for the next request, unless it is not wanted."""
        if self.removed or self._strays(connection):
            connection.leave()
            return
        connection.idle_since = now
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._idle.popleft().leave()
        if self.left_alone and not self.available:
            self.settle(0.0)  # it can be used again, over this one

    def enter(
        self,
        connection: UpstreamConnection | None,
        now: float,
        wheel_now: float,
        make_way: Callable[[Upstream], bool],
    ) -> int | None:
        """Enter a mirror with limits, over this connection or a new one: the place of a new one, or
        UNCOUNTED. None if there is no room: then the connection waits again.

        `make_way` ends one that no client waits for; whether there was one.
        """
        limiter = self.limiter
        if limiter is None:
            return UNCOUNTED
        connects = connection is None and limiter.counts_connections
        place = limiter.enter(now, connects)
        if place is None and connects and (self.drop_idle() or make_way(self)):
            place = limiter.enter(now, connects)
        if place is None and connection is not None:
            self.give_back(connection, wheel_now)
        return place

    def drop_idle(self) -> bool:
        """Close the connection that has waited for longest; whether there was one."""
        if not self._idle:
            return False
        self._idle.popleft().leave()
        return True

    def close_idle(self, since: float = NEVER) -> None:
        """Close the connections that have been idle since then or longer: all, unless told."""
        while self._idle and self._idle[0].idle_since <= since:
            self._idle.popleft().leave()

    def remove(self) -> None:
        """The mirror is no longer wanted: nothing new begins, what runs may end."""
        self.removed = True
        self.close_idle()
        if self.late is not None:
            self.late()


MOST_OFFERED = 10_000
"""Names of models up to which those are kept that no mirror lists any more: lists come late and end
with the mirror's health. A list has at most a thousand."""


class Upstreams:
    """All mirrors of one worker."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._by_id: dict[str, Upstream] = {}
        self._compared: list[tuple[Upstream, tuple[str, ...], bool, bool]] = []
        """What `lacks` was made of."""
        self.offered: frozenset[str] = frozenset()
        """Models of all mirrors, by the operator's word or their own lists, past ones too."""
        self.models = OfferedModels()
        self.have_accounts = False
        """True if some of them are said to share an account."""

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, mirror: str) -> Upstream | None:
        """The mirror with this id."""
        return self._by_id.get(mirror)

    def has_detour(self, mirror: str, now: float) -> bool:
        """True if this mirror is reached over more than one address now."""
        upstream = self._by_id.get(mirror)
        routes = upstream.open_routes(now) if upstream is not None else ()
        return len({route.address for route in routes}) > 1

    def apply(
        self,
        mirrors: Iterable[MirrorConfig],
        snapshot: HealthSnapshot,
        config: Settings,
        now: float,
    ) -> None:
        """Take new settings and health; what is unchanged keeps its load and connections."""
        old, self._by_id = self._by_id, {}
        for mirror in mirrors:
            known = old.get(mirror.id)
            if known is not None and known.mirror == mirror:
                self._by_id[mirror.id] = old.pop(mirror.id)
                continue
            same = known is not None and _same_place(known.mirror, mirror)
            record = known.record if known and same else None
            record = record or Record.new(mirror.id, config, self._table, now)
            health = snapshot.of(mirror.id)
            limiter = Limiter.of(self._table, mirror)
            self._by_id[mirror.id] = Upstream(mirror, health, snapshot.quarantine, record, limiter)
        for upstream in old.values():
            upstream.remove()
        self.have_accounts = any(upstream.mirror.account for upstream in self)
        self.learn(snapshot, now)

    def learn(self, snapshot: HealthSnapshot, now: float) -> None:
        """Take a new health snapshot; `now` is on the clock of loads."""
        for upstream in self:
            upstream.see(snapshot.of(upstream.id), snapshot.quarantine, now)
            if not (upstream.mirror.enabled and upstream.health.wish is Override.use):
                upstream.close_idle()
        self._find_neighbours()
        self._compare_lists()
        terms = network_terms({u.id: u.health.latency.tls for u in self})
        for upstream in self:
            upstream.load.network = terms[upstream.id]

    def _find_neighbours(self) -> None:
        """Tell mirrors that have one address of others that lead there too."""
        leading: dict[tuple[str, int], list[Route]] = {}
        for upstream in self:
            if upstream.mirror.enabled and upstream.health.wish is Override.use:
                for route in upstream.routes:
                    leading.setdefault(route.endpoint, []).append(route)
        for upstream in self:
            over = [leading.get(route.endpoint, []) for route in upstream.routes]
            alone = bool(over) and all(each is over[0] for each in over)
            upstream.share_address_with(over[0] if alone else ())

    def _compare_lists(self) -> None:
        listers = list(self)
        known = [(u, u.health.models, u.health.in_rotation, u.health.key_refused) for u in listers]
        if known != self._compared:
            self._compared = known
            now = frozenset().union(*map(named_by, listers))
            both = self.offered | now
            self.offered = both if len(both) <= MOST_OFFERED else now
            self.models.take(listers)
            for upstream, lacks in zip(listers, lacking(listers), strict=True):
                upstream.lacks = lacks

    def settle(self, now: float) -> None:
        """The time of some quarantine may be over, whether or not control is there to tell."""
        for upstream in self:
            upstream.settle(now)


def _same_place(one: MirrorConfig, other: MirrorConfig) -> bool:
    return (one.url, one.addresses) == (other.url, other.addresses)


class IdleKeeper:
    """The idle connections of all mirrors: closes those that nobody has taken for long.

    Without it, a mirror that gets no more traffic would keep them until it closes them itself. It
    is on the wheel as one item, looked at once a turn.
    """

    deadline = 0.0
    """Always due."""

    def __init__(self, wheel: TimerWheel, upstreams: Upstreams) -> None:
        self._wheel = wheel
        self._upstreams = upstreams

    def abort(self) -> None:
        """It holds nothing of its own; the next look is in a second."""

    def expired(self) -> None:
        """Look once."""
        for upstream in self._upstreams:
            upstream.close_idle(self._wheel.now - upstream.idle_seconds)
