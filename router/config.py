"""The settings of the data plane, and what a worker is told of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from monitor import checks
from monitor.config import MirrorConfig
from monitor.settings import Duration, Size, setting
from router.admission.config import KeysConfig, LimitsConfig, PriceConfig
from router.logs import LogConfig


@dataclass(frozen=True, slots=True)
class TimeoutConfig:
    """How long the router waits, and for what."""

    connect: Duration = setting(
        3.0,
        "TCP to one address of a mirror, of which 3 are tried; its name has as long again",
        check=checks.positive,
    )
    tls: Duration = setting(5.0, "TLS with one of these addresses", check=checks.positive)
    first_byte: Duration = setting(
        600.0, "from the complete request to the response head", check=checks.positive
    )
    stream_head: Duration = setting(
        30.0,
        "the same when a stream is asked for",
        check=checks.positive,
    )
    first_content: Duration = setting(
        120.0,
        "from the complete request to the first event of a stream that has content",
        check=checks.positive,
    )
    idle: Duration = setting(
        120.0,
        "silence within a response, or a mirror that takes nothing of an upload",
        check=checks.positive,
    )
    total: Duration = setting(
        3600.0, "a whole exchange, WebSockets excepted", check=checks.positive
    )
    drain: Duration = setting(
        300.0, "for running requests on stop, and for removed mirrors", check=checks.at_least(0)
    )
    header: Duration = setting(15.0, "for a client's complete request head", check=checks.positive)
    keep_alive: Duration = setting(
        75.0, "an idle client connection between requests", check=checks.positive
    )
    body_stall: Duration = setting(
        60.0, "a request body that brings less than 1 KiB a second", check=checks.positive
    )
    write_stall: Duration = setting(
        60.0, "a client that takes nothing of a response", check=checks.positive
    )


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Another attempt when a mirror cannot be reached, before anything has reached the client."""

    attempts: int = setting(
        3,
        "attempts for one request, not counting kept connections that had gone stale",
        check=checks.between(1, 10),
    )
    budget: float = setting(
        0.2,
        "repeats of what had been sent, as a share of the requests of 10 s; 10 are always allowed",
        check=checks.between(0, 1),
    )
    ambiguous: Literal["once", "never"] = setting(
        "once",
        'chat, completions, embeddings and the like that a mirror may have done already: "once" or '
        '"never" more; files, uploads, batches, images and so on are never sent twice',
    )
    elapsed: Duration = setting(60.0, "no new attempt after this time", check=checks.positive)


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Streams that wait in silence."""

    keepalive: Duration = setting(15.0, "silence before a comment is sent", check=checks.positive)
    keepalive_style: Literal["comment", "chunk", "off"] = setting(
        "comment", 'what is sent: "comment", "chunk" or "off"'
    )


@dataclass(frozen=True, slots=True)
class BalanceConfig:
    """How a mirror is chosen."""

    policy: Literal["p2c", "priority"] = setting(
        "p2c",
        '"p2c": the cheaper of two drawn by chance; "priority": of the first priority that has one',
    )
    decay: Duration = setting(
        30.0,
        "time constant of the estimates of latency and success",
        check=checks.positive,
    )
    ramp: Duration = setting(
        30.0,
        "a mirror that was ejected gets its full share again",
        check=checks.positive,
    )


@dataclass(frozen=True, slots=True)
class EjectionConfig:
    """When failing traffic takes a mirror out of rotation."""

    consecutive_local: int = setting(
        3,
        "failures in a row to connect, or to get any response",
        check=checks.at_least(1),
    )
    consecutive_5xx: int = setting(5, "failed responses in a row", check=checks.at_least(1))
    ratio: float = setting(0.5, "share of failures", check=checks.between(0.01, 1))
    min_requests: int = setting(10, "… of at least this many in a minute", check=checks.at_least(1))
    base: Duration = setting(10.0, "first ejection; doubles each time", check=checks.positive)
    max: Duration = setting(300.0, "longest ejection", check=checks.positive)
    max_quick: Duration = setting(
        20.0,
        "longest ejection of a mirror that fails without letting anybody wait",
        check=checks.positive,
    )
    max_percent: int = setting(
        50, "of mirrors at once; the last one never", check=checks.between(0, 100)
    )


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """When every mirror is full, callers wait, then get 503."""

    max_waiting: int = setting(1000, "callers per worker", check=checks.at_least(0))
    max_wait: Duration = setting(30.0, "longest wait", check=checks.positive)


@dataclass(frozen=True, slots=True)
class ClassConfig:
    """Other timeouts for an endpoint and models; the first class that fits counts.

    Reasoning models have a class of their own behind these: 15 minutes to the first content, five
    of silence.
    """

    endpoint: str = setting("*", 'pattern of the endpoint: "chat", "responses", …')
    model: str = setting("*", 'pattern of the model: "o3*"')
    first_byte: Duration = setting(
        0.0, "response head; 0: as router.timeouts", check=checks.at_least(0)
    )
    first_content: Duration = setting(0.0, "0: as router.timeouts", check=checks.at_least(0))
    idle: Duration = setting(0.0, "0: as router.timeouts", check=checks.at_least(0))
    total: Duration = setting(0.0, "0: as router.timeouts", check=checks.at_least(0))


def _trusted(text: str) -> str | None:
    return None if text in ("private", "cloudflare") else checks.network(text)


def _field_name(text: str) -> str | None:
    fine = re.fullmatch(r"[A-Za-z0-9-]{1,64}", text)
    return None if fine else f'expected the name of a header field, got "{text}"'


def _origin(text: str) -> str | None:
    return None if text == "*" else checks.http_url(text)


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The API listener and the way of a request."""

    listen: str = setting("127.0.0.1:8080", "clients", check=checks.listen_address, restart=True)
    workers: int = setting(
        0, "data-plane processes; 0 = one per core", check=checks.between(0, 512), restart=True
    )
    forward: tuple[str, ...] = setting(
        ("/v1/",),
        'path prefixes forwarded as they are; e.g. add "/mj/"',
        check=checks.each(checks.path_prefix),
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
        check=checks.each(_trusted),
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
        ("*",), "origins of browser apps that may call", check=checks.each(_origin)
    )
    tls_cert: str = setting(
        "", "both set: the API listener speaks HTTPS; reloaded with the configuration"
    )
    tls_key: str = setting("", "PEM file of the key")
    expose_mirror: bool = setting(
        True, "x-mirrorgate-mirror on responses, and ids of mirrors in errors"
    )
    legacy: bool = setting(
        False, "/pro/chat/completions and /pro/balance, see [legacy]", later=True
    )
    timeouts: TimeoutConfig = setting(TimeoutConfig)
    retry: RetryConfig = setting(RetryConfig)
    stream: StreamConfig = setting(StreamConfig)
    balance: BalanceConfig = setting(BalanceConfig)
    ejection: EjectionConfig = setting(EjectionConfig)
    queue: QueueConfig = setting(QueueConfig)
    classes: tuple[ClassConfig, ...] = setting((), "other timeouts per endpoint or model")

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong between settings."""
        if bool(self.tls_cert) != bool(self.tls_key):
            missing = "tls_key" if self.tls_cert else "tls_cert"
            yield missing, "is required when the other of tls_cert and tls_key is set"
        if not self.forward:
            yield "forward", "expected at least one path prefix"
        if not self.callers:
            yield "callers", "expected at least one kind of caller"
        if "anonymous" in self.callers and "*" in self.cors_origins:
            yield "cors_origins", '"*" with anonymous callers lets every web page spend your key'


@dataclass(frozen=True, slots=True)
class LegacyConfig:
    """The /pro/ interface."""

    model: str = setting("gpt-3.5-turbo", "which model answers", later=True)
    session_ttl: Duration = setting(1800.0, "how long context is kept", shown='"30m"', later=True)
    balance_days: int = setting(90, "window of use", check=checks.at_least(1), later=True)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is told: the sections that concern forwarding."""

    router: RouterConfig = setting(RouterConfig)
    limits: LimitsConfig = setting(LimitsConfig)
    keys: KeysConfig = setting(KeysConfig)
    prices: dict[str, tuple[PriceConfig, ...]] = setting({})
    log: LogConfig = setting(LogConfig)
    mirrors: tuple[MirrorConfig, ...] = setting(())
    contact: str = setting("")
    public_url: str = setting("")
    entrances: tuple[str, ...] = setting(())
