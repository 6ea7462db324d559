"""The dashboard on real sockets, with plausible data: five mirrors, thirty bans, every metric."""

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, UnixConnector, web
from multidict import MultiMapping

from dashboard.common.config import AdminConfig, DashboardConfig, EntranceConfig, LinkConfig
from dashboard.common.connections import Gate, serve
from dashboard.common.context import RENDERINGS
from dashboard.common.location import Locations
from dashboard.common.renderings import Renderings
from dashboard.common.sources import (
    BanList,
    CommandError,
    ConfigurationState,
    Ejection,
    Inspected,
    NotThere,
    Offer,
    Open,
    Rescued,
    Terms,
    Visitor,
    Waiting,
)
from monitor.common.audit import Actor
from monitor.common.bans import Ban, client_network
from monitor.common.config import MirrorConfig
from monitor.common.keys import DayUse, KeyAccount, KeyOrder, KeyRecord, NewKey, Spent
from monitor.common.languages import Text
from monitor.common.metric_registry import Family, Labels, Series
from monitor.common.settings import Compared
from monitor.diagnosis.evidence import Code
from monitor.health.announcements import Announced, IncidentEdit, Maintenance, ManualIncident
from monitor.health.incidents import Incident, Part
from monitor.health.past import Day, Past
from monitor.health.snapshot import (
    HealthSnapshot,
    Latency,
    MirrorHealth,
    Override,
    PathHealth,
    Standing,
    State,
)
from monitor.health.uptime import Known
from monitor.store.audit import Entry
from monitor.store.bans import Allowance
from monitor.store.records import Transition
from router.control.ban_service import BansInForce
from router.control.instance_metrics import FAMILIES
from tests.testkit.ports import HOST, free_port

V2 = (
    "summary",
    "status",
    "components",
    "incidents",
    "incidents/unresolved",
    "scheduled-maintenances",
    "scheduled-maintenances/active",
    "scheduled-maintenances/upcoming",
)
"""The answers of Statuspage's interface, at `/api/v2/NAME.json`."""
NOW = 1795251600.0
"""2026-11-21 09:00:00 UTC."""

API_KEY = "sk-canary-7f3d9a1b5c2e8f4a6d0b"
CONFIG_PROBLEM = "mirrors[1].url: canary-of-a-bad-file"
DETAIL = "canary-of-a-detail"
CUT = Code.sent_name(name="sg.example.net", end=Code.end_cut_after(how=Code.cut_reset(), ms=12.0))
ANSWERED = Code.sent_name(name="example.org", end=Code.end_answered())
CLIENT = "124.223.221.187"

MIRRORS = (
    MirrorConfig(
        "hk", "https://api-hk.example.com", name="香港", region="香港", cdn=True, api_key=API_KEY
    ),
    MirrorConfig("jp", "https://api-jp.example.com", name="日本 东京", region="日本"),
    MirrorConfig("sg", "https://sg.example.net", name="Singapore", region="新加坡"),
    MirrorConfig("us-west", "https://relay.example.org", name="美西", region="美国", cdn=True),
    MirrorConfig("de", "https://de.example.net/openai", name="Frankfurt", region="德国"),
    MirrorConfig("off", "https://off.example.net", name="switched-off", enabled=False),
)

HEALTH = (
    MirrorHealth(
        "hk",
        State.up,
        NOW - 8 * 86400,
        "ok",
        latency=Latency(3.2, 31.4, 64.0, 180.3),
        last_probe=NOW - 12,
        cdn_detected="cloudflare",
        tls_not_after=NOW + 30 * 86400,
    ),
    MirrorHealth(
        "jp",
        State.degraded,
        NOW - 2500,
        "upstream_overloaded",
        latency=Latency(4.0, 58.0, 121.0, 940.0),
        last_probe=NOW - 7,
        detail=Code.as_written(text=DETAIL),
    ),
    MirrorHealth(
        "sg",
        State.down,
        NOW - 5400,
        "sni_block_rst",
        last_probe=NOW - 3,
        detail=Code.as_written(text=DETAIL),
        paths=(
            PathHealth(
                "sg.example.net",
                "203.0.113.7",
                Standing.held,
                verdict="sni_block_rst",
                level="confirmed",
                latency=41.2,
                until=NOW + 185,
                evidence=(CUT, Code.after_the_wait(trial=ANSWERED)),
            ),
            PathHealth("alt.example.net", "198.51.100.9", Standing.ok, True, "ok", latency=55.0),
        ),
    ),
    MirrorHealth(
        "us-west",
        State.up,
        NOW - 86400 * 400,
        "ok",
        wish=Override.maintenance,
        wish_until=NOW + 3600,
        latency=Latency(2.0, 148.0, 160.0, 310.0),
        last_probe=NOW - 9,
        cdn_detected="cloudfront",
    ),
    MirrorHealth(
        "de",
        State.up,
        NOW - 4 * 3600,
        "ok",
        latency=Latency(5.0, 190.0, 204.0, 402.0),
        last_probe=NOW - 900,
    ),
)

TERMS = ("latency", "oldest", "network", "waiting", "streaming", "success", "weight", "ramp")
EXPLAINED: dict[str, Any] = {
    "id": "hk",
    "why_not": "",
    "cost": 1.5,
    **dict.fromkeys(TERMS, 1.0),
    "failing": 0.0,
    "fallback_rank": 0,
    "breaker": {
        "phase": "open",
        "cause": "failing",
        "seconds_left": 12.0,
        "ejections_in_a_row": 2,
        "has_lease": False,
    },
    "limited_seconds": 3.0,
    "keys_limited": 1,
    "refusals": 2,
    "has_idle_connection": True,
}
"""A mirror as a worker explains it."""

OFFERS = (
    Offer("gpt-4o", "2.50", "1.25", "10.00", note="list price, 2026-11"),
    Offer("gpt-4o-mini", "0.15", "", "0.60"),
    Offer("text-embedding-3-small", "0.02"),
)
DAY_S = 86400
KNOWN = Known(85_700_000, 0, 600_000, 0, 86_300_000, 86_400_000)
"""A day with ten minutes down and a hundred seconds unknown."""
QUIET = Known(86_400_000, 0, 0, 0, 86_400_000, 86_400_000)

INCIDENTS = (
    Incident(
        "c0ffee000001",
        "sh-1",
        "sni_block_rst",
        "",
        "minor",
        NOW - 5400,
        None,
        NOW - 5400,
        (Part("sg", "sni_block_rst", NOW - 5400),),
    ),
    Incident(
        "c0ffee000002",
        "sh-1",
        "ip_unreachable",
        "cloudflare",
        "critical",
        NOW - 3 * DAY_S,
        NOW - 3 * DAY_S + 1200,
        NOW - 3 * DAY_S + 1200,
        (
            Part("hk", "ip_unreachable", NOW - 3 * DAY_S, NOW - 3 * DAY_S + 900, 2),
            Part("gone", "connect_timeout", NOW - 3 * DAY_S + 60, NOW - 3 * DAY_S + 1200),
        ),
    ),
    Incident(
        "c0ffee000003",
        "sh-1",
        "dns_down",
        "",
        "minor",
        NOW - 60 * DAY_S,
        NOW - 60 * DAY_S + 60,
        NOW - 60 * DAY_S + 60,
        (Part("jp", "dns_down", NOW - 60 * DAY_S, NOW - 60 * DAY_S + 60),),
    ),
)

AGENTS = (
    "OpenAI/NodeJS/3.2.1",
    "python-requests/2.31.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0",
    "curl/8.5.0",
    "",
)
SHUT = {"203.0.113.7:443": NOW + 185, "198.51.100.9:443": NOW + 600}
"""A quarantine in which all addresses of the mirror `sg` are."""
BROWSER = {"Accept": "text/html,*/*;q=0.8", "User-Agent": "Mozilla/5.0"}
VALUES: dict[str, tuple[str, ...]] = {
    "mirrorgate_keys.state": ("active", "low", "spent"),
    "mirror": ("hk", "jp", "sg"),
    "state": tuple(State),
    "phase": ("resolve", "connect", "tls", "first_byte"),
    "code": ("200", "502"),
    "outcome": ("success", "answered", "upstream_error", "client_error", "client_abort"),
    "verdict": ("ok", "sni_block_rst", "upstream_quota"),
    "term": ("cost", "latency", "network", "queue", "failing"),
    "standing": ("ok", "held"),
    "result": ("ok", "failed"),
    "process": ("control", "worker-0"),
    "version": ("0.1.0",),
    "window": ("24h", "30d", "90d"),
}
"""Label values, some of them of one metric only; a label that is not here has one value."""


def past() -> Past:
    """Two mirrors with a history, three without; three incidents, of which one goes on."""
    days = [Day("2026-11-19", Known(total=86_400_000)), Day("2026-11-20", KNOWN)]
    days.append(Day("2026-11-21", QUIET))
    windows = {"24h": QUIET, "7d": KNOWN, "30d": KNOWN, "90d": KNOWN}
    return Past(
        {"hk": windows, "jp": windows}, {"hk": days, "jp": days}, "Asia/Shanghai", INCIDENTS
    )


def bans(count: int = 30) -> tuple[Ban, ...]:
    """So many bans, the newest first."""
    return tuple(_ban(index) for index in range(count))


def _ban(index: int) -> Ban:
    address = f"2001:db8:85a3:{index:x}::1" if index % 7 == 3 else f"124.223.221.{187 - index}"
    return Ban(
        id=f"b7k2{index:04d}",
        network=client_network(address),
        since=NOW - 600 - index * 4321,
        until=None if index % 11 == 5 else NOW + 3600 * (index + 1),
        reason=("too_many_connections", "rate_limit_exceeded", "扫描接口")[index % 3],
        by="operator" if index % 3 == 2 else "limits.ban",
        user_agent=AGENTS[index % len(AGENTS)],
        count=1 + index % 4,
    )


@dataclass
class FakeSources:
    """`dashboard.common.sources.Sources` with data at hand."""

    mirrors_: tuple[MirrorConfig, ...] = MIRRORS
    health: tuple[MirrorHealth, ...] = HEALTH
    bans_: Sequence[Ban] = field(default_factory=bans)
    dashboard_: DashboardConfig = field(
        default_factory=lambda: DashboardConfig(
            title="小鹿 API",
            timezone="Asia/Shanghai",
            entrances=(
                EntranceConfig("https://api.example.com/v1", "全球", True),
                EntranceConfig("https://api-direct.example.com/v1", "香港", False),
            ),
            notice={"zh": "周日 02:00 起升级网络，约十分钟。", "en": "Network upgrade on Sunday."},
            links=(LinkConfig("GitHub", "https://example.com/repo"),),
            contact="ops@example.com",
        )
    )
    admin_: AdminConfig = field(default_factory=AdminConfig)
    past_: Past = field(default_factory=past)
    announced_: Announced = field(default_factory=Announced)
    ejected: dict[str, Ejection] = field(default_factory=dict)
    problem: str = CONFIG_PROBLEM
    series_: Iterable[Series] = ()
    locations_: Locations = field(default_factory=Locations)
    asked: int = 0
    legacy_days_: int = 0
    terms_: Terms = field(default_factory=Terms)
    offers_: Sequence[Offer] = OFFERS
    keys_: dict[str, KeyAccount] = field(default_factory=dict)
    waiting_: Waiting = field(default_factory=lambda: Waiting(0, 0.0))
    banned_visitors: tuple[str, ...] = ()
    """Addresses whose visitors have a network; bans may be on it."""
    rescued_: Rescued = field(default_factory=lambda: Rescued(37, NOW - 9 * 3600))
    quarantine: Mapping[str, float] = field(default_factory=dict)
    _listed: tuple[Sequence[Ban], BansInForce] | None = None

    def snapshot(self) -> HealthSnapshot:
        self.asked += 1
        mirrors = {m.id: m for m in self.health}
        return HealthSnapshot(7, NOW - 3, "sh-1", mirrors, self.quarantine)

    def ejections(self) -> Mapping[str, Ejection]:
        return self.ejected

    def past(self) -> Past:
        return self.past_

    def announced(self) -> Announced:
        return self.announced_

    def mirrors(self) -> tuple[MirrorConfig, ...]:
        return self.mirrors_

    def bans(self) -> BanList:
        if self._listed is None or self._listed[0] is not self.bans_:
            self._listed = (self.bans_, BansInForce(self.bans_, lambda: NOW))
        return self._listed[1]

    def locations(self) -> Locations:
        return self.locations_

    def dashboard(self) -> DashboardConfig:
        return self.dashboard_

    def admin(self) -> AdminConfig:
        return self.admin_

    def waiting(self) -> Waiting:
        return self.waiting_

    def rescued(self) -> Rescued:
        return self.rescued_

    def legacy_days(self) -> int:
        return self.legacy_days_

    def terms(self) -> Terms:
        return self.terms_

    def offers(self) -> Sequence[Offer]:
        return self.offers_

    def key_account(self, key: str) -> KeyAccount | None:
        return self.keys_.get(key)

    def api_url(self) -> str:
        return "http://127.0.0.1:8080"

    def config_problem(self) -> str:
        return self.problem

    def visitor(self, address: str, fields: MultiMapping[str] | None) -> Visitor:
        """Everybody on 127.0.0.9 comes through a trusted proxy, which names clients in "x"."""
        proxied = address == "127.0.0.9"
        named = fields.get("x") if fields is not None and proxied else None
        client = named or address
        network = client_network(client) if client in self.banned_visitors else ""
        return Visitor(client.encode(), proxied, network, client)

    def series(self) -> Callable[[], Iterable[Series]]:
        return lambda: self.series_

    def version(self) -> str:
        return "0.1.0"


@dataclass
class FakeCommands:
    """`dashboard.common.sources.Commands` that remembers what it was told."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    fault: CommandError | None = None
    waiting: int = 0
    inspected: dict[str, Inspected] = field(default_factory=dict)

    def _tell(self, *what: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.told.append(what)

    async def reload(self, by: Actor) -> dict[str, Any]:
        self._tell("reload", by)
        return {"added": ["kr"], "removed": [], "changed": ["hk"], "restart": []}

    async def status(self) -> dict[str, Any]:
        self._tell("status")
        workers = [{"slot": 0, "pid": 43, "alive": True}]
        return {
            "pid": 42,
            "workers": workers,
            "config": {},
            "store": {"problem": ""},
            "missing_settings": [],
            "cautions": [],
            "restart_needed": [],
        }

    async def explain(self) -> dict[str, Any]:
        self._tell("explain")
        return {"policy": "p2c", "workers": {"0": [EXPLAINED]}, "silent": [1]}

    async def trace(self, request_id: str) -> dict[str, Any]:
        self._tell("trace", request_id)
        known = {"id": "mg_1", "attempts": [], "worker": 0} if request_id == "mg_1" else None
        return {"request": known, "silent": [1]}

    async def recent(self, most: int) -> dict[str, Any]:
        self._tell("recent", most)
        tried = [
            {"mirror": "hk", "outcome": "connect", "after": 0.0, "seconds": 1.5},
            {"mirror": "jp", "outcome": "success", "after": 1.5, "seconds": 0.4},
        ]
        request = {
            "id": "mg_1",
            "began": "2026-11-21T09:00:00Z",
            "at": NOW,
            "seconds": 1.9,
            "method": "POST",
            "path": "/v1/chat/completions",
            "endpoint": "chat",
            "stream": True,
            "mirror": "jp",
            "status": 200,
            "outcome": "success",
            "attempts": tried,
            "worker": 0,
        }
        return {"requests": [request][:most], "silent": []}

    async def inspect(self, mirror_id: str, by: Actor) -> None:
        self._tell("inspect", mirror_id, by)
        self.inspected[mirror_id] = Inspected(mirror_id, NOW)

    def inspections(self) -> Mapping[str, Inspected]:
        return self.inspected

    def open_requests(self) -> list[Open]:
        return [Open(CLIENT, "", 7), Open("", "k1", 2)]

    async def transitions(self, mirror_id: str, most: int) -> list[Transition]:
        self._tell("transitions", mirror_id, most)
        return [
            Transition(
                mirror_id,
                NOW - 60,
                State.down,
                "sni_block_rst",
                Code.as_written(text=DETAIL),
                "sh-1",
            ),
            Transition(mirror_id, NOW - 9000, State.up, "ok", None, "sh-1"),
        ][:most]

    async def configuration(self) -> ConfigurationState:
        self._tell("configuration")
        settings = (
            Compared("mirrors.hk.api_key", "(hidden)", "(hidden)", False, False),
            Compared("limits.connections", "10", "20", True, False),
            Compared("mirrors.kr.url", None, '"https://kr.example.com"', True, False),
        )
        return ConfigurationState("/etc/x.toml", NOW - 60, "alice", (), settings, (), ())

    async def note(self, by: Actor, what: str) -> None:
        self._tell("note", by, what)

    def unwritten(self) -> int:
        return self.waiting

    def allowances(self) -> list[Allowance]:
        return [("198.51.100.0/24", NOW + 3600)]

    async def set_override(
        self, mirror_id: str, override: Override, until: float | None, by: Actor
    ) -> None:
        self._tell("override", mirror_id, override, until, by)

    async def open_incident(
        self, title: Text, impact: str, mirrors: Sequence[str], began: float, text: Text, by: Actor
    ) -> ManualIncident:
        self._tell("open_incident", title, impact, mirrors, began, text, by)
        return ManualIncident("0pened", title, impact, tuple(mirrors), began, NOW)

    async def edit_incident(self, change: IncidentEdit, by: Actor) -> None:
        self._tell("edit_incident", change, by)

    async def update_incident(self, about: str, status: str, text: Text, by: Actor) -> None:
        self._tell("update_incident", about, status, text, by)

    async def plan_maintenance(
        self, mirrors: Sequence[str], starts_at: float, ends_at: float, title: Text, by: Actor
    ) -> Maintenance:
        self._tell("plan_maintenance", tuple(mirrors), starts_at, ends_at, title, by)
        return Maintenance("m1", title, tuple(mirrors), starts_at, ends_at, NOW, NOW)

    async def end_maintenance(self, maintenance: str, by: Actor) -> Maintenance:
        self._tell("end_maintenance", maintenance, by)
        return Maintenance(
            maintenance, Text("", "x"), ("hk",), NOW - 60, NOW + 60, NOW - 90, NOW, NOW - 60, NOW
        )

    async def add_ban(self, network: str, seconds: float | None, reason: str, by: Actor) -> Ban:
        self._tell("ban", network, seconds, reason, by)
        until = None if seconds is None else NOW + seconds
        return Ban("bnew0001", network, NOW, until, reason, by.who)

    async def remove_ban(self, network: str | None, by: Actor) -> list[Ban]:
        self._tell("unban", network, by)
        return [Ban("bold0001", network or "192.0.2.7/32", NOW - 60, None, "operator", by.who)]

    async def allow(self, network: str, seconds: float | None, by: Actor) -> None:
        self._tell("allow", network, seconds, by)

    async def audit(self, limit: int, before: int | None) -> list[Entry]:
        self._tell("audit", limit, before)
        known = [Entry(i, NOW - i, "alice", "192.0.2.9", f"change {i}") for i in range(9, 0, -1)]
        return [entry for entry in known if before is None or entry.id < before][:limit]

    async def keys(self, days: int) -> list[KeyAccount]:
        self._tell("keys", days)
        day = DayUse("k1", "2026-11-21", "gpt-4o", "usage", 3, 100, 40, 20, 0, 0, 0, 1_500_000)
        return [KeyAccount(self._record(KeyOrder("学生", 10**10)), Spent(1_500_000, 120), (day,))]

    async def create_key(self, order: KeyOrder, by: Actor) -> NewKey:
        self._tell("create_key", order, by)
        account = KeyAccount(self._record(order), Spent())
        return NewKey(account, "mg-" + "x" * 48, ("no mirror lends its key",))

    async def revoke_key(self, key_id: str, by: Actor) -> KeyAccount:
        self._known(key_id)
        self._tell("revoke_key", key_id, by)
        return KeyAccount(self._record(KeyOrder("学生"), NOW), Spent())

    async def top_up_key(
        self, key_id: str, quota: int | None, tokens: int | None, by: Actor
    ) -> KeyAccount:
        self._known(key_id)
        self._tell("top_up_key", key_id, quota, tokens, by)
        return KeyAccount(self._record(KeyOrder("学生", quota, tokens)), Spent())

    def _known(self, key_id: str) -> None:
        if key_id != "k1":
            raise NotThere("no_key", key=key_id)

    def _record(self, order: KeyOrder, revoked_at: float | None = None) -> KeyRecord:
        return KeyRecord(
            "k1",
            order.name,
            "00" * 16,
            NOW - 60,
            "alice",
            order.expires_at,
            revoked_at,
            "" if revoked_at is None else "alice",
            order.rate,
            order.models,
            order.quota,
            order.tokens,
        )


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[ClientSession]:
    """A client of `app` on a TCP port of the loopback address."""
    async with serving_at(app) as url, ClientSession(url) as client:
        yield client


@asynccontextmanager
async def serving_at(app: web.Application) -> AsyncIterator[str]:
    """The URL of `app` on a TCP port of the loopback address."""
    async with _running(app) as runner:
        port = free_port()
        await web.TCPSite(runner, HOST, port).start()
        yield f"http://{HOST}:{port}"


@asynccontextmanager
async def listening(app: web.Application, gate: Gate | None) -> AsyncIterator[int]:
    """The port of `app`, served as control does."""
    sock = socket.create_server((HOST, 0))
    async with AsyncExitStack() as stack:
        await serve(app, sock, stack, gate)
        yield sock.getsockname()[1]


@asynccontextmanager
async def serving_on_unix_socket(app: web.Application, path: Path) -> AsyncIterator[ClientSession]:
    """A client of `app` on a Unix socket."""
    async with _running(app) as runner:
        await web.UnixSite(runner, str(path)).start()
        connector = UnixConnector(str(path))
        async with ClientSession("http://localhost", connector=connector) as client:
            yield client


@asynccontextmanager
async def _running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    # Without rests after its steps a page is made in time on the busiest machine.
    if RENDERINGS in app:  # pages of others have none
        app[RENDERINGS] = Renderings(app[RENDERINGS].clock, pace=lambda: 0.0)
    options: dict[str, Any] = {"handler_cancellation": True, "shutdown_timeout": 1.0}
    runner = web.AppRunner(app, access_log=None, handle_signals=False, **options)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


async def ask(client: ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    """Ask for JSON: the status, and what was told."""
    async with client.request(method, path, **more) as response:
        return response.status, await response.json()


def exposed_name(family: Family) -> str:
    """The name as it stands in docs and queries."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def sample_names(family: Family) -> set[str]:
    """The names of its series."""
    if family.type != "histogram":
        return {exposed_name(family)}
    return {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}


def sample_series(round_: int, now: float) -> Iterator[Series]:
    """The series of the scrape number `round_`."""
    for family in FAMILIES:
        choices = [
            VALUES.get(f"{family.name}.{label}") or VALUES.get(label, ("some",))
            for label in family.labels
        ]
        for labels in product(*choices):
            yield Series(family, labels, _cells(family, labels, round_, now))


def _cells(family: Family, labels: Labels, round_: int, now: float) -> list[float]:
    if family.type == "histogram":
        return [*(float(round_ + i % 3) for i in range(len(family.buckets) + 1)), 1.5 * round_]
    if family.type == "counter":
        return [7.0 * round_]
    if family.name.endswith("timestamp_seconds"):
        return [now - 30]
    if "state" in family.labels:
        return [float("up" in labels)]
    return [1.0]
