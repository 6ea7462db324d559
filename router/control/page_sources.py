"""Sources of the status page: the implementation of the dashboard's interface."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from multidict import MultiMapping

from dashboard.common.config import AdminConfig, DashboardConfig
from dashboard.common.location import Locations
from dashboard.common.sources import BanList, Ejection, Visitor, Waiting
from monitor.common.config import MirrorConfig
from monitor.common.metric_registry import Family, Labels, MergedMetrics
from monitor.health.past import Past
from monitor.health.snapshot import HealthBoard, HealthSnapshot
from router.admission.client_address import Clients
from router.control.ban_service import BansInForce
from router.control.configuration import Configuration
from router.forwarding import metrics
from router.forwarding.config import RouterConfig


def base_url(router: RouterConfig) -> str:
    """Where clients find the API, as far as its listener tells."""
    scheme = "https" if router.tls_cert else "http"
    host, _, port = router.listen.rpartition(":")
    if host in ("0.0.0.0", "[::]"):  # every address: this machine's name is one that others can use
        host = socket.gethostname()
    return f"{scheme}://{host}:{port}{router.forward[0].rstrip('/')}"


class PageSources:
    """Sources of pages (`dashboard.common.sources.Sources`)."""

    def __init__(
        self,
        configuration: Configuration,
        board: HealthBoard,
        ejections: Callable[[], Mapping[str, Ejection]],
        past: Callable[[], Past],
        banned: BansInForce,
        merged: MergedMetrics,
        own: Callable[[], None],
    ) -> None:
        self._configuration = configuration
        self._board = board
        self.ejections = ejections
        self.past = past
        self._banned = banned
        self._merged = merged
        self._refresh_own = own
        self._locations = Locations()
        self._router: RouterConfig | None = None
        self._clients = Clients()

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
            return Visitor(peer.client.key, peer.trusted)
        field = self._clients.field
        values = fields.getall(field.decode(), [])
        look = {field: ",".join(values).encode("utf-8", "surrogateescape")} if values else {}
        return Visitor(self._clients.asking(peer, look).key, True)

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
        merged = self._merged
        return Waiting(int(merged.gauge(metrics.QUEUED)), merged.gauge(metrics.QUEUE_WAIT))

    def legacy_days(self) -> int:
        config = self._configuration.current.config
        return config.legacy.balance_days if config.router.legacy else 0

    def config_problem(self) -> str:
        return self._configuration.problem

    def series(self) -> Iterable[tuple[Family, Labels, list[float]]]:
        self._refresh_own()
        return self._merged.sums()

    def version(self) -> str:
        return version("mirrorgate")
