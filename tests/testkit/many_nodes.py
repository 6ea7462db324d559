"""Sources of pages with a long past: the mirrors of `dashboard.py`, and more where wanted."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from sqlmodel import Session

from monitor.common.config import MirrorConfig
from monitor.health.latency import FirstBytes
from monitor.health.past import QUANTILES, Past
from monitor.health.snapshot import MirrorHealth, State
from monitor.store.latencies import Curves, first_bytes
from monitor.store.queries import incidents, read_days, read_windows
from monitor.store.sqlite import SqliteFile
from tests.testkit.dashboard import HEALTH, INCIDENTS, MIRRORS, NOW, FakeSources
from tests.testkit.pretended_past import Life, Outage, fill

ZONE = "Asia/Shanghai"
REGIONS = ("香港", "日本", "新加坡", "美国", "德国")
LIVES = (
    Life("hk", (3, 31, 64, 180), (Outage(33.2, 14, "tls_reset", 4),), cdn="cloudflare"),
    Life("jp", (4, 58, 121, 640), slow=((0.03, 2), (21, 6)), evening=1.4),
    Life("sg", (5, 40, 90, 240), (Outage(9.3, 180, "sni_block_rst", 2),)),
    Life("us-west", (2, 148, 160, 310), maintenance=((28, 2),), evening=0.1),
    Life("de", (5, 190, 204, 402), (Outage(30, 25, "ip_unreachable"),), since=52),
)
VERDICTS = {"up": "ok", "degraded": "upstream_overloaded", "down": "ip_unreachable"}


def sources_of(folder: Path, nodes: int = 5) -> FakeSources:
    """Sources with so many nodes, and ninety days of each read from a real store."""
    chance = random.Random(1)
    mirrors, health, lives = list(MIRRORS), list(HEALTH), list(LIVES)
    for number in range(nodes - 5):
        name, region = f"m{number}", REGIONS[number % len(REGIONS)]
        url = f"https://api-{number}.example.com"
        label = f"{region} {number:02}"
        mirrors.append(MirrorConfig(name, url, name=label, region=region, cdn=number % 3 == 0))
        state = State(chance.choices(tuple(VERDICTS), (8, 1, 1))[0])
        since = NOW - chance.random() * 9e5
        health.append(MirrorHealth(name, state, since, VERDICTS[state], last_probe=NOW - 5))
        outages = [
            Outage(chance.random() * 89, 3 + chance.random() * 90, "ip_unreachable")
            for _ in range(chance.randrange(4))
        ]
        lives.append(Life(name, (3, 60, 90, 150 + chance.random() * 500), outages))
    url = f"sqlite:///{folder / 'past.db'}"
    fill(url, lives, "sh-1", NOW)
    sources = FakeSources(tuple(mirrors), tuple(health), past_=read(folder / "past.db", lives))
    public = replace(sources.dashboard_, public_url="https://status.example.com")
    sources.dashboard_ = public
    return sources


def read(path: Path, lives: list[Life]) -> Past:
    """The past as the monitor publishes it."""
    engine = SqliteFile(path).reading()
    with Session(engine) as session:
        zone, days = read_days(session, NOW, ZONE)
        quantiles: dict[str, tuple[int, ...]] = {}
        for life in lives:
            known = FirstBytes()
            for at, milliseconds in first_bytes(session, life.mirror, "sh-1", NOW):
                known.add(at, milliseconds)
            quantiles[life.mirror] = known.quantiles(NOW, QUANTILES) or (0, 0)
        past = Past(
            read_windows(session, NOW),
            days,
            zone,
            (INCIDENTS[0], *incidents(session, "sh-1", 500)),
            Curves().read(session, NOW),
            quantiles,
        )
    engine.dispose()
    return past
