"""The sections of `config.toml`, and what must hold between them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from dashboard.common.config import AdminConfig, DashboardConfig
from monitor.common.config import MirrorConfig, MonitorConfig, StoreConfig
from monitor.common.logs import LogConfig
from monitor.common.settings import setting
from monitor.notify.config import NotifyConfig
from monitor.notify.message import Style
from router.admission.config import KeysConfig, LimitsConfig, PriceConfig, dated
from router.forwarding.config import LegacyConfig, RouterConfig, TracesConfig

_ANY_ADDRESS = ("0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    mirrors: tuple[MirrorConfig, ...] = setting((), "the mirrors")
    router: RouterConfig = setting(RouterConfig)
    limits: LimitsConfig = setting(LimitsConfig)
    monitor: MonitorConfig = setting(MonitorConfig)
    dashboard: DashboardConfig = setting(DashboardConfig)
    admin: AdminConfig = setting(AdminConfig)
    store: StoreConfig = setting(StoreConfig)
    log: LogConfig = setting(LogConfig)
    traces: TracesConfig = setting(TracesConfig)
    legacy: LegacyConfig = setting(LegacyConfig)
    keys: KeysConfig = setting(KeysConfig)
    notify: tuple[NotifyConfig, ...] = setting((), "receivers of notices of changes")
    prices: dict[str, tuple[PriceConfig, ...]] = setting({}, "what models cost", check=dated)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Two listeners on one port: the second could not be bound."""
        taken: list[tuple[str, str]] = []
        for section in ("router", "dashboard", "admin"):
            listen = getattr(self, section).listen
            for other, address in taken:
                if _same_port(listen, address):
                    yield f"{section}.listen", f"the port is taken by {other}.listen ({address})"
            taken.append((section, listen))


def vantage_name(config: Config) -> str:
    """The name of the place that this configuration runs at."""
    return config.monitor.vantage or socket.gethostname()


def notification_style(config: Config) -> Style:
    """The settings of all notifications: page title and vantage tell instances apart."""
    page = config.dashboard
    origin = f"{page.title} {vantage_name(config)}"
    return Style(page.languages[0], page.timezone, origin, page.public_url)


def _same_port(one: str, other: str) -> bool:
    host, _, port = one.rpartition(":")
    other_host, _, other_port = other.rpartition(":")
    meet = host == other_host or host in _ANY_ADDRESS or other_host in _ANY_ADDRESS
    return bool(one and other) and port == other_port != "0" and meet
