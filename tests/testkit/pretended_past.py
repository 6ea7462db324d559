"""Ninety days of a store that nobody has lived through: for the demo, and for pictures of pages.

Outages, slow afternoons, maintenance and a day on which nobody watched, with the incidents and the
curves that belong to them; the same for the same random seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from monitor.health.uptime import DAY, FIVE_MINUTES, HOUR
from monitor.store.database import open_database
from monitor.store.tables import (
    BanRow,
    IncidentMirrorRow,
    IncidentRow,
    Rollup5mRow,
    RollupHourRow,
    SampleRow,
)

PROBED_EVERY = 120
"""Seconds between two pretended samples."""


class Outage(NamedTuple):
    """So many days ago, for so many minutes, down so many times."""

    days_ago: float
    minutes: float
    verdict: str
    times: int = 1


@dataclass(frozen=True)
class Life:
    """The past of one mirror. Milliseconds of resolve, connect, tls and first byte; hours of day
    in which it is slower; days ago of its trouble."""

    mirror: str
    latency: tuple[float, float, float, float]
    outages: Sequence[Outage] = ()
    slow: Sequence[tuple[float, float]] = ()
    """Days ago, and for how many hours it was degraded."""
    maintenance: Sequence[tuple[float, float]] = ()
    since: float = 91.0
    """Days ago that it was first watched."""
    cdn: str = ""
    evening: float = 0.5
    """How much slower than at night it is in the evening of China."""


BLIND = (37.4, 5.0)
"""Days ago, and for how many hours, the monitor itself was off."""

AGENTS = (
    ("OpenAI/NodeJS/3.2.1", "too_many_connections"),
    ("python-requests/2.31.0", "rate_limit_exceeded"),
    ("okhttp/4.12.0", "too_many_connections"),
    ("Go-http-client/1.1", "invalid_api_key"),
    ("Mozilla/5.0 (X11; Linux x86_64) zgrab/0.x", "malformed_request"),
    ("axios/1.6.8", "rate_limit_exceeded"),
    ("OpenAI/Python 1.30.1", "too_many_connections"),
)


def fill(url: str, lives: Sequence[Life], vantage: str, now: float, seed: int = 7) -> None:
    """Write the past of these mirrors, up to now, and some bans in force."""
    chance = random.Random(seed)
    database = open_database(url)
    try:
        database.ensure()
        with Session(database.decisions) as session:
            for life in lives:
                story = _Story(life, now, chance)
                for table, size, days in (
                    (RollupHourRow, HOUR, 90),
                    (Rollup5mRow, FIVE_MINUTES, 2),
                ):
                    _add(session, table, list(story.buckets(size, days, vantage)))
                _add(session, SampleRow, list(story.samples(vantage)))
            _add_incidents(session, lives, vantage, now)
            _add(session, BanRow, list(_bans(now, chance)))
            session.commit()
    finally:
        database.close()


def _add(session: Session, table: type[SQLModel], rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), 500):
        session.connection().execute(insert(table), rows[start : start + 500])


@dataclass
class _Story:
    """One life as a function of time."""

    life: Life
    now: float
    chance: random.Random
    down: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for outage in self.life.outages:
            self.down.extend(stretches(outage, self.now))

    def latency(self, at: float) -> tuple[float, float, float, float]:
        """The phases at a moment: an evening in China is slow, and nothing is quite steady."""
        hour = (at / HOUR + 8) % 24
        busy = max(0.0, math.cos((hour - 21) / 24 * 2 * math.pi)) ** 2
        factor = 1 + self.life.evening * busy + self.chance.gauss(0, 0.06)
        if self._in(self.life.slow, at):
            factor *= 2.6
        resolve, connect, tls, first_byte = self.life.latency
        base = max(0.6, factor)
        return (
            resolve,
            connect * (1 + (base - 1) / 3),
            tls * (1 + (base - 1) / 2),
            first_byte * base,
        )

    def _in(self, stretches: Sequence[tuple[float, float]], at: float) -> bool:
        return any(0 <= at - (self.now - ago * DAY) < hours * HOUR for ago, hours in stretches)

    def _down_within(self, start: float, end: float) -> float:
        return sum(max(0.0, min(end, b) - max(start, a)) for a, b in self.down)

    def buckets(self, size: int, days: int, vantage: str) -> Iterator[dict[str, Any]]:
        """The roll-ups."""
        first = self.now - min(days, self.life.since) * DAY
        for start in range(int(first) // size * size, int(self.now), size):
            end = min(start + size, self.now)
            length = end - start
            if self._in((BLIND,), start) or length <= 0:
                continue
            down = self._down_within(start, end)
            maintained = length - down if self._in(self.life.maintenance, start) else 0.0
            slow = length - down if self._in(self.life.slow, start) and not maintained else 0.0
            up = length - down - maintained - slow
            probes = max(0, int((length - down) / PROBED_EVERY))
            phases = self.latency(start + length / 2)
            yield {
                "start": start,
                "mirror": self.life.mirror,
                "vantage": vantage,
                "up_ms": round(up * 1000),
                "degraded_ms": round(slow * 1000),
                "down_ms": round(down * 1000),
                "maintenance_ms": round(maintained * 1000),
                "samples": int(length / PROBED_EVERY),
                "failures": int(down / PROBED_EVERY),
                "answers": probes,
                **{
                    name: round(ms * 1000 * probes)
                    for name, ms in zip(_PHASES, phases, strict=True)
                },
            }

    def samples(self, vantage: str) -> Iterator[dict[str, Any]]:
        """The probes of the last day."""
        first = self.now - min(1.0, self.life.since) * DAY
        for at in range(int(first), int(self.now), PROBED_EVERY):
            down = self._down_within(at, at + 1) > 0
            phases = self.latency(at)
            spread = self.chance.lognormvariate(0, 0.25)
            told = (*phases[:3], phases[3] * spread)
            yield {
                "mirror": self.life.mirror,
                "vantage": vantage,
                "at_ms": at * 1000,
                "ok": not down,
                "state": "down" if down else "up",
                "verdict": "ok" if not down else "connect_timeout",
                **{
                    name: None if down else round(ms * 1000)
                    for name, ms in zip(_PHASES, told, strict=True)
                },
            }


_PHASES = ("resolve_us", "connect_us", "tls_us", "first_byte_us")


def stretches(outage: Outage, now: float) -> list[tuple[float, float]]:
    """When it was down: as many times, and as long in all, with a pause after each."""
    each = outage.minutes * 60 / outage.times
    begin = now - outage.days_ago * DAY
    return [
        (begin + n * (each + 150), begin + n * (each + 150) + each) for n in range(outage.times)
    ]


def _add_incidents(session: Session, lives: Sequence[Life], vantage: str, now: float) -> None:
    """An incident for each outage; those that begin together are one."""
    heads: dict[tuple[str, int], list[tuple[Life, Outage]]] = {}
    for life in lives:
        for outage in life.outages:
            heads.setdefault((outage.verdict, int(outage.days_ago * 288)), []).append(
                (life, outage)
            )
    for number, ((verdict, _), parts) in enumerate(heads.items()):
        spans = [stretches(outage, now) for _, outage in parts]
        begin, end = min(s[0][0] for s in spans), max(s[-1][1] for s in spans)
        impact = "minor" if 2 * len(parts) < len(lives) else "major"
        name = f"{number:04x}{int(begin):08x}"
        session.add(
            IncidentRow(
                id=name,
                vantage=vantage,
                verdict=verdict,
                cdn=parts[0][0].cdn,
                impact=impact,
                started_at=begin,
                resolved_at=end,
                updated_at=end,
            )
        )
        session.flush()
        for (life, outage), span in zip(parts, spans, strict=True):
            session.add(
                IncidentMirrorRow(
                    incident=name,
                    mirror=life.mirror,
                    verdict=verdict,
                    since=span[0][0],
                    until=span[-1][1],
                    times=outage.times,
                    fell_at=None,
                    down_ms=round(outage.minutes * 60_000),
                )
            )


def _bans(now: float, chance: random.Random) -> Iterator[dict[str, Any]]:
    networks = (
        "124.223.221.187/32",
        "203.0.113.54/32",
        "2001:db8:85a3:8d3::/64",
        "198.51.100.23/32",
        "192.0.2.91/32",
        "198.51.100.201/32",
        "203.0.113.7/32",
    )
    for number, (network, (agent, reason)) in enumerate(zip(networks, AGENTS, strict=True)):
        since = now - 3600 * (0.4 + 7 * number) - chance.random() * 1800
        hours = (1, 24, 48, 96, 30 * 24, 72, 90)[number]
        yield {
            "id": f"b{chance.randrange(36**6):06x}"[:7],
            "network": network,
            "since": since,
            "until": None if number == 4 else since + hours * 3600,
            "reason": reason,
            "by": "automatic",
            "user_agent": agent,
            "count": 1 + number % 3,
            "lifted_at": None,
            "lifted_by": "",
        }
