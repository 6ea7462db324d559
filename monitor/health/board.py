"""What is known about all mirrors right now: one frozen, versioned snapshot, swapped whole.

Whoever reads a snapshot never sees half of a change and never locks. Workers hold the last one
they were sent and go on with it when the control process is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What a mirror is; `unknown` means that we were blind, not that it is down."""

    up = "up"
    degraded = "degraded"
    down = "down"
    maintenance = "maintenance"
    unknown = "unknown"


class Wish(StrEnum):
    """What the operator wants of a mirror, whatever its health."""

    use = "use"
    drain = "drain"
    maintenance = "maintenance"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of the phases of the last good probe; None where the phase did not occur."""

    resolve: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None


@dataclass(frozen=True, slots=True)
class MirrorHealth:
    """What is known about one mirror. Times are seconds since the epoch."""

    id: str
    state: State = State.unknown
    since: float = 0.0
    verdict: str = "unknown"
    wish: Wish = Wish.use
    wish_until: float | None = None
    addresses: tuple[str, ...] = ()
    """IP addresses that answered, best first; empty while nothing is known."""
    latency: Latency = field(default_factory=Latency)
    last_probe: float | None = None
    cdn_detected: str = ""
    tls_not_after: float | None = None
    detail: str = ""
    """One sentence on why it is not up, without secrets; empty when it is."""

    @property
    def in_rotation(self) -> bool:
        """Whether new requests may be sent to it: wanted, and not known to be down."""
        return self.wish is Wish.use and self.state is not State.down


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """The health of all mirrors at one moment."""

    version: int = 0
    created_at: float = 0.0
    vantage: str = ""
    mirrors: Mapping[str, MirrorHealth] = field(default_factory=dict)

    def of(self, mirror_id: str) -> MirrorHealth:
        """The health of a mirror; unknown when it was never seen."""
        return self.mirrors.get(mirror_id) or MirrorHealth(mirror_id)

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
        return {
            "version": self.version,
            "created_at": self.created_at,
            "vantage": self.vantage,
            "mirrors": [asdict(mirror) for mirror in self.mirrors.values()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HealthSnapshot:
        """The snapshot that `to_json` was made from."""
        mirrors = {m["id"]: _mirror_from_json(m) for m in data["mirrors"]}
        return cls(data["version"], data["created_at"], data["vantage"], mirrors)


def _mirror_from_json(data: Mapping[str, Any]) -> MirrorHealth:
    return MirrorHealth(
        **{
            **data,
            "state": State(data["state"]),
            "wish": Wish(data["wish"]),
            "addresses": tuple(data["addresses"]),
            "latency": Latency(**data["latency"]),
        }
    )


class HealthBoard:
    """Holds the current snapshot; the one place where it is replaced."""

    def __init__(self, vantage: str) -> None:
        self.current = HealthSnapshot(vantage=vantage)

    def __repr__(self) -> str:
        states = ", ".join(f"{m.id} {m.state}" for m in self.current.mirrors.values())
        return f"<HealthBoard v{self.current.version} [{states}]>"

    def publish(self, mirrors: Mapping[str, MirrorHealth], now: float) -> HealthSnapshot:
        """Replace the snapshot by one of these mirrors; its version is one higher."""
        self.current = replace(
            self.current,
            version=self.current.version + 1,
            created_at=now,
            mirrors=dict(mirrors),
        )
        return self.current
