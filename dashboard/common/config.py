"""The settings of the status page and of the operators' desk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from zoneinfo import available_timezones

from dashboard.i18n.catalogues import LANGUAGES
from monitor.common import validators
from monitor.common.hosts import host_of
from monitor.common.settings import setting


@dataclass(frozen=True, slots=True)
class EntranceConfig:
    """An address that clients should use, shown on the status page."""

    url: str = setting(doc="the base URL", check=validators.http_url)
    region: str = setting("", "shown beside it", check=validators.name)
    cdn: bool = setting(False, "shown beside it")


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """A link shown on the status page."""

    title: str = setting(doc="its words", check=validators.name)
    url: str = setting(doc="where it leads", check=validators.http_url)


def _languages(values: tuple[str, ...]) -> str | None:
    unknown = [value for value in values if value not in LANGUAGES]
    known = ", ".join(LANGUAGES)
    return f"expected some of {known}, got {unknown or 'none'}" if unknown or not values else None


def _notice(said: dict[str, str]) -> str | None:
    check = validators.at_most_characters(2000)
    wrong = ((language, check(text)) for language, text in said.items())
    return next((f"{language}: {fault}" for language, fault in wrong if fault), None)


def _timezone(text: str) -> str | None:
    known = text == "UTC" or text in available_timezones()
    return None if known else f'expected a time zone such as "Asia/Shanghai", got "{text}"'


@dataclass(frozen=True, slots=True)
class DashboardConfig:
    """The public status page."""

    listen: str = setting(
        "127.0.0.1:8081",
        'the public status page; "" switches it off',
        check=validators.optional(validators.listen_address),
        restart=True,
    )
    public_url: str = setting(
        "",
        'where visitors see it; "GET /" of the API redirects there',
        check=validators.optional(validators.http_url),
    )
    title: str = setting("mirrorgate", "heading of the page", check=validators.name)
    entrances: tuple[EntranceConfig, ...] = setting(
        (),
        "what clients should use, "
        'e.g. [{ url = "https://api-hk.example.com/v1", region = "香港", cdn = true }]',
    )
    notice: dict[str, str] = setting(
        {}, 'the operator\'s own words on top: { zh = "…", en = "…" }', check=_notice
    )
    links: tuple[LinkConfig, ...] = setting((), 'e.g. [{ title = "…", url = "…" }]')
    contact: str = setting(
        "", "where a banned client asks", check=validators.at_most_characters(300)
    )
    languages: tuple[str, ...] = setting(("zh", "en"), "the first is the default", check=_languages)
    timezone: str = setting("UTC", "of times on the page", check=_timezone)
    show_hosts: bool = setting(True, "false: hosts of mirrors are not shown")
    bans: Literal["full", "masked", "off"] = setting(
        "masked", 'how the list of banned clients is shown: "full", "masked" or "off"'
    )
    requests_per_second: float = setting(
        10.0,
        "of one visitor, by router.trusted_proxies too; six times as many at once; 0: no limit",
        check=validators.at_least(0),
    )
    total_requests_per_second: float = setting(
        400.0,
        "of all visitors; 0: no limit",
        check=validators.at_least(0),
    )
    max_connections_per_visitor: int = setting(
        32,
        "of one address at once, whatever its rate, a quarter of them for pages that follow "
        "changes; more where many share an address; not of trusted proxies; 0: no limit",
        check=validators.at_least(0),
    )
    location_database: str = setting("", 'an .mmdb file for "where is this IP"')


_ARGON2 = re.compile(r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")


def _password_hash(text: str) -> str | None:
    if not text or _ARGON2.fullmatch(text):
        return None
    return "expected what `mirrorgate hash-password` prints"


def _host_name(text: str) -> str | None:
    known = host_of(text) is not None and ":" not in text
    return None if known else f'expected a host name without a port, got "{text}"'


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """The operators' desk, commands and metrics."""

    listen: str = setting(
        "127.0.0.1:8082",
        'operators\' desk and /metrics; keep it private; "" switches it off',
        check=validators.optional(validators.listen_address),
        restart=True,
    )
    socket: str = setting("mirrorgate.sock", "Unix socket of the commands", restart=True)
    password_hash: str = setting(
        "",
        "of the operators' desk, made by `mirrorgate hash-password`; empty: the desk is off",
        check=_password_hash,
        secret=True,
    )
    hosts: tuple[str, ...] = setting(
        (),
        "names under which browsers reach the desk, beside localhost and IP addresses, "
        'e.g. ["admin.example.com"]',
        check=validators.each(_host_name),
    )
    metrics_token: str = setting(
        "",
        'empty: /metrics answers this machine only; set: it wants "Authorization: Bearer …"',
        check=validators.header_safe,
        secret=True,
    )

    def faults(self) -> Iterator[tuple[str, str]]:
        """A Unix socket path has at most 107 bytes (sys/un.h)."""
        if not self.socket or len(self.socket.encode()) > 107:
            yield "socket", "expected a path of 1 to 107 bytes"
