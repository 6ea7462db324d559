"""The settings of choosing, retrying and ejecting mirrors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from monitor.common import validators
from monitor.common.settings import Duration, setting


@dataclass(frozen=True, slots=True)
class TimeoutConfig:
    """Timeouts of the router."""

    connect: Duration = setting(
        3.0,
        "TCP to one address of a mirror, of which 3 are tried; its name has as long again",
        check=validators.positive,
    )
    tls: Duration = setting(5.0, "TLS with one of these addresses", check=validators.positive)
    first_byte: Duration = setting(
        0.0,
        "from the complete request to the response head; 0: as long as the mirror shows signs of "
        "life and such requests usually take, 15 minutes at most",
        check=validators.at_least(0),
    )
    stream_head: Duration = setting(
        0.0,
        "the same when a stream is asked for",
        check=validators.at_least(0),
    )
    first_content: Duration = setting(
        0.0,
        "from the complete request to the first event of a stream that has content; 0: likewise",
        check=validators.at_least(0),
    )
    idle: Duration = setting(
        300.0,
        "silence within a response, or a mirror that takes nothing of an upload",
        check=validators.positive,
    )
    total: Duration = setting(
        3600.0, "a whole exchange, WebSockets excepted", check=validators.positive
    )
    drain: Duration = setting(
        300.0, "for running requests on stop, and for removed mirrors", check=validators.at_least(0)
    )
    header: Duration = setting(
        15.0, "for a client's complete request head", check=validators.positive
    )
    keep_alive: Duration = setting(
        75.0, "an idle client connection between requests", check=validators.positive
    )
    body_stall: Duration = setting(
        60.0, "a request body that brings less than 1 KiB a second", check=validators.positive
    )
    write_stall: Duration = setting(
        60.0, "a client that takes nothing of a response", check=validators.positive
    )


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """Another attempt when a mirror cannot be reached, before anything has reached the client."""

    attempts: int = setting(
        3,
        "attempts for one request, not counting kept connections that had gone stale",
        check=validators.between(1, 10),
    )
    budget: float = setting(
        0.2,
        "repeats of what had been sent, as a share of the requests of 10 s; 10 are always allowed",
        check=validators.between(0, 1),
    )
    ambiguous: Literal["once", "never"] = setting(
        "once",
        'chat, completions, embeddings and the like that a mirror may have done already: "once" or '
        '"never" more; files, uploads, batches, images and so on are never sent twice',
    )
    elapsed: Duration = setting(600.0, "no new attempt after this time", check=validators.positive)


@dataclass(frozen=True, slots=True)
class BalanceConfig:
    """Selection of a mirror."""

    policy: Literal["p2c", "priority"] = setting(
        "p2c",
        '"p2c": the cheaper of two drawn by chance; "priority": of the first priority that has one',
    )
    decay: Duration = setting(
        30.0,
        "time constant of the estimates of latency and success",
        check=validators.positive,
    )
    ramp: Duration = setting(
        30.0,
        "a mirror that was ejected gets its full share again",
        check=validators.positive,
    )


@dataclass(frozen=True, slots=True)
class EjectionConfig:
    """When failing traffic takes a mirror out of rotation."""

    consecutive_local: int = setting(
        3,
        "failures in a row to connect, or to get any response",
        check=validators.at_least(1),
    )
    consecutive_5xx: int = setting(5, "failed responses in a row", check=validators.at_least(1))
    ratio: float = setting(0.5, "share of failures", check=validators.between(0.01, 1))
    min_requests: int = setting(
        10, "… of at least this many in a minute", check=validators.at_least(1)
    )
    base: Duration = setting(10.0, "first ejection; doubles each time", check=validators.positive)
    max: Duration = setting(300.0, "longest ejection", check=validators.positive)
    max_quick: Duration = setting(
        20.0,
        "longest ejection of a mirror that fails without letting anybody wait",
        check=validators.positive,
    )
    max_percent: int = setting(
        50, "of mirrors at once; the last one never", check=validators.between(0, 100)
    )


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """When every mirror is full, callers wait, then get 503."""

    max_waiting: int = setting(1000, "callers per worker", check=validators.at_least(0))
    max_wait: Duration = setting(30.0, "longest wait", check=validators.positive)


@dataclass(frozen=True, slots=True)
class ClassConfig:
    """Other timeouts for an endpoint and models; the first class that fits counts.

    Reasoning models have a class of their own behind these: 15 minutes to the first content, five
    of silence.
    """

    endpoint: str = setting("*", 'pattern of the endpoint: "chat", "responses", …')
    model: str = setting("*", 'pattern of the model: "o3*"')
    first_byte: Duration = setting(
        0.0, "response head; 0: as router.timeouts", check=validators.at_least(0)
    )
    first_content: Duration = setting(0.0, "0: as router.timeouts", check=validators.at_least(0))
    idle: Duration = setting(0.0, "0: as router.timeouts", check=validators.at_least(0))
    total: Duration = setting(0.0, "0: as router.timeouts", check=validators.at_least(0))


class Settings(Protocol):
    """The settings that choosing a mirror needs."""

    @property
    def retry(self) -> RetryConfig: ...

    @property
    def balance(self) -> BalanceConfig: ...

    @property
    def ejection(self) -> EjectionConfig: ...
