"""The settings of mirrors, of probing and of the store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from monitor.common import validators
from monitor.common.resolver_spec import resolver
from monitor.common.settings import Duration, setting

_MAX_RESOLVERS = 8
MOST_VANTAGES = 4


def _mirror_id(text: str) -> str | None:
    fine = re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text)
    return None if fine else f'expected letters a-z, digits and "-", got "{text}"'


def _resolvers(texts: tuple[str, ...]) -> str | None:
    if not 1 <= len(texts) <= _MAX_RESOLVERS:
        return f"expected 1 to {_MAX_RESOLVERS} resolvers, got {len(texts)}"
    return validators.each(resolver)(texts)


def _wildcard(text: str) -> str | None:
    if text.count("{n}") == 1 and validators.valid_host(text.replace("{n}", "1")):
        return None
    return f'expected a name with {{n}} in it such as "{{n}}.alt.example.com", got "{text}"'


def _target(text: str) -> str | None:
    fine = re.fullmatch(r"/[!-~]*", text) and "#" not in text
    return None if fine else f'expected a path such as "/static/app.js", got "{text}"'


@dataclass(frozen=True, slots=True)
class MirrorConfig:
    """One mirror: an HTTPS host that relays the OpenAI API."""

    id: str = setting(doc="stable name for it, [a-z0-9-]", check=_mirror_id)
    url: str = setting(
        doc='where it is; a path in it is kept ("https://host/openai" + "/v1/…")',
        check=validators.http_url,
    )
    name: str = setting("", "shown to people; default: the id", check=validators.name)
    region: str = setting("", "shown to people and on metrics", check=validators.name)
    cdn: bool = setting(False, "declared; what the monitor detects stands beside it")
    weight: float = setting(1.0, "share of traffic relative to others", check=validators.positive)
    hostnames: tuple[str, ...] = setting(
        (),
        "alternates with the same content, used when one is blocked",
        check=validators.each(validators.host),
    )
    wildcard: str = setting(
        "",
        'pattern of alternates, "{n}.alt.example.com" with wildcard_count = 8',
        check=validators.optional(_wildcard),
    )
    wildcard_count: int = setting(
        0, "how many names the wildcard stands for", check=validators.between(0, 1000)
    )
    addresses: tuple[str, ...] = setting(
        (), "pinned IP addresses instead of DNS", check=validators.each(validators.address)
    )
    allow_private: bool = setting(
        False, "true: DNS may answer with private or loopback addresses for this mirror"
    )
    ca_file: str = setting("", "PEM file of a private certificate authority")
    client_keys: tuple[str, ...] = setting(
        ("*",),
        'patterns of callers\' own keys that this mirror understands, e.g. ["sk-*"]; '
        "[] = only api_key",
    )
    api_key: str = setting(
        "",
        "the mirror's own key, for issued and anonymous callers",
        check=validators.header_safe,
        secret=True,
    )
    paths: tuple[str, ...] = setting(
        (),
        'paths that this mirror serves, with all below them: "/mj/", "/v1/messages"; empty: all of '
        "router.forward",
        check=validators.each(validators.served_path),
    )
    models: tuple[str, ...] = setting(
        (), "models that it serves, beside those of model_map; empty: any"
    )
    model_map: dict[str, str] = setting(
        {}, 'its own names of models, by the clients\' ones, e.g. { "gpt-4" = "gpt-4-0613" }'
    )
    max_connections: int = setting(
        0,
        "0: no limit; over all workers, warm and probe connections included",
        check=validators.at_least(0),
    )
    max_requests_per_second: float = setting(
        0.0, "0: no limit; a tenth less is used, for the way there", check=validators.at_least(0)
    )
    bulk_path: str = setting(
        "",
        "something of at least 64 KiB on its host, for active throughput probes",
        check=validators.optional(_target),
    )
    relay_images: bool = setting(
        False,
        "true: links to images on its own host, in its answers about images, lead through this "
        "router, for visitors who cannot reach that host",
    )
    priority: int = setting(0, 'for policy "priority": lower is tried first')
    account: str = setting(
        "",
        "mirrors of one account find each other's files, threads and responses, and share limits: "
        "after a 429 none of them is tried with that key",
    )
    enabled: bool = setting(True, "false: kept in the file, not used and not probed")

    @property
    def scheme(self) -> str:
        """ "http" or "https"."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """The host name or address in `url`, lower case, without a trailing dot."""
        return (urlsplit(self.url).hostname or "").rstrip(".")

    @property
    def port(self) -> int:
        """The TCP port of `url`."""
        return urlsplit(self.url).port or (443 if self.scheme == "https" else 80)

    @property
    def base_path(self) -> str:
        """The path of `url` without its trailing slash: "" or "/openai"."""
        return urlsplit(self.url).path.rstrip("/")

    @property
    def authority(self) -> str:
        """Value of `Host`: with the port only where it is not the scheme's own."""
        return self.authority_of(self.host)

    def authority_of(self, host: str) -> str:
        """The same for another name of this mirror."""
        bare = f"[{host}]" if ":" in host else host
        default = 443 if self.scheme == "https" else 80
        return bare if self.port == default else f"{bare}:{self.port}"

    @property
    def label(self) -> str:
        """The name shown to people."""
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class MonitorTimeouts:
    """Timeouts of the steps of a probe; all together half an interval, but at least 5 s."""

    resolve: Duration = setting(5.0, "one name, all tries", check=validators.positive)
    connect: Duration = setting(4.0, "TCP", check=validators.positive)
    handshake: Duration = setting(6.0, "TLS", check=validators.positive)
    request: Duration = setting(10.0, "until the response is complete", check=validators.positive)


@dataclass(frozen=True, slots=True)
class MonitorRetention:
    """Retention of history."""

    samples: Duration = setting(604800.0, "raw samples", shown='"7d"')
    rollups: Duration = setting(2592000.0, "5-minute roll-ups", shown='"30d"')
    hours: Duration = setting(
        63072000.0, "hourly roll-ups, changes of state, incidents", shown='"730d"'
    )
    audit: Duration = setting(31536000.0, "who changed what", shown='"365d"')


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Which resolvers are asked."""

    resolvers: tuple[str, ...] = setting(
        ("system",),
        '"system", "udp://ADDR", "tcp://ADDR", "https://…/dns-query"',
        check=_resolvers,
    )


@dataclass(frozen=True, slots=True)
class SniConfig:
    """The differential handshake."""

    control: tuple[str, ...] = setting(
        ("example.org",),
        "control names; [] switches it off",
        check=validators.each(validators.host),
    )


def _proxy(text: str) -> str | None:
    expected = 'expected "socks5://HOST:PORT" or "http://HOST:PORT", perhaps with USER:PASSWORD@'
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("socks5", "http") and parts.hostname and parts.port
    except ValueError:
        whole = None
    return None if whole and not (parts.path or parts.query or parts.fragment) else expected


@dataclass(frozen=True, slots=True)
class VantageConfig:
    """Another place to probe from, through a proxy of yours; no requests of clients, no keys."""

    name: str = setting(doc="name of that place, [a-z0-9-]", check=_mirror_id)
    proxy: str = setting(
        doc='"socks5://HOST:PORT" or "http://HOST:PORT", perhaps with USER:PASSWORD@; both send '
        "these in the clear",
        check=_proxy,
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """Probing of mirrors."""

    interval: Duration = setting(
        15.0, "between two probes of a mirror, ±20 % jitter", check=validators.at_least(0.1)
    )
    residual: Duration = setting(
        185.0,
        "an address is left alone for this long after a suspected block, longer when it repeats",
        check=validators.positive,
        restart=True,
    )
    rise: int = setting(
        2, "good probes in a row before down becomes up", check=validators.at_least(1)
    )
    fall: int = setting(
        3, "bad probes in a row before up becomes down", check=validators.at_least(1)
    )
    anchors: tuple[str, ...] = setting(
        (),
        "host:port of others that tell whether we are online ourselves",
        check=validators.each(validators.host_and_port),
    )
    canary: bool = setting(False, "probe with a real completion (costs tokens)")
    canary_daily_tokens: int = setting(
        1000, "upper bound per mirror and day", check=validators.at_least(0)
    )
    canary_model: str = setting("gpt-4o-mini", "which model, where a mirror serves it")
    vantage: str = setting(
        "", "name of this place; default: host name", check=validators.name, restart=True
    )
    vantages: tuple[VantageConfig, ...] = setting(
        (),
        '[{ name = "hk-1", proxy = "env:HK_PROXY" }]: other places to probe from, through proxies '
        "of yours",
    )
    timeouts: MonitorTimeouts = setting(MonitorTimeouts)
    retention: MonitorRetention = setting(MonitorRetention)
    dns: DnsConfig = setting(DnsConfig)
    sni: SniConfig = setting(SniConfig)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Faults of the vantages as a whole, as (path, message)."""
        taken = {self.vantage: "monitor.vantage"} if self.vantage else {}
        if len(self.vantages) > MOST_VANTAGES:
            yield "vantages", f"expected at most {MOST_VANTAGES}, got {len(self.vantages)}"
        for index, each in enumerate(self.vantages):
            if each.name in taken:
                yield f"vantages[{index}].name", f'"{each.name}" is taken by {taken[each.name]}'
            taken.setdefault(each.name, f"monitor.vantages[{index}]")


def _store_url(text: str) -> str | None:
    if text.startswith("sqlite:///") or text.startswith(("postgresql://", "postgresql+")):
        return None
    return 'expected "sqlite:///FILE" or "postgresql://…"'


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where history, bans and keys are kept."""

    url: str = setting(
        "sqlite:///mirrorgate.db",
        "or postgresql://…",
        check=_store_url,
        restart=True,
        secret=True,
    )


def mirror_faults(mirrors: tuple[MirrorConfig, ...]) -> Iterator[tuple[str, str]]:
    """Return the faults of the list of mirrors as a whole, as (path, message)."""
    seen: dict[str, int] = {}
    for index, mirror in enumerate(mirrors):
        if mirror.id in seen:
            yield f"mirrors[{index}].id", f'"{mirror.id}" is taken by mirrors[{seen[mirror.id]}]'
        seen.setdefault(mirror.id, index)
