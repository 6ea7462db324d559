"""One page of the status page in one language: everything that its template or text needs."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from urllib.parse import urlsplit

from aiohttp import web
from markupsafe import Markup

from dashboard.common.config import EntranceConfig, LinkConfig
from dashboard.common.context import SOURCES
from dashboard.common.location import Attribution
from dashboard.common.printable import printable
from dashboard.common.sources import Rescued, Sources, Terms, Waiting
from dashboard.guide.examples import PLACEHOLDER
from dashboard.i18n.moments import ago, clock_time, iso, lasting, said, said_month
from dashboard.i18n.texts import Words
from dashboard.public import rows
from dashboard.public.documents import BansPage
from dashboard.public.incidents import IncidentRow, MaintenanceRow, alarm, to_come
from dashboard.public.view import shown_incidents, shown_maintenances, shown_nodes
from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.telling import Told
from monitor.health.snapshot import Override, State
from monitor.health.uptime import DAY, ENOUGH_COVERAGE, Known

MOST = 10
"""Incidents shown with a node."""
MANY = 12
"""Nodes that are grouped by region, where there are several; from here on they can be searched."""

LONG_VALID = 3650
"""Days of a certificate of an authority of one's own that nobody counts."""
PAST_IS_OLD = 200.0
"""Seconds without a look at history, which is read every minute, until the page says so."""

TONES = {
    "ok": "up",
    "planned": "up",
    "slow": "degraded",
    "some": "degraded",
    "last": "down",
    "none": "down",
    "lost": "down",
    "early": "unknown",
    "offline": "unknown",
    "blind": "unknown",
    "empty": "unknown",
}


@dataclass(frozen=True, slots=True)
class Entrance:
    """An address that clients should use."""

    url: str
    region: str
    way: str
    """The key of the words on how it is reached; empty when the operator did not say."""

    @property
    def health(self) -> str:
        """Where a browser can ask it for a sign of life."""
        url = urlsplit(self.url)
        return f"{url.scheme}://{url.netloc}/healthz"


@dataclass(frozen=True, slots=True)
class Page:
    """Content of a page, and the form of its moments."""

    words: Words
    now: float
    zone: str
    title: str
    notice: str
    overview: rows.Overview
    nodes: Sequence[rows.Node]
    vantage: str
    entrances: Sequence[Entrance]
    bans: Sequence[rows.BanRow] | None
    """None when the operator does not show them."""
    more_bans: str | None
    """The cursor of those behind them, if there are more."""
    ban_count: int
    incidents: Sequence[IncidentRow]
    """Newest first."""
    maintenances: Sequence[MaintenanceRow]
    """Planned ones, the next first."""
    days_zone: str
    """Whose days are shown."""
    past_read_at: float | None
    """When history was read last."""
    links: Sequence[LinkConfig]
    contact: str
    languages: Sequence[str]
    masked: bool
    attribution: Attribution | None
    """Source of the locations, where any can be shown."""
    version: str
    waiting: Waiting
    rescued: Rescued
    public_url: str
    """Where visitors see this page, without a slash at the end; empty if it is not known."""
    legacy_days: int
    """Days of use that count in a balance; 0: the legacy interface is off."""
    terms: Terms

    @property
    def tone(self) -> str:
        """The state of the whole as one of a node's."""
        seen, told = TONES[self.overview.kind], alarm(self.incidents)
        return told.tone if told and seen == "up" else seen

    @property
    def banner(self) -> str:
        """The state of the whole in one sentence."""
        whole = self.overview
        key: str = "one" if whole.kind == "ok" and whole.total == 1 else whole.kind
        if TONES[whole.kind] == "up" and alarm(self.incidents):
            key = "announced"
        if key == "blind" and whole.heard is not None:
            return self.words("banner.blind.since", time=self.said(whole.heard))
        numbers = {"serving": whole.serving, "total": whole.total, "down": whole.down}
        return self.words(f"banner.{key}", **numbers)

    @property
    def next_step(self) -> str:
        """Tell what becomes of requests, or what can be done, while nothing serves; else empty."""
        whole = self.overview
        kind = "first" if whole.kind == "blind" and whole.heard is None else whole.kind
        key = f"banner.{kind}.next"
        return self.words(key) if self.words.has(key) else ""

    @property
    def queue(self) -> str:
        """Tell how many requests wait for a mirror, and for how long; empty while none does."""
        count, seconds = self.waiting
        if not count:
            return ""
        return self.words.plural("queue", count, time=lasting(max(seconds, 1.0), self.words))

    @property
    def old_past(self) -> str:
        """Tell that the past is old, as the store is locked, slow or gone; empty if it is not."""
        if self.past_read_at is None or self.now - self.past_read_at < PAST_IS_OLD:
            return ""
        return self.words("page.old_past", time=self.said(self.past_read_at))

    @property
    def rescue(self) -> str:
        """Tell how many requests failover has saved; empty while there are none, and while
        nothing is known to work, when it would be no comfort."""
        if not self.rescued.requests or not self.overview.serving:
            return ""
        since = clock_time(self.rescued.since, self.zone)[:5]
        return self.words.plural("rescued", self.rescued.requests, time=since)

    @property
    def groups(self) -> list[tuple[str, list[rows.Node]]]:
        """The nodes by region where there are many, in the order of the configuration."""
        regions = list(dict.fromkeys(node.region for node in self.nodes))
        if not self.is_long or len(regions) < 2:
            return [("", list(self.nodes))]
        return [(region, [n for n in self.nodes if n.region == region]) for region in regions]

    @property
    def is_long(self) -> bool:
        """True if there are so many nodes that one looks for some of them."""
        return len(self.nodes) > MANY

    @property
    def open_incidents(self) -> list[IncidentRow]:
        """Those that go on."""
        return [incident for incident in self.incidents if incident.is_open]

    def concerning(self, node: rows.Node) -> list[IncidentRow]:
        """The newest ones that a node has a part in."""
        return [incident for incident in self.incidents if incident.concerns(node.id)][:MOST]

    @property
    def recent_incidents(self) -> list[IncidentRow]:
        """Those that ended not long ago."""
        return [incident for incident in self.incidents if incident.is_recent(self.now)]

    def months(self, some: Sequence[IncidentRow]) -> list[tuple[str, list[IncidentRow]]]:
        """Some incidents, by the month that they began in."""
        return [
            (name, list(rows)) for name, rows in groupby(some, lambda i: month(i.started_at, self))
        ]

    def current_cause(self, node_id: str) -> str:
        """The verdict on a node now, while it is down; else empty."""
        node = next((node for node in self.nodes if node.id == node_id), None)
        return node.verdict if node is not None and node.state == "down" else ""

    @property
    def base_url(self) -> str:
        """The address used in examples."""
        return self.entrances[0].url.rstrip("/") if self.entrances else PLACEHOLDER

    @property
    def updated(self) -> str:
        """The time of day to the minute: pages of one minute without news are the same."""
        return clock_time(self.now, self.zone)[:5]

    def said(self, moment: float) -> str:
        """A moment in the operator's time zone."""
        return said(moment, self.now, self.zone, self.words)

    def moment(self, moment: float) -> Markup:
        """A moment, for people and for machines; neither has anything to escape."""
        machine = iso(moment)
        text = self.said(moment)
        return Markup(f'<time datetime="{machine}" title="{machine}">{text}</time>')

    def iso(self, moment: float) -> str:
        """A moment for machines."""
        return iso(moment)

    def ago(self, moment: float) -> str:
        """Time since a moment, in words."""
        return ago(self.now - moment, self.words)

    def lasting(self, moment: float) -> str:
        """For how long something has been so."""
        return lasting(self.now - moment, self.words)

    def lasted(self, begin: float, end: float) -> str:
        """For how long something was so."""
        return lasting(end - begin, self.words)

    def length(self, seconds: float) -> str:
        """A duration."""
        return lasting(seconds, self.words)

    def cdn(self, node: rows.Node) -> str:
        """The declared and the detected CDN, in a few words."""
        words = self.words
        declared = words("cdn.yes") if node.cdn_declared else words("cdn.no")
        return f"{declared} / {node.cdn_detected or words('cdn.none')}"

    def cdn_said(self, node: rows.Node) -> str:
        """The declared and the detected CDN in a sentence's part."""
        declared, found = node.cdn_declared, node.cdn_detected
        key = f"cdn.said.{'declared' if declared else 'undeclared'}.{'found' if found else 'none'}"
        return self.words(key, name=found)

    def cdn_tag(self, node: rows.Node) -> str:
        """The CDN in the shortest form; a mark where what is seen is not what was declared."""
        if node.cdn_detected:
            key = "cdn.tag.seen" if node.cdn_declared else "cdn.tag.undeclared"
            return self.words(key, name=node.cdn_detected)
        return self.words("cdn.tag.declared") if node.cdn_declared else ""

    def certificate(self, ends: float) -> str:
        """Time that a certificate is still valid."""
        days = int((ends - self.now) // DAY)
        if ends <= self.now:
            return self.words("node.certificate.over")
        if days > LONG_VALID:
            return self.words("node.certificate.long")
        return self.words.plural("node.certificate.days", days)

    def coverage(self, known: Known) -> str:
        """A sentence on how much of a window is known; empty if nearly all of it."""
        if known.told is None:
            limit = ENOUGH_COVERAGE
            return self.words("uptime.too_little", percent=known.coverage or "0", limit=limit)
        if 100 * known.covered >= 99 * known.total:
            return ""
        return self.words("uptime.part", percent=known.coverage or "0")

    def evidence(self, evidence: Sequence[Evidence]) -> list[str]:
        """Observations behind a diagnosis in the reader's language, each sentence once."""
        return list(dict.fromkeys(printable(self.words.evidence(each)) for each in evidence))

    def contrast(self, node: rows.Node) -> str:
        """A sentence on from where it works and from where not; empty where all see the same."""
        states = [(self.vantage, node.state), *((each.name, each.state) for each in node.vantages)]
        works = [name for name, state in states if state in (State.up, State.degraded)]
        fails = [name for name, state in states if state is State.down]
        if not works or not fails:
            return ""
        between = self.words("incidents.and")
        return self.words("vantages.contrast", works=between.join(works), fails=between.join(fails))

    def told(self, node: rows.Node) -> Told:
        """All that is to be said of its verdict."""
        next_try = "" if node.held_until is None else self.said(node.held_until)
        return self.words.told(node.verdict, node.level, node.situation, next_try)

    def rotation(self, node: rows.Node) -> str:
        """The words for `in rotation`, or for the decision that keeps new requests away."""
        if node.override is not Override.use:
            return self.words(f"rotation.{node.override}")
        if node.ejection is not None:
            return self.words("rotation.ejected")
        return self.words("rotation.in" if node.in_rotation else "rotation.out")

    def ejection(self, node: rows.Node) -> str:
        """Tell why failing requests keep it out, and until when; empty when they do not."""
        ejection, words = node.ejection, self.words
        if ejection is None:
            return ""
        until = ejection.until
        end = words("rotation.until", time=self.said(until)) if until else words("ejection.trying")
        return f"{words(f'ejection.{ejection.cause}')} · {end}"


def month(moment: float, page: Page) -> str:
    """The month of a moment."""
    return said_month(moment, page.zone, page.words)


NO_BANS = BansPage((), None)


def build(app: web.Application, words: Words, now: float, bans: BansPage = NO_BANS) -> Page:
    """The page of this moment, with these bans."""
    sources = app[SOURCES]
    config = sources.dashboard()
    nodes = shown_nodes(app, now)
    locations = sources.locations()
    locate = partial(locations.of, language=words.language)
    shown = [rows.ban_row(ban, config, locate) for ban in bans.bans]
    return Page(
        words=words,
        now=now,
        zone=config.timezone,
        title=printable(config.title),
        notice=config.notice.get(words.language, ""),
        overview=rows.overview(nodes),
        nodes=nodes,
        vantage=printable(sources.snapshot().vantage),
        entrances=entrances(sources),
        bans=None if config.bans == "off" else shown,
        more_bans=bans.following,
        ban_count=len(sources.bans()),
        incidents=shown_incidents(app),
        maintenances=to_come(shown_maintenances(app, now)),
        days_zone=sources.past().zone,
        past_read_at=sources.past().read_at,
        links=config.links,
        contact=config.contact,
        languages=config.languages,
        masked=config.bans == "masked",
        attribution=locations.attribution,
        version=sources.version(),
        waiting=sources.waiting(),
        rescued=sources.rescued(),
        public_url=config.public_url.rstrip("/"),
        legacy_days=sources.legacy_days(),
        terms=sources.terms(),
    )


def entrances(sources: Sources) -> list[Entrance]:
    """The configured entrances; without any, the API listener itself.

    None, when the page has a public address and the listener is only known by a loopback one: it
    stands behind something whose address only the operator knows.
    """
    config = sources.dashboard()
    if config.entrances:
        return [_entrance(entrance) for entrance in config.entrances]
    base = sources.api_url().rstrip("/")
    if config.public_url and is_loopback(base) and not is_loopback(config.public_url):
        return []
    return [Entrance(base if urlsplit(base).path else f"{base}/v1", "", "")]


def is_loopback(url: str) -> bool:
    """True if a URL leads to the machine of whoever follows it."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _entrance(config: EntranceConfig) -> Entrance:
    way = "entrances.cdn" if config.cdn else "entrances.direct"
    return Entrance(config.url, printable(config.region), way)
