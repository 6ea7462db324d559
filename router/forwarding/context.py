"""The context of one worker: settings, mirrors, bans, clock, random source and statistics."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import count
from typing import Protocol

from monitor.common.metric_registry import MetricRegistry
from monitor.health.snapshot import HealthSnapshot
from router.admission.anonymous import AnonymousCallers
from router.admission.ban_list import BanList, Row
from router.admission.capacity import Connections, IdleClient, Memory, connection_limit
from router.admission.client_address import Client, Clients, Peer
from router.admission.key_index import KeyIndex
from router.admission.limits import Limits
from router.admission.public_address import PublicAddress
from router.admission.rejection_reports import Alerts
from router.admission.shared_table import Table
from router.balancing.breaker_messages import Word
from router.balancing.pool import Pool
from router.balancing.timeouts import Classes
from router.forwarding.abandoned import AbandonedAnswers
from router.forwarding.config import WorkerConfig
from router.forwarding.recent_requests import RecentRequests, Tried
from router.forwarding.request_policy import RequestPolicies
from router.forwarding.stats import Finished, Stats
from router.metering.batches import UsageBatches
from router.metering.metered_request import Metering
from router.upstream import image_links
from router.upstream.image_links import ImageLinks, Linked
from router.upstream.opening import Opener
from router.upstream.path_stats import PathStats
from router.upstream.queue import RequestQueue
from router.upstream.upstream import IdleKeeper, Upstream, Upstreams
from router.wire.disconnects import DisconnectWatcher
from router.wire.faults import guarded
from router.wire.fields import request_rules
from router.wire.head import RequestHead
from router.wire.timer_wheel import TimerWheel
from router.wire.trace_context import FIELDS, RequestTrace
from router.wire.write_batch import WriteBatch

READ_BUFFER = 32 << 10
"""Bytes read at once: small reads keep back-pressure exact and pipelined requests few."""


class RunningRequest(Protocol):
    """A request on its way, as the worker sees it."""

    @property
    def deadline(self) -> float:
        """The time of the next look, in seconds of the wheel's clock."""

    def expired(self) -> None:
        """The deadline has passed."""

    def abort(self) -> None:
        """End at once, after a fault."""

    def end_soon(self, seconds: float) -> None:
        """End within this time if its mirror has been removed."""

    def end_if_revoked(self) -> None:
        """End if it would stay for long and its key has been revoked."""


class CallingClient(Protocol):
    """A client's connection, as far as it tells where the client called."""

    client: str
    transport: asyncio.Transport


class RequestTracer(Protocol):
    """Records requests and their attempts for a collector of traces."""

    def begin(self, traceparent: bytes | None) -> RequestTrace | None:
        """The trace of a request with this field, if it is to be recorded."""

    def finished(
        self, trace: RequestTrace, end: Finished, model: str, tried: tuple[Tried, ...], now: float
    ) -> None:
        """Record a request that has ended; `now` and the times of `tried` are on the worker's
        clock."""


class WorkerContext:
    """The data plane of one worker."""

    def __init__(
        self,
        config: WorkerConfig,
        totals: MetricRegistry,
        *,
        hand_over: Callable[[], asyncio.Protocol],
        report_failure: Callable[[str], None] = lambda mirror: None,
        report_refusal: Callable[[str], None] = lambda mirror: None,
        notice: Callable[[str, Peer], None] = lambda setting, peer: None,
        table: Table | None = None,
        uses: UsageBatches | None = None,
        tell: Callable[[Word], None] = lambda word: None,
        access: Callable[[Finished], None] | None = None,
        accept: Callable[[bool], None] = lambda on: None,
        rng: random.Random | None = None,
        wheel: TimerWheel | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.stats = Stats(totals)
        self.recent_requests = RecentRequests()
        self.hand_over = hand_over
        self.report_failure = report_failure
        self.report_refusal = report_refusal
        self._notice = notice
        self.access = access
        self.tracer: RequestTracer | None = None
        """Records requests, if traces are on."""
        self.rng = rng or random.Random()
        self.wheel = TimerWheel() if wheel is None else wheel  # an empty one is false
        self.clock = clock
        self.wall = wall
        self.traffic = PathStats(clock)
        table = table or Table.alone()
        self.upstreams = Upstreams(table)
        self.wheel.add(IdleKeeper(self.wheel, self.upstreams))
        self.pool: Pool[Upstream] = Pool(config.router, self.rng, tell)
        self.bans = BanList()
        self.keys = KeyIndex()
        self.missing: set[str] = set()
        """Lists that have never come from control; not ready until there are none."""
        uses = UsageBatches() if uses is None else uses  # an empty one is false
        self.metering = Metering(uses, totals, table)
        self.abandoned = AbandonedAnswers(self.wheel, clock, wall)
        self.alerts = Alerts()
        self.limits = Limits(table)
        self.queue = RequestQueue(config.router.queue)
        self.snapshot = HealthSnapshot()
        self.buffer = memoryview(bytearray(READ_BUFFER))
        self.request_rules = request_rules()
        shakes = bool(config.router.tls_cert) or config.router.proxy_protocol
        self.connections = Connections(connection_limit(shakes), accept)
        self.memory = Memory()
        self.write_batch = WriteBatch()
        self.disconnects = DisconnectWatcher()
        timeouts = config.router.timeouts
        self.opener = Opener(timeouts, self.traffic, self.write_batch, self.buffer, wall)
        self.exchanges: set[RunningRequest] = set()
        self.wheel.watch(self.exchanges)
        self.draining = False
        self.emptied = asyncio.Event()
        """Set when the worker drains and its last client has gone."""
        self._ids = count(1)
        self._id_prefix = f"mg_{secrets.token_hex(6)}".encode()
        self.configure(config, self.snapshot)

    def configure(self, config: WorkerConfig, snapshot: HealthSnapshot) -> None:
        """Take new settings, all at once; running requests keep what they began with."""
        self.config = config
        self.router = config.router
        self.timeouts = config.router.timeouts
        self.prefixes = tuple(prefix.encode() for prefix in config.router.forward)
        self.clients = Clients(config.router.trusted_proxies, config.router.client_ip_header)
        router, urls = config.router, (config.public_url, *config.entrances)
        no_browser = router.proxy_protocol  # which no browser speaks
        self.anonymous = AnonymousCallers(
            router.listen, router.cors_origins, urls, any_host=no_browser
        )
        prefix = "/v1/" if "/v1/" in router.forward else router.forward[0]
        self.address = PublicAddress(config.entrances, config.public_url, prefix)
        self.limits.configure(config.limits)
        self.queue.configure(config.router.queue)
        models = frozenset().union(*((*m.models, *m.model_map) for m in config.mirrors))
        self.stats.models = models
        endpoints, most_read = config.keys.endpoints, config.router.replay_body
        self.metering.configure(config.prices, endpoints, models, most_read)
        traced = FIELDS if config.traces.endpoint else ()
        self.request_rules.take(config.router.client_ip_header, *traced)
        self.opener.configure(self.timeouts)
        self.learn(snapshot)
        self.policies = RequestPolicies(
            Classes(self.timeouts, config.router.classes), self.pool.baselines
        )
        self.pool.configure(config.router)
        self.upstreams.apply(config.mirrors, self.snapshot, config.router, self.clock())
        self.metering.offered = self.upstreams.offered
        self.pool.members(self.upstreams)
        for exchange in list(self.exchanges):
            end_soon = partial(exchange.end_soon, self.timeouts.drain)
            guarded("a reload", end_soon, exchange.abort)

    @property
    def keeps_connections(self) -> bool:
        """True if a client's connection may wait for a next request."""
        return not self.draining and not self.connections.full

    def drain(self) -> None:
        """The worker stops: connections end when their request has its answer."""
        self.draining = True
        for connection in self.connections.all():
            guarded("a stop", connection.drain, connection.cut)
        self._tell_emptied()

    def connection_closed(self, connection: IdleClient) -> None:
        """A client has gone."""
        self.connections.leave(connection)
        self._tell_emptied()

    def _tell_emptied(self) -> None:
        if self.draining and not self.connections:
            self.emptied.set()

    def learn(self, snapshot: HealthSnapshot) -> None:
        """Take a health snapshot; the channel keeps their order.

        What a young control process has not probed yet is believed to be as it was.
        """
        self.snapshot = snapshot.completed_from(self.snapshot)
        self.upstreams.learn(self.snapshot, self.clock())
        self.metering.offered = self.upstreams.offered
        self.pool.members(self.upstreams)

    def recognise(self, address: str, look: Mapping[bytes, bytes]) -> Client:
        """Return the client: a request with these looked-at fields came from this address."""
        peer = self.clients.peer(address)
        missing = self.clients.missing(peer, look)
        if missing:
            self.stats.unbelieved(missing)
            self._notice(missing, peer)
        return self.clients.asking(peer, look)

    def linked(self, head: RequestHead) -> Linked | None:
        """The end of the link to an image that a request follows, if it does."""
        if not head.target.startswith(image_links.PATH) or head.method not in (b"GET", b"HEAD"):
            return None
        parts = image_links.parts_of(head.target)
        upstream = self.upstreams.find(parts[0]) if parts is not None else None
        if parts is None or upstream is None or head.websocket or head.has_body:
            return None
        links = self.image_links(upstream)
        return links.opened(*parts[1:]) if links is not None else None

    def image_links(self, upstream: Upstream) -> ImageLinks | None:
        """The links to this mirror's images, if they are to lead through here."""
        if not upstream.relays_images or not self.keys.pepper:
            return None
        return ImageLinks(upstream.mirror, self.keys.pepper, self.wall())

    def root(self, client: CallingClient, look: Mapping[bytes, bytes]) -> str:
        """The base URL, without /v1, by which a client called; "" if it did not name its host."""
        host = look.get(b"host", b"").decode("latin-1").strip()
        scheme = self.scheme(client.client, look, client.transport)
        return self.address.root(scheme, host) if host else ""

    def scheme(
        self, address: str, look: Mapping[bytes, bytes], transport: asyncio.BaseTransport
    ) -> str:
        """The scheme by which a client called, over the connection from this address."""
        secure = transport.get_extra_info("ssl_object") is not None
        return self.clients.scheme(self.clients.peer(address), look, secure)

    def model_label(self, model: str) -> str:
        """The model, if a mirror or the operator names it too; else it may be any text."""
        known = not model or model in self.stats.models or model in self.upstreams.offered
        return model if known else "other"

    def ban(self, rows: Iterable[Row]) -> None:
        """Refuse more networks from now on, and end what is open for clients in them."""
        self.bans.add(rows)
        self.bans.purge(self.wall())
        for connection in self.connections.all():
            guarded("a ban", connection.end_if_banned, connection.cut)

    def end_revoked(self) -> None:
        """Issued keys were revoked: end what may stay open with them for long."""
        for exchange in list(self.exchanges):
            guarded("a revocation", exchange.end_if_revoked, exchange.abort)

    def next_id(self) -> bytes:
        """A request id, unique over all workers."""
        return self._id_prefix + b"%06x" % next(self._ids)
