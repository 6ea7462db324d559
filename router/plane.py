"""What the requests of one worker share: settings, mirrors, bans, clock, chance and numbers."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from monitor.health.board import HealthSnapshot
from monitor.totals import Totals
from router.admission.bans import BanList
from router.choice.failure import Failure
from router.choice.selection import least_in_flight, select
from router.config import WorkerConfig
from router.pressure import Crowd, Door, Memory, connection_limit
from router.upstreams import Upstream, Upstreams
from router.wire.fields import request_rules, response_rules
from router.wire.wheel import Wheel

READ_BUFFER = 32 << 10
"""Bytes read at once: small reads keep back-pressure exact and pipelined requests few."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How one request ended: for metrics and the access log, so no key and no body."""

    request_id: str
    client: str
    method: bytes
    target: bytes
    endpoint: str
    mirror: str
    status: int
    outcome: str
    stream: bool
    failed_attempts: int
    seconds: float


class Bounded(Protocol):
    """A running request."""

    def end_soon(self, seconds: float) -> None:
        """End within this time if its mirror has been removed."""


class Plane:
    """The data plane of one worker."""

    def __init__(
        self,
        config: WorkerConfig,
        totals: Totals,
        *,
        hand_over: Callable[[], asyncio.Protocol],
        report_failure: Callable[[str], None] = lambda mirror: None,
        access: Callable[[Finished], None] | None = None,
        accept: Callable[[bool], None] = lambda on: None,
        rng: random.Random | None = None,
        wheel: Wheel | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.totals = totals
        self.hand_over = hand_over
        self.report_failure = report_failure
        self.access = access
        self.rng = rng or random.Random()
        self.wheel = wheel or Wheel()
        self.clock = clock
        self.wall = wall
        self.upstreams = Upstreams()
        self.bans = BanList()
        self.snapshot = HealthSnapshot()
        self.buffer = memoryview(bytearray(READ_BUFFER))
        self.request_rules = request_rules()
        self.response_rules = response_rules()
        self.crowd = Crowd(connection_limit(), accept)
        self.memory = Memory()
        self.exchanges: set[Bounded] = set()
        self.draining = False
        self.emptied = asyncio.Event()
        """Set when the worker drains and its last client has gone."""
        self._ids = count(1)
        self._id_prefix = f"mg_{secrets.token_hex(6)}"
        self.configure(config, self.snapshot)

    def configure(self, config: WorkerConfig, snapshot: HealthSnapshot) -> None:
        """Take new settings, all at once; running requests keep what they began with."""
        self.config = config
        self.router = config.router
        self.timeouts = config.router.timeouts
        self.prefixes = tuple(prefix.encode() for prefix in config.router.forward)
        self.learn(snapshot)
        self.upstreams.apply(config.mirrors, self.snapshot)
        for exchange in self.exchanges:
            exchange.end_soon(self.timeouts.drain)

    @property
    def keeps_connections(self) -> bool:
        """Whether a client's connection may wait for a next request."""
        return not self.draining and not self.crowd.full

    def drain(self) -> None:
        """The worker stops: connections end when their request has its answer."""
        self.draining = True
        for door in self.crowd.all():
            door.drain()
        self._tell_emptied()

    def door_closed(self, door: Door) -> None:
        """A client has gone, or its connection is somebody else's now."""
        self.crowd.leave(door)
        self._tell_emptied()

    def _tell_emptied(self) -> None:
        if self.draining and not self.crowd:
            self.emptied.set()

    def learn(self, snapshot: HealthSnapshot) -> None:
        """Take a health snapshot; the channel keeps their order."""
        self.snapshot = snapshot
        self.upstreams.learn(snapshot)

    def next_id(self) -> str:
        """A request id, unique over all workers."""
        return f"{self._id_prefix}{next(self._ids):06x}"

    def choose(self, accept: Callable[[Upstream], bool]) -> Upstream | None:
        """The mirror for one more attempt."""
        return select(self.upstreams, accept, least_in_flight, self.rng)

    # What is counted

    def attempt_failed(self, mirror: str, failure: Failure) -> None:
        """An attempt failed before a response; a stale connection is nobody's fault."""
        self.totals.add("mirrorgate_attempts", (mirror, failure))
        self.totals.add("mirrorgate_retries", (failure,))
        if failure is not Failure.stale:
            self.report_failure(mirror)

    def interrupted(self, mirror: str, reason: str) -> None:
        """A response was cut after its beginning."""
        self.totals.add("mirrorgate_stream_interruptions", (mirror, reason))
        self.totals.add("mirrorgate_attempts", (mirror, Failure.cut))

    def rejected(self, code: str) -> None:
        """A request was answered with an error made here."""
        self.totals.add("mirrorgate_rejected_requests", (code,))

    def observe_head(
        self, mirror: str, endpoint: str, first_byte: float, connect_seconds: float
    ) -> None:
        """A mirror's response head came."""
        totals = self.totals
        totals.add("mirrorgate_attempts", (mirror, "answered"))
        totals.observe("mirrorgate_time_to_first_byte_seconds", first_byte, (mirror, endpoint))
        if connect_seconds:
            totals.observe("mirrorgate_connect_duration_seconds", connect_seconds, (mirror,))

    def finished(self, end: Finished) -> None:
        """A request has ended."""
        totals = self.totals
        labels = (end.mirror, end.endpoint, str(end.status), end.outcome)
        totals.add("mirrorgate_requests", labels)
        if end.mirror:
            stream = "true" if end.stream else "false"
            labels_of_duration = (end.mirror, end.endpoint, stream)
            totals.observe("mirrorgate_request_duration_seconds", end.seconds, labels_of_duration)
            if end.failed_attempts:
                totals.add("mirrorgate_requests_rescued")
        if self.access is not None:
            self.access(end)
