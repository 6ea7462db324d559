"""The settings of the data plane, and those that a worker gets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from typing import Literal

from monitor.common import validators
from monitor.common.config import MirrorConfig
from monitor.common.logs import LogConfig
from monitor.common.settings import Duration, Size, setting
from router.admission.config import KeysConfig, LimitsConfig, PriceConfig
from router.balancing.config import (
    BalanceConfig,
    ClassConfig,
    EjectionConfig,
    QueueConfig,
    RetryConfig,
    TimeoutConfig,
)

LEGACY_PATHS = "/pro/"
LEGACY_CHAT, LEGACY_BALANCE = "/pro/chat/completions", "/pro/balance"


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Streams that wait in silence."""

    keepalive: Duration = setting(
        15.0, "silence before something without content is sent", check=validators.positive
    )
    keepalive_style: Literal["comment", "chunk", "off"] = setting(
        "chunk",
        'what is sent: "chunk" (an event without content, where there is such), "comment" or "off"',
    )


def _trusted(text: str) -> str | None:
    return None if text in ("private", "cloudflare") else validators.network(text)


def _field_name(text: str) -> str | None:
    fine = re.fullmatch(r"[A-Za-z0-9-]{1,64}", text)
    return None if fine else f'expected the name of a header field, got "{text}"'


def _origin(text: str) -> str | None:
    return None if text == "*" else validators.http_url(text)


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The API listener and the way of a request."""

    listen: str = setting(
        "127.0.0.1:8080", "clients", check=validators.listen_address, restart=True
    )
    workers: int = setting(
        0, "data-plane processes; 0 = one per core", check=validators.between(0, 512), restart=True
    )
    forward: tuple[str, ...] = setting(
        ("/v1/",),
        'path prefixes forwarded as they are; e.g. add "/mj/"',
        check=validators.each(validators.path_prefix),
    )
    forgiving_paths: bool = setting(
        True, '"/v1/v1/x" and "/chat/completions" are taken for "/v1/…"'
    )
    callers: tuple[Literal["own", "issued", "anonymous"], ...] = setting(
        ("own", "issued"),
        'who may call: with their "own" upstream key, with a key "issued" here, "anonymous" '
        "with none",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        'CIDRs, or "private", or "cloudflare": whose client_ip_header is believed',
        check=validators.each(_trusted),
    )
    client_ip_header: str = setting(
        "x-forwarded-for",
        'header naming the client; "forwarded" is read as RFC 7239 says',
        check=_field_name,
    )
    proxy_protocol: bool = setting(
        False, "every connection begins with the PROXY protocol, version 1 or 2"
    )
    max_body: Size = setting(512 << 20, "largest request body", shown='"512MiB"')
    replay_body: Size = setting(
        4 << 20, "JSON bodies up to this size are kept, to be sent again", shown='"4MiB"'
    )
    cors_origins: tuple[str, ...] = setting(
        ("*",), "origins of browser apps that may call", check=validators.each(_origin)
    )
    tls_cert: str = setting(
        "", "both set: the API listener speaks HTTPS; reloaded with the configuration"
    )
    tls_key: str = setting("", "PEM file of the key")
    expose_mirror: bool = setting(
        True, "x-mirrorgate-mirror on responses, and ids of mirrors in errors"
    )
    legacy: bool = setting(False, "/pro/chat/completions and /pro/balance, see [legacy]")
    timeouts: TimeoutConfig = setting(TimeoutConfig)
    retry: RetryConfig = setting(RetryConfig)
    stream: StreamConfig = setting(StreamConfig)
    balance: BalanceConfig = setting(BalanceConfig)
    ejection: EjectionConfig = setting(EjectionConfig)
    queue: QueueConfig = setting(QueueConfig)
    classes: tuple[ClassConfig, ...] = setting((), "other timeouts per endpoint or model")

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the faults between settings."""
        if bool(self.tls_cert) != bool(self.tls_key):
            missing = "tls_key" if self.tls_cert else "tls_cert"
            yield missing, "is required when the other of tls_cert and tls_key is set"
        if not self.forward:
            yield "forward", "expected at least one path prefix"
        if self.legacy and any(LEGACY_PATHS.startswith(prefix) for prefix in self.forward):
            yield "legacy", f"{LEGACY_PATHS} is forwarded to mirrors: see router.forward"
        if not self.callers:
            yield "callers", "expected at least one kind of caller"
        if "anonymous" in self.callers and "*" in self.cors_origins:
            yield "cors_origins", '"*" with anonymous callers lets every web page spend your key'
        for name in ("stream_head", "first_content"):
            limit, elapsed = getattr(self.timeouts, name), self.retry.elapsed
            if limit >= elapsed:
                message = f"leaves no time for another mirror: retry.elapsed is {elapsed:g} s"
                yield f"timeouts.{name}", message


def _day(text: str) -> str | None:
    try:
        fine = not text or date.fromisoformat(text) > date(2026, 12, 1)
    except ValueError:
        fine = False
    return None if fine else f'expected a day after 2026-12-01, as "2027-12-31", got "{text}"'


@dataclass(frozen=True, slots=True)
class LegacyConfig:
    """The /pro/ interface."""

    model: str = setting("gpt-3.5-turbo", "which model answers")
    window: int = setting(
        0,
        "tokens of the model's window, to which context is trimmed; 0: as is known of the model",
        check=validators.at_least(0),
    )
    content: int = setting(
        1000, "characters that a message may have", check=validators.between(1, 100_000)
    )
    session_ttl: Duration = setting(
        1800.0,
        "how long context is kept after the last message",
        shown='"30m"',
        check=validators.positive,
    )
    memory: Size = setting(
        64 << 20,
        "for the context of all sessions; the oldest make room",
        shown='"64MiB"',
        check=validators.at_least(1 << 20),
    )
    balance_days: int = setting(
        90, "days of use that count in a balance", check=validators.between(1, 1000)
    )
    sunset: str = setting(
        "2027-12-31",
        'day from which /pro/ may be gone, told in the Sunset header; "": no such header',
        check=_day,
    )


_TRACES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


@dataclass(frozen=True, slots=True)
class TracesConfig:
    """Traces of requests for an OpenTelemetry collector."""

    endpoint: str = setting(
        "",
        'where spans are sent by OTLP over HTTP, as "http://127.0.0.1:4318/v1/traces"; "": nowhere',
        check=validators.optional(validators.http_url),
    )
    sample: float = setting(
        0.01,
        "share of requests that are traced, 0 to 1; those that a client traces always are",
        check=validators.between(0, 1),
    )
    headers: dict[str, str] = setting(
        {}, 'fields for the collector, e.g. { Authorization = "env:OTLP_TOKEN" }', secret=True
    )

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield what is missing for it."""
        if self.endpoint and not all(map(_installed, _TRACES)):
            yield "endpoint", "needs more packages: pip install 'mirrorgate[traces]'"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a worker: the sections that concern forwarding."""

    router: RouterConfig = setting(RouterConfig)
    limits: LimitsConfig = setting(LimitsConfig)
    keys: KeysConfig = setting(KeysConfig)
    prices: dict[str, tuple[PriceConfig, ...]] = setting({})
    log: LogConfig = setting(LogConfig)
    traces: TracesConfig = setting(TracesConfig)
    mirrors: tuple[MirrorConfig, ...] = setting(())
    contact: str = setting("")
    public_url: str = setting("")
    entrances: tuple[str, ...] = setting(())
    legacy: LegacyConfig = setting(LegacyConfig)
