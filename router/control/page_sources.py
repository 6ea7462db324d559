"""Sources of the status page: the implementation of the dashboard's interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple
from zoneinfo import ZoneInfo

from multidict import MultiMapping

from dashboard.common.config import AdminConfig, DashboardConfig
from dashboard.common.location import Locations
from dashboard.common.sources import BanList, Ejection, Offer, Rescued, Terms, Visitor, Waiting
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyAccount
from monitor.common.metric_registry import Series
from monitor.common.money import written
from monitor.health.announcements import Announced
from monitor.health.past import Past
from monitor.health.snapshot import HealthBoard, HealthSnapshot, MirrorHealth
from router.admission.client_address import Clients
from router.control.ban_service import BansInForce
from router.control.configuration import Configuration
from router.control.instance_metrics import InstanceMetrics
from router.forwarding import metrics
from router.forwarding.config import RouterConfig
from router.metering.prices import Price, Prices, day_of
from router.process.listener import base_url
from router.upstream.model_lists import models_of


def _midnight(now: float, zone: str) -> float:
    there = datetime.fromtimestamp(now, ZoneInfo(zone))
    return there.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


class _Listing(NamedTuple):
    """A mirror as `models_of` sees it."""

    mirror: MirrorConfig
    health: MirrorHealth


def _offer(model: str, price: Price | None) -> Offer:
    if price is None:
        return Offer(model)
    cached = 0 if price.cached == price.input else price.cached
    amounts = (price.input, cached, price.output, price.image, price.audio_minute, price.characters)
    input_, cached_, output, image, audio, characters = (written(a) if a else "" for a in amounts)
    return Offer(model, input_, cached_, output, image, audio, characters, price.note)


class PageSources:
    """Sources of pages (`dashboard.common.sources.Sources`)."""

    def __init__(
        self,
        configuration: Configuration,
        board: HealthBoard,
        ejections: Callable[[], Mapping[str, Ejection]],
        past: Callable[[], Past],
        announced: Callable[[], Announced],
        banned: BansInForce,
        numbers: InstanceMetrics,
        key_account: Callable[[str], KeyAccount | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._configuration = configuration
        self._board = board
        self.ejections = ejections
        self.past = past
        self.announced = announced
        self._banned = banned
        self._numbers = numbers
        self.key_account = key_account
        self._locations = Locations()
        self._router: RouterConfig | None = None
        self._clients = Clients()
        self._clock = clock
        self._rescued = Rescued(0, clock())
        self._rescued_before = 0

    def snapshot(self) -> HealthSnapshot:
        return self._board.current

    def mirrors(self) -> tuple[MirrorConfig, ...]:
        return self._configuration.current.config.mirrors

    def bans(self) -> BanList:
        return self._banned

    def visitor(self, address: str, fields: MultiMapping[str] | None) -> Visitor:
        """As the API listener tells its clients apart."""
        router = self._configuration.current.config.router
        if router is not self._router:
            self._router = router
            self._clients = Clients(router.trusted_proxies, router.client_ip_header)
        peer = self._clients.peer(address)
        if fields is None or not peer.trusted:
            client = peer.client
            return Visitor(client.key, peer.trusted, client.network, client.address)
        field = self._clients.field
        values = fields.getall(field.decode(), [])
        look = {field: ",".join(values).encode("utf-8", "surrogateescape")} if values else {}
        client = self._clients.asking(peer, look)
        return Visitor(client.key, True, client.network, client.address)

    def locations(self) -> Locations:
        self._locations.use(self._configuration.current.config.dashboard.location_database)
        return self._locations

    def dashboard(self) -> DashboardConfig:
        return self._configuration.current.config.dashboard

    def admin(self) -> AdminConfig:
        return self._configuration.current.config.admin

    def api_url(self) -> str:
        return base_url(self._configuration.current.config.router)

    def waiting(self) -> Waiting:
        merged = self._numbers.merged
        return Waiting(int(merged.gauge(metrics.QUEUED)), merged.gauge(metrics.QUEUE_WAIT))

    def rescued(self) -> Rescued:
        count = int(self._numbers.merged.total(metrics.RESCUED))
        midnight = _midnight(self._clock(), self.dashboard().timezone)
        if midnight > self._rescued.since:
            self._rescued, self._rescued_before = Rescued(0, midnight), count
        return self._rescued._replace(requests=max(0, count - self._rescued_before))

    def legacy_days(self) -> int:
        config = self._configuration.current.config
        return config.legacy.balance_days if config.router.legacy else 0

    def terms(self) -> Terms:
        config = self._configuration.current.config
        router, limits = config.router, config.limits
        timeouts, stream = router.timeouts, router.stream
        return Terms(
            callers=router.callers,
            key_prefix=config.keys.prefix,
            connections=limits.connections,
            requests_per_second=limits.requests_per_second,
            burst=limits.burst,
            counted_by_key=limits.by == "key",
            ban_after=limits.ban.violations,
            ban_within=limits.ban.within,
            ban_for=limits.ban.for_,
            ban_max=limits.ban.max,
            max_body=router.max_body,
            read_body=router.replay_body,
            queue=router.queue.max_wait,
            header=timeouts.header,
            idle=timeouts.idle,
            total=timeouts.total,
            keepalive=0 if stream.keepalive_style == "off" else stream.keepalive,
            names_mirror=router.expose_mirror,
        )

    def offers(self) -> Sequence[Offer]:
        config = self._configuration.current.config
        snapshot, prices, today = self._board.current, Prices(config.prices), day_of(self._clock())
        names: set[str] = set()
        for mirror in config.mirrors:
            known = _Listing(mirror, snapshot.of(mirror.id))
            if mirror.enabled and known.health.in_rotation:
                names |= models_of(known)
        return [_offer(name, prices.of(name, today)) for name in sorted(names)]

    def config_problem(self) -> str:
        return self._configuration.problem

    def series(self) -> Callable[[], Iterable[Series]]:
        return self._numbers.series()

    def version(self) -> str:
        return version("mirrorgate")
