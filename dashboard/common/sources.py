"""Interfaces between the dashboard and the rest: sources of pages, and operators' commands.

The composition root implements both, so that pages never know where their data comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from multidict import MultiMapping

from dashboard.common.config import AdminConfig, DashboardConfig
from dashboard.common.location import Locations
from dashboard.i18n.faults import Fault
from monitor.common.audit import Actor
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyAccount, KeyOrder, NewKey
from monitor.common.languages import Text
from monitor.common.metric_registry import Series
from monitor.common.settings import Compared
from monitor.diagnosis.evidence import Evidence
from monitor.engine.diagnose import Inspection
from monitor.health.announcements import Announced, IncidentEdit, Maintenance, ManualIncident
from monitor.health.past import Past
from monitor.health.snapshot import HealthSnapshot, Override
from monitor.probes.results import StepResult
from monitor.store.audit import Entry
from monitor.store.bans import Allowance
from monitor.store.records import Transition


@dataclass(frozen=True, slots=True)
class Ejection:
    """A mirror is out of rotation because its traffic failed. Times are seconds since the epoch."""

    cause: str
    """What failed: "unreachable", "unanswered" or "failing"."""
    since: float
    until: float | None
    """None: it has ended, and single requests try the mirror."""
    count: int
    """Ejections in a row."""


class BanList(Protocol):
    """The bans in force now. There may be very many; no method looks at all of them."""

    def __len__(self) -> int:
        """Number of them."""

    def newest(self, most: int, after: tuple[float, str] | None = None) -> Sequence[Ban]:
        """Up to so many, newest first; `after`: only those behind this beginning and id."""

    def on(self, network: str) -> Ban | None:
        """The ban of the narrowest network around this one, if there is any."""


class Waiting(NamedTuple):
    """Requests that wait until a mirror has room."""

    requests: int
    seconds: float
    """How long that takes at present."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of use of the API, from the configuration; nothing in it is secret.

    Durations are seconds, sizes bytes; 0 of a limit: there is none.
    """

    callers: tuple[str, ...] = ("own", "issued")
    """Kinds of callers that are let in: "own", "issued", "anonymous"."""
    key_prefix: str = "mg-"
    """The beginning of issued keys."""
    connections: int = 10
    requests_per_second: float = 20.0
    burst: int = 40
    counted_by_key: bool = False
    """True if callers with an issued key are counted by it, and not by their address."""
    ban_after: int = 30
    """Seconds with refusals in `ban_within` that get an address banned for `ban_for` and longer."""
    ban_within: float = 300.0
    ban_for: float = 3600.0
    ban_max: float = 2_592_000.0
    max_body: int = 512 << 20
    read_body: int = 4 << 20
    """Largest JSON body of a key that is restricted, or paid for."""
    queue: float = 30.0
    """Longest wait for room on a mirror."""
    header: float = 15.0
    """Longest time for the head of a request."""
    idle: float = 300.0
    """Longest silence within an answer."""
    total: float = 3600.0
    keepalive: float = 15.0
    """Silence of a stream after which a comment is sent; 0: none is."""
    names_mirror: bool = True
    """True if responses tell which mirror answered."""


class Offer(NamedTuple):
    """A model that can be asked for now, with its price for issued keys as text; "": none."""

    model: str
    input: str = ""
    """Per million tokens, in the operator's unit, as all prices of tokens."""
    cached: str = ""
    output: str = ""
    image: str = ""
    """Each."""
    audio_minute: str = ""
    characters: str = ""
    """Per million of them that are spoken."""
    note: str = ""
    """The operator's words on the price."""


class Visitor(NamedTuple):
    """The visitor who asks for a page."""

    key: bytes
    """What a visitor is counted by: an address, or the /64 of an IPv6 one."""
    proxied: bool
    """True if a trusted proxy is in between, whose connections others share."""
    network: str = ""
    """What a ban of it would be on; empty where there is no address, as on a Unix socket."""
    address: str = ""
    """As it is told to operators."""


class Rescued(NamedTuple):
    """Requests that failed on a mirror and were answered by another, unnoticed by their clients."""

    requests: int
    since: float
    """Today's beginning, or the start of this process where that is later."""


class Sources(Protocol):
    """Sources of pages. Every method answers at once, from memory."""

    def snapshot(self) -> HealthSnapshot:
        """The newest health of all mirrors."""

    def ejections(self) -> Mapping[str, Ejection]:
        """The mirrors that traffic has taken out of rotation, by id."""

    def past(self) -> Past:
        """Uptime by window and by day, and the incidents; up to a minute old."""

    def announced(self) -> Announced:
        """Operators' words on incidents, and planned maintenance, of this moment."""

    def mirrors(self) -> tuple[MirrorConfig, ...]:
        """The mirrors of the configuration in effect, in its order."""

    def bans(self) -> BanList:
        """The bans in force now."""

    def locations(self) -> Locations:
        """Locations of addresses, from the database in use."""

    def dashboard(self) -> DashboardConfig:
        """The settings of the status page."""

    def admin(self) -> AdminConfig:
        """The settings of the operators' desk."""

    def api_url(self) -> str:
        """The base URL of the API listener, for when no entrances are configured."""

    def waiting(self) -> Waiting:
        """The requests that wait for room on a mirror, a second ago."""

    def rescued(self) -> Rescued:
        """The requests of today that failover has saved."""

    def legacy_days(self) -> int:
        """Days of use that count in a balance of the legacy interface; 0: it is off."""

    def terms(self) -> Terms:
        """The terms of use of the API."""

    def offers(self) -> Sequence[Offer]:
        """The models of the mirrors in rotation, as far as they are known, by name."""

    def key_account(self, key: str) -> KeyAccount | None:
        """The account of an issued key, revoked ones included; None for any other text."""

    def config_problem(self) -> str:
        """The fault that keeps the newest configuration file out of use, for operators; or ""."""

    def visitor(self, address: str, fields: MultiMapping[str] | None) -> Visitor:
        """Return the visitor at this address with these fields, which a trusted proxy may have set.

        None: who opens a connection.
        """

    def series(self) -> Callable[[], Iterable[Series]]:
        """Return a function that adds up every metric series of this moment, in any thread."""

    def version(self) -> str:
        """The version of this program."""


@dataclass(slots=True)
class Inspected:
    """A diagnosis that an operator asked for, as far as it has come."""

    mirror: str
    began: float
    """Seconds since the epoch, as is `ended`."""
    said: list[Evidence] = field(default_factory=list)
    """The actions so far."""
    steps: list[StepResult] = field(default_factory=list)
    """The steps that are done."""
    ended: float | None = None
    found: Inspection | None = None
    problem: Fault | None = None
    """Why nothing was found; None while it is not known."""


class ConfigurationState(NamedTuple):
    """The configuration in effect against the file."""

    file: str
    taken_at: float
    taken_by: str
    faults: tuple[str, ...]
    """Of the file as it is now."""
    settings: tuple[Compared, ...]
    restart_needed: tuple[str, ...]
    cautions: tuple[str, ...]


class Open(NamedTuple):
    """Requests that somebody has open, as limits count them."""

    address: str
    """A client's address or network; empty where it is an issued key."""
    key: str
    """The id of an issued key, or empty."""
    requests: int


class CommandError(Fault):
    """A command that could not be carried out, and perhaps the faults of a bad file."""

    def __init__(self, code: str, faults: Iterable[str] = (), **values: object) -> None:
        super().__init__(code, "", **values)
        self.faults = tuple(faults)


class NotThere(CommandError):
    """A command on something that there is not."""


class Commands(Protocol):
    """Commands of operators. Each raises CommandError."""

    async def reload(self, by: Actor) -> dict[str, Any]:
        """Take over the configuration file; tells what was added, removed, changed."""

    def unwritten(self) -> int:
        """Return the number of changes that are in effect, but that the store cannot take yet."""

    async def status(self) -> dict[str, Any]:
        """The state of the processes; what `Sources` knows is added by the admin API."""

    async def explain(self) -> dict[str, Any]:
        """Explain every mirror as every worker sees it: `policy`, `workers` (a list of mirrors for
        each), `silent` (workers that did not answer in time)."""

    async def trace(self, request_id: str) -> dict[str, Any]:
        """Trace one of the last requests: `request` (null if no worker knows it) and `silent`."""

    async def recent(self, most: int) -> dict[str, Any]:
        """The last requests that failed somewhere or took long, newest first: `requests`, and
        `silent`."""

    async def inspect(self, mirror_id: str, by: Actor) -> None:
        """Begin to diagnose a mirror, step by step. Raises NotThere."""

    def inspections(self) -> Mapping[str, Inspected]:
        """The last diagnosis of each mirror that was asked for."""

    def open_requests(self) -> list[Open]:
        """The clients and issued keys that have requests open, the most first."""

    async def transitions(self, mirror_id: str, most: int) -> list[Transition]:
        """The last changes of a mirror's state, newest first."""

    async def configuration(self) -> ConfigurationState:
        """The configuration in effect, and how the file differs, without secrets."""

    async def note(self, by: Actor, what: str) -> None:
        """Note in the audit log what is changed nowhere else, as a sign-in."""

    async def set_override(
        self, mirror_id: str, override: Override, until: float | None, by: Actor
    ) -> None:
        """Durably say what is wanted of a mirror; `until` in seconds since the epoch."""

    async def open_incident(
        self, title: Text, impact: str, mirrors: Sequence[str], began: float, text: Text, by: Actor
    ) -> ManualIncident:
        """Tell of something that the monitor does not see, since a moment (seconds since the
        epoch). Raises NotThere."""

    async def edit_incident(self, change: IncidentEdit, by: Actor) -> None:
        """Give an incident a title and an impact of one's own. Raises NotThere."""

    async def update_incident(self, about: str, status: str, text: Text, by: Actor) -> None:
        """Add a message about an incident or a maintenance. What the monitor still sees is not
        resolved by it. Raises NotThere."""

    async def plan_maintenance(
        self, mirrors: Sequence[str], starts_at: float, ends_at: float, title: Text, by: Actor
    ) -> Maintenance:
        """Take mirrors out of use from one moment to another (seconds since the epoch)."""

    async def end_maintenance(self, maintenance: str, by: Actor) -> Maintenance:
        """Call a maintenance off, or end it before its time. Raises NotThere."""

    async def add_ban(self, network: str, seconds: float | None, reason: str, by: Actor) -> Ban:
        """Ban a network for so long, or until it is lifted."""

    async def remove_ban(self, network: str | None, by: Actor) -> list[Ban]:
        """Lift the bans that overlap a network (None: all); returns those lifted."""

    async def allow(self, network: str, seconds: float | None, by: Actor) -> None:
        """Lift the bans on a network; none is made automatically, for so long or ever."""

    def allowances(self) -> list[Allowance]:
        """The networks that are never banned automatically, and until when."""

    async def audit(self, limit: int, before: int | None) -> list[Entry]:
        """Return changes and their authors, newest first; `before`: only those older than this
        entry."""

    async def keys(self, days: int) -> list[KeyAccount]:
        """All issued keys, newest first, with what they used on the last so many days."""

    async def create_key(self, order: KeyOrder, by: Actor) -> NewKey:
        """Issue a key, which is returned this once."""

    async def revoke_key(self, key_id: str, by: Actor) -> KeyAccount:
        """Let a key be used no more. Raises NotThere."""

    async def top_up_key(
        self, key_id: str, quota: int | None, tokens: int | None, by: Actor
    ) -> KeyAccount:
        """Grant so much more of the quotas that a key has. Raises NotThere."""
