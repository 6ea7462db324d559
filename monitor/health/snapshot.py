"""Snapshot of all mirrors: frozen, versioned, swapped whole.

Whoever reads a snapshot never sees half of a change and never locks. Workers hold the last one
they were sent and go on with it when the control process is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from monitor.diagnosis.evidence import Evidence


class State(StrEnum):
    """State of a mirror; `unknown` means that we were blind, not that it is down."""

    up = "up"
    degraded = "degraded"
    down = "down"
    maintenance = "maintenance"
    unknown = "unknown"


class Override(StrEnum):
    """The operator's override of a mirror, whatever its health."""

    use = "use"
    drain = "drain"
    maintenance = "maintenance"


class Standing(StrEnum):
    """Standing of a path; live traffic takes those that are ok, others only when none is."""

    ok = "ok"
    suspected = "suspected"
    """It has just failed; probes find out more."""
    held = "held"
    """Left alone for a time that grows with every repetition."""
    untested = "untested"
    """No probe has come through yet; live traffic never is the first."""


@dataclass(frozen=True, slots=True)
class PathHealth:
    """One way to a mirror: a hostname over one address."""

    hostname: str
    """What is sent as SNI and Host, and what the certificate is checked for."""
    address: str
    standing: Standing = Standing.untested
    usable: bool = False
    """True if new connections of live traffic may take it."""
    verdict: str = "unknown"
    level: str = "none"
    """How sure the verdict is: none, suspected, confirmed, cleared."""
    latency: float | None = None
    """Milliseconds for TCP and TLS, smoothed; None until it was measured."""
    until: float | None = None
    """While it is held: until when, seconds since the epoch."""
    not_after: float | None = None
    """When the certificate that was seen over it ends, seconds since the epoch."""
    successes: int = 0
    """Connections that came about over it, since the start."""
    evidence: tuple[Evidence, ...] = ()
    """What the verdict rests on."""


def endpoint_of(address: str, port: int) -> str:
    """ "192.0.2.1:443" or "[2001:db8::1]:443": what a quarantine holds, whatever the hostname."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of the phases of the last good probe; None where the phase did not occur."""

    resolve: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None


@dataclass(frozen=True, slots=True)
class VantageHealth:
    """One mirror as it was seen from another vantage."""

    name: str
    state: State = State.unknown
    verdict: str = "unknown"
    detail: Evidence | None = None
    latency: Mapping[str, int] = field(default_factory=dict)
    """Milliseconds by phase, the way through the proxy included."""
    at: float = 0.0
    """Seconds since the epoch."""
    lasts: bool = False
    """True if an instance there tells it, which holds until it tells another or is silent."""


@dataclass(frozen=True, slots=True)
class MirrorHealth:
    """Health of one mirror. Times are seconds since the epoch."""

    id: str
    state: State = State.unknown
    since: float = 0.0
    verdict: str = "unknown"
    wish: Override = Override.use
    wish_until: float | None = None
    paths: tuple[PathHealth, ...] = ()
    """In the order to use; empty while nothing is known."""
    weight: float = 1.0
    """Factor on the configured share of traffic: below 1 for a mirror that is slowed down."""
    freezes_streams: bool = False
    """True if long answers stop dead over it: other mirrors come first for streams."""
    key_refused: bool = False
    """True if its own key is refused: then only callers' own keys go there."""
    models: tuple[str, ...] = ()
    """All that it lists for its own key; empty: not known."""
    dns: str = "ok"
    """The verdict on how its name resolves, which need not keep it from being reached."""
    evidence: tuple[Evidence, ...] = ()
    """What its verdict rests on."""
    latency: Latency = field(default_factory=Latency)
    vantages: tuple[VantageHealth, ...] = ()
    """As other vantages see it."""
    last_probe: float | None = None
    rests_until: float | None = None
    """Until when it is not probed on purpose: so long its last result counts."""
    cdn_detected: str = ""
    tls_not_after: float | None = None
    detail: Evidence | None = None
    """What its last probe met, where it is not up; None where the verdict says it all."""

    @property
    def level(self) -> str:
        """Certainty of its verdict: that of the path that shows it."""
        levels = (path.level for path in self.paths if path.verdict == self.verdict)
        return next(levels, "suspected")

    @property
    def verdicts(self) -> frozenset[str]:
        """All that is wrong anywhere in it, or "ok"."""
        bad = {self.verdict, self.dns, *(path.verdict for path in self.paths)} - {"ok", "unknown"}
        return frozenset(bad or {self.verdict})

    @property
    def in_rotation(self) -> bool:
        """True if new requests may be sent to it: wanted, and not known to be down."""
        return self.wish is Override.use and self.state is not State.down


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The health of all mirrors at one moment."""

    version: int = 0
    created_at: float = 0.0
    vantage: str = ""
    mirrors: Mapping[str, MirrorHealth] = field(default_factory=dict)
    quarantine: Mapping[str, float] = field(default_factory=dict)
    """Endpoints ("ip:port") that nobody opens a connection to, and until when."""

    def of(self, mirror_id: str) -> MirrorHealth:
        """The health of a mirror; unknown when it was never seen."""
        return self.mirrors.get(mirror_id) or MirrorHealth(mirror_id)

    def left_alone_until(self, mirror_id: str, port: int, now: float) -> float | None:
        """When the first path of a mirror may be taken again, in seconds since the epoch, while all
        are left alone: their addresses are in quarantine, or are needed by others; else None."""

        def end(path: PathHealth) -> float:
            quarantined = self.quarantine.get(endpoint_of(path.address, port))
            if quarantined is not None or path.usable or path.standing is not Standing.held:
                return now if quarantined is None else quarantined
            return now if path.until is None else path.until

        first = min(map(end, self.of(mirror_id).paths), default=now)
        return first if first > now else None

    @property
    def none_in_rotation(self) -> bool:
        """True if mirrors are wanted and every one of them is down: the least bad are tried."""
        wanted = [m for m in self.mirrors.values() if m.wish is Override.use]
        return bool(wanted) and not any(mirror.in_rotation for mirror in wanted)

    def completed_from(self, older: HealthSnapshot) -> HealthSnapshot:
        """This snapshot, with what it does not know yet taken from an older one.

        A monitor that has just been started calls every mirror unknown until it has probed it. Who
        knew better goes on with that: else a mirror that is down would get requests.
        """
        kept = {
            mirror.id: replace(known, wish=mirror.wish, wish_until=mirror.wish_until)
            for mirror in self.mirrors.values()
            if mirror.last_probe is None and (known := older.mirrors.get(mirror.id))
        }
        return replace(self, mirrors={**self.mirrors, **kept}) if kept else self

    def to_json(self) -> dict[str, Any]:
        """Plain values for the feed."""
        return self._json(self.mirrors.values())

    def news_since(self, older: HealthSnapshot) -> dict[str, Any]:
        """`to_json` with nothing of mirrors that are as they were in `older`."""
        known = older.mirrors
        changed = [m for m in self.mirrors.values() if m is not known.get(m.id)]
        gone = [mirror_id for mirror_id in known if mirror_id not in self.mirrors]
        return {**self._json(changed), "since": older.version, "gone": gone}

    def _json(self, mirrors: Iterable[MirrorHealth]) -> dict[str, Any]:
        return {
            "version": self.version,
            "created_at": self.created_at,
            "vantage": self.vantage,
            "mirrors": [_mirror_to_json(mirror) for mirror in mirrors],
            "quarantine": dict(self.quarantine),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HealthSnapshot:
        """The snapshot that `to_json` was made from."""
        mirrors = {m["id"]: _mirror_from_json(m) for m in data["mirrors"]}
        quarantine = dict(data["quarantine"])
        return cls(data["version"], data["created_at"], data["vantage"], mirrors, quarantine)

    def with_news(self, data: Mapping[str, Any]) -> HealthSnapshot:
        """This snapshot brought up to date by `news_since`, mirrors without news as they are."""
        news = HealthSnapshot.from_json(data)
        mirrors = {**self.mirrors, **news.mirrors}
        for mirror_id in data["gone"]:
            mirrors.pop(mirror_id, None)
        return replace(news, mirrors=mirrors)


def _plain(value: PathHealth | MirrorHealth) -> dict[str, Any]:
    """The fields as they are: `asdict` would copy every value, which takes thrice the time."""
    data = {name: getattr(value, name) for name in value.__slots__}
    return {**data, "evidence": [each.to_json() for each in value.evidence]}


def _mirror_to_json(mirror: MirrorHealth) -> dict[str, Any]:
    return {
        **_plain(mirror),
        "paths": list(map(_plain, mirror.paths)),
        "detail": mirror.detail and mirror.detail.to_json(),
        "latency": asdict(mirror.latency),
        "vantages": [_vantage_to_json(each) for each in mirror.vantages],
    }


def _mirror_from_json(data: Mapping[str, Any]) -> MirrorHealth:
    return MirrorHealth(
        **{
            **data,
            "state": State(data["state"]),
            "wish": Override(data["wish"]),
            "paths": tuple(map(_path_from_json, data["paths"])),
            "latency": Latency(**data["latency"]),
            "vantages": tuple(map(_vantage_from_json, data["vantages"])),
            "evidence": tuple(map(Evidence.from_json, data["evidence"])),
            "detail": data["detail"] and Evidence.from_json(data["detail"]),
            "models": tuple(data["models"]),
        }
    )


def _vantage_to_json(seen: VantageHealth) -> dict[str, Any]:
    return {**asdict(seen), "detail": seen.detail and seen.detail.to_json()}


def _vantage_from_json(data: Mapping[str, Any]) -> VantageHealth:
    detail = data["detail"] and Evidence.from_json(data["detail"])
    return VantageHealth(**{**data, "state": State(data["state"]), "detail": detail})


def _path_from_json(data: Mapping[str, Any]) -> PathHealth:
    evidence = tuple(map(Evidence.from_json, data["evidence"]))
    return PathHealth(**{**data, "standing": Standing(data["standing"]), "evidence": evidence})


class HealthBoard:
    """Holds the current snapshot; the one place where it is replaced."""

    def __init__(self, vantage: str) -> None:
        self.current = HealthSnapshot(vantage=vantage)

    def __repr__(self) -> str:
        states = ", ".join(f"{m.id} {m.state}" for m in self.current.mirrors.values())
        return f"<HealthBoard v{self.current.version} [{states}]>"

    def publish(
        self,
        mirrors: Mapping[str, MirrorHealth],
        now: float,
        quarantine: Mapping[str, float] | None = None,
    ) -> HealthSnapshot:
        """Replace the snapshot by one of these mirrors; its version is one higher."""
        self.current = replace(
            self.current,
            version=self.current.version + 1,
            created_at=now,
            mirrors=dict(mirrors),
            quarantine=dict(quarantine or {}),
        )
        return self.current
