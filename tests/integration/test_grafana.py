"""The dashboard: generated, well-formed, and every query answered by a real Prometheus."""

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from dashboard.admin.app import build_admin_app
from router.control.control import FAMILIES
from tests.testkit.dashboard import (
    FakeCommands,
    FakeSources,
    sample_names,
    sample_series,
    serving_at,
)
from tests.testkit.ports import HOST, free_port
from tests.testkit.programs import require
from tests.testkit.wait import wait_until_async

GRAFANA = Path(__file__).parents[2] / "grafana"
FILE = GRAFANA / "dashboards" / "mirrorgate.json"


def load_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grafana_build", GRAFANA / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(GRAFANA))  # where Python looks when it runs the script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(GRAFANA))
    return module


BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    (f"{panel['title']} {target['refId']}", target["expr"])
    for panel in PANELS
    for target in panel["targets"]
]


def filled(expr: str) -> str:
    """A query as Grafana sends it, with all mirrors chosen."""
    return expr.replace("$__rate_interval", "1m").replace("$mirror", ".*")


def test_the_file_is_what_build_py_writes():
    assert FILE.read_text(encoding="utf-8") == load_build().render()


def test_panels_are_numbered_placed_and_explained():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        grid = panel["gridPos"]
        assert 0 <= grid["x"] <= grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        taken |= cells
    for panel in PANELS:
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(set(refs)) == len(refs)
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_the_variables_are_the_data_source_and_the_mirror():
    names = [variable["name"] for variable in BOARD["templating"]["list"]]
    assert names == ["datasource", "mirror"]
    used = set(re.findall(r"\$\{?(\w+)", FILE.read_text(encoding="utf-8")))
    assert used - {"__rate_interval", "__all"} == set(names)


@pytest.mark.parametrize(("name", "expr"), QUERIES)
def test_a_query_asks_only_for_metrics_and_labels_that_exist(name, expr):
    known = {sample: family for family in FAMILIES for sample in sample_names(family)}
    asked = set(re.findall(r"mirrorgate_\w+", expr))
    assert asked
    assert asked <= known.keys()
    for sample, selector in re.findall(r"(mirrorgate_\w+)\{([^}]*)\}", expr):
        labels = re.findall(r'(\w+)(?:=~|!~|!=|=)"', selector)
        assert set(labels) <= {*known[sample].labels, "le"}


def test_every_family_is_shown():
    text = " ".join(expr for _, expr in QUERIES)
    shown = set(re.findall(r"mirrorgate_\w+", text))
    assert [f.name for f in FAMILIES if not shown & sample_names(f)] == []


def test_promtool_parses_every_query(tmp_path):
    promtool = require("promtool")
    rules = [
        {"record": f"panel:query_{number}:checked", "expr": filled(expr)}
        for number, (_, expr) in enumerate(QUERIES)
    ]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def test_promtool_accepts_the_scrape_configuration():
    promtool = require("promtool")
    example = str(GRAFANA / "provisioning" / "prometheus.yml")
    command = [promtool, "check", "config", "--syntax-only", example]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr


class GrowingSources(FakeSources):
    """Counts on with every scrape."""

    scrapes = 0

    def series(self):
        self.scrapes += 1
        return sample_series(self.scrapes, time.time())


async def query(session: aiohttp.ClientSession, expr: str) -> dict[str, Any]:
    async with session.get("/api/v1/query", params={"query": filled(expr)}) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_a_real_prometheus_answers_every_panel(tmp_path):
    prometheus = require("prometheus")
    sources = GrowingSources()
    app = build_admin_app(sources, FakeCommands(), trusted=False)
    async with serving_at(app) as url:
        target = url.removeprefix("http://")
        (tmp_path / "prometheus.json").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
                    "scrape_configs": [
                        {"job_name": "mirrorgate", "static_configs": [{"targets": [target]}]}
                    ],
                }
            )
        )
        port = free_port()
        with (tmp_path / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                prometheus,
                f"--config.file={tmp_path / 'prometheus.json'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={HOST}:{port}",
                stdout=log,
                stderr=log,
            )
        try:
            async with aiohttp.ClientSession(f"http://{HOST}:{port}") as session:
                await wait_until_async(lambda: ready(session), 30, "Prometheus")
                await wait_until_async(lambda: sources.scrapes >= 4, 30, "four scrapes")
                for name, expr in QUERIES:
                    answer = await query(session, expr)
                    assert answer["status"] == "success", (name, answer)
                    assert answer["data"]["result"], f"{name} is empty: {filled(expr)}"
                states = await query(session, timeline_query())
                seen = {r["metric"]["mirror"]: r["value"][1] for r in states["data"]["result"]}
                assert seen == {"hk": "0", "jp": "0", "sg": "0"}
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


def timeline_query() -> str:
    return next(str(expr) for name, expr in QUERIES if name.startswith("Mirror states"))
