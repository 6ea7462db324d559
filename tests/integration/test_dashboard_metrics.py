"""/metrics in both formats, as parsers and promtool read it; docs/metrics.md says the same."""

import asyncio
import gzip
import re
import subprocess
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from dashboard.admin.app import build_admin_app
from dashboard.admin.exposition import render
from monitor.common.metric_registry import Family, MetricRegistry, Series
from router.control.instance_metrics import FAMILIES
from tests.testkit.dashboard import (
    NOW,
    FakeCommands,
    FakeSources,
    exposed_name,
    sample_series,
    serving,
)
from tests.testkit.programs import require

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

SECONDS = Family("mirrorgate_x_seconds", "histogram", "X.", ("mirror",), (0.1, 1.0))
COUNT = Family("mirrorgate_y", "counter", "Y.", ("mirror",))


@pytest.fixture
async def client():
    sources = FakeSources(series_=list(sample_series(3, NOW)))
    async with serving(build_admin_app(sources, FakeCommands(), trusted=False)) as session:
        yield session


async def scrape(client: ClientSession, accept: str, **headers: str) -> tuple[str, str]:
    async with client.get("/metrics", headers={"Accept": accept, **headers}) as response:
        assert response.status == 200
        return response.content_type, await response.text()


def rows(families: tuple[Family, ...], totals: MetricRegistry):
    known = {family.name: family for family in families}
    return [
        Series(known[name], tuple(labels), value if isinstance(value, list) else [value])
        for name, labels, value in totals.to_json()
    ]


def test_a_histogram_is_exposed_cumulatively_with_its_count_and_sum():
    totals = MetricRegistry((SECONDS, COUNT))
    for value in (0.05, 0.1, 0.7, 30.0):
        totals.observe("mirrorgate_x_seconds", value, ("香港",))
    totals.add("mirrorgate_y", ('quo"te\n',), 2)
    body, _ = render(rows((SECONDS, COUNT), totals), "")
    lines = body.decode().splitlines()
    assert 'mirrorgate_x_seconds_bucket{le="0.1",mirror="香港"} 2.0' in lines
    assert 'mirrorgate_x_seconds_bucket{le="1.0",mirror="香港"} 3.0' in lines
    assert 'mirrorgate_x_seconds_bucket{le="+Inf",mirror="香港"} 4.0' in lines
    assert 'mirrorgate_x_seconds_count{mirror="香港"} 4.0' in lines
    assert 'mirrorgate_x_seconds_sum{mirror="香港"} 30.85' in lines
    assert 'mirrorgate_y_total{mirror="quo\\"te\\n"} 2.0' in lines


async def test_prometheus_text_has_every_family(client):
    kind, text = await scrape(client, "text/plain")
    assert kind == "text/plain"
    found = {f"{m.name}_total" if m.type == "counter" else m.name for m in read_text(text)}
    assert found == {exposed_name(family) for family in FAMILIES}


async def test_openmetrics_is_given_on_request_and_parses_strictly(client):
    kind, text = await scrape(client, OPENMETRICS)
    assert kind == "application/openmetrics-text"
    families = list(read_openmetrics(text))  # type: ignore[no-untyped-call]
    assert {m.name for m in families} == {family.name for family in FAMILIES}
    assert "_created" not in text


@pytest.mark.parametrize("accept", ["*/*", "", "text/plain; version=x", "application/json,;=;"])
async def test_an_odd_accept_gets_plain_text(client, accept):
    kind, text = await scrape(client, accept)
    assert kind == "text/plain"
    assert "mirrorgate_build_info{" in text


async def test_it_is_compressed_on_request(client):
    headers = {"Accept-Encoding": "gzip"}
    client._auto_decompress = False
    async with client.get("/metrics", headers=headers) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert b"mirrorgate_build_info" in gzip.decompress(await response.read())


@pytest.mark.parametrize("asked", ["gzip;q=0", "identity, GZIP ; q=0.000", "nogzip", "br"])
async def test_it_is_not_compressed_for_who_cannot_read_that(client, asked):
    async with client.get("/metrics", headers={"Accept-Encoding": asked}) as response:
        assert "Content-Encoding" not in response.headers


async def test_a_family_that_is_told_by_others_is_told_once(client):
    _, text = await scrape(client, "text/plain")
    assert len(re.findall(r"^mirrorgate_bans_active ", text, re.MULTILINE)) == 1


async def test_bans_in_force_and_the_version_need_no_counting():
    async with serving(build_admin_app(FakeSources(), FakeCommands(), trusted=False)) as client:
        _, text = await scrape(client, "text/plain")
    assert "mirrorgate_bans_active 30.0" in text
    assert 'version="0.1.0"' in text


async def test_scrapes_do_not_stop_the_loop():
    """While 20,000 series are written, the loop turns on."""
    many = [Series(COUNT, (f"m{i}",), [float(i)]) for i in range(20000)]
    app = build_admin_app(FakeSources(series_=many), FakeCommands(), trusted=False)
    async with serving(app) as client:
        scraping = asyncio.create_task(scrape(client, "text/plain"))
        turns = 0
        while not scraping.done():
            turns += 1
            await asyncio.sleep(0)
        _, text = await scraping
    assert text.count("mirrorgate_y_total{") == 20000
    assert turns > 100


async def test_promtool_has_nothing_to_say(client, tmp_path):
    promtool = require("promtool")
    _, text = await scrape(client, "text/plain")
    scraped = tmp_path / "metrics"
    scraped.write_text(text)
    checked = await asyncio.to_thread(check_metrics, promtool, scraped)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def check_metrics(promtool: str, scraped: Path) -> subprocess.CompletedProcess[str]:
    with scraped.open() as given:
        return subprocess.run(
            [promtool, "check", "metrics"], stdin=given, capture_output=True, text=True, timeout=30
        )


def test_the_documentation_lists_what_is_declared():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `((?:mirrorgate|process)_\w+)` \| (\w+) \| (.+?) \|", page, re.MULTILINE
    )
    told = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert sorted(told) == sorted((exposed_name(f), f.type, f.labels) for f in FAMILIES)


def test_family_names_follow_the_conventions():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.name.startswith(("mirrorgate_", "process_"))
        assert not family.name.endswith("_total")
        assert list(family.buckets) == sorted(set(family.buckets))
        assert bool(family.buckets) == (family.type == "histogram")
