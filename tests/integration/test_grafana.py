"""Dashboards and rules: generated, well-formed, true to the metrics, and answered by Prometheus."""

import asyncio
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboard.admin.app import build_admin_app
from grafana.build import BOARDS, render, tidied
from grafana.queries import DASHBOARDS, filled, load, panels
from router.control.instance_metrics import FAMILIES
from tests.cases.alert_scenarios import SCENARIOS
from tests.testkit.dashboard import (
    FakeCommands,
    FakeSources,
    sample_names,
    sample_series,
    serving_at,
)
from tests.testkit.processes import REPOSITORY
from tests.testkit.programs import require
from tests.testkit.prometheus import RULES, Prometheus
from tests.testkit.wait import wait_until_async

GRAFANA = REPOSITORY / "grafana"
NAMES = [file.stem for file in DASHBOARDS]
QUERIES = [
    (f"{name}: {panel['title']} {target['refId']}", target["expr"])
    for name in NAMES
    for panel in panels(load(name))
    for target in panel["targets"]
]
FILES = sorted(RULES.glob("*.yaml"))
GROUPS = [group for file in FILES for group in yaml.safe_load(file.read_text())["groups"]]
ALL_RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
EVALUATED = [g["name"] for g in sorted(GROUPS, key=lambda group: "record" not in group["rules"][0])]
"""Names of the groups: what is recorded comes first."""
KNOWN = {sample: family for family in FAMILIES for sample in sample_names(family)}
OF_PROMETHEUS = {"up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"}
OF_TARGETS = {"instance", "job", "le", "alertname", "alertstate"}
METRIC = r"\b(?<!:)((?:mirrorgate|process|scrape)_[a-z0-9_]+|up|ALERTS)\b(?!:)"


def test_the_files_are_what_build_py_writes():
    assert sorted(NAMES) == sorted(BOARDS)
    for name in NAMES:
        written = (GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8")
        assert written == render(name), f"{name}: run python -m grafana.build"


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_own_types_know_every_field(name):
    """The SDK is generated from Grafana's schema: what its types do not know is lost on the way."""
    board = load(name)
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert tidied(again) == board


def test_dashboards_have_ids_of_their_own_and_know_each_other():
    boards = [load(name) for name in NAMES]
    assert len({board["uid"] for board in boards}) == len({b["title"] for b in boards}) == 7
    for board in boards:
        assert len(board["uid"]) <= 40
        (link,) = board["links"]
        assert set(link["tags"]) <= set(board["tags"])
        assert link["includeVars"]
        assert link["keepTime"]
        names = [each["name"] for each in board["annotations"]["list"]]
        assert names == ["State changes", "Ejections", "Reloads"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_numbered_placed_and_explained(name):
    board = load(name)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert 0 <= grid["x"] <= grid["x"] + grid["w"] <= 24
        across, down = range(grid["x"], grid["x"] + grid["w"]), range(grid["h"])
        cells = {(x, grid["y"] + y) for x in across for y in down}
        assert not cells & taken
        taken |= cells
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(set(refs)) == len(refs)
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        if panel["type"] == "heatmap":
            assert panel["options"]["yAxis"]["unit"]
        else:
            assert panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"]
            assert all(target["legendFormat"] for target in panel["targets"])


def test_rescued_requests_are_in_the_first_row():
    first = [p for p in panels(load("overview")) if p["gridPos"]["y"] == 1]
    assert "Requests rescued by failover" in [panel["title"] for panel in first]


@pytest.mark.parametrize("name", NAMES)
def test_the_variables_are_those_that_queries_use(name):
    board = load(name)
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert {"datasource", "instance"} <= names <= {"datasource", "instance", "mirror"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels(board))))
    assert used - {"__rate_interval", "__range"} == names
    chosen = [expr for place, expr in QUERIES if place.startswith(f"{name}:")]
    assert all('instance=~"$instance"' in expr or "ALERTS" in expr for expr in chosen)


@pytest.mark.parametrize(
    ("name", "expr"), [*QUERIES, *((r.get("alert") or r["record"], r["expr"]) for r in ALL_RULES)]
)
def test_a_query_asks_only_for_metrics_and_labels_that_exist(name, expr):
    asked = set(re.findall(METRIC, expr))
    assert asked <= KNOWN.keys() | OF_PROMETHEUS
    recorded = {rule["record"] for rule in ALL_RULES if "record" in rule}
    assert set(re.findall(r"\b\w+:\w+:\w+\b", expr)) <= recorded
    for sample, selector in re.findall(r"(mirrorgate_\w+|process_\w+)\{([^}]*)\}", expr):
        labels = re.findall(r'(\w+)(?:=~|!~|!=|=)"', selector)
        assert set(labels) <= {*KNOWN[sample].labels, *OF_TARGETS}
        for label, value in re.findall(r'(\w+)="([^"]+)"', selector):
            if label == "reason" and "bans" in sample:
                assert value == "operator"


def test_every_family_is_shown():
    text = " ".join(expr for _, expr in QUERIES)
    shown = set(re.findall(METRIC, text))
    assert [f.name for f in FAMILIES if not shown & sample_names(f)] == []


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [require("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150)


def test_promtool_parses_every_query(tmp_path):
    rules = [
        {"record": f"panel:query_{number}:checked", "expr": filled(expr, 60, 3600)}
        for number, (_, expr) in enumerate(QUERIES)
    ]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    checked = promtool("check", "rules", str(file))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def test_promtool_accepts_rules_and_the_scrape_configuration():
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES))
    assert checked.returncode == 0, checked.stderr
    example = str(GRAFANA / "provisioning" / "prometheus.yml")
    checked = promtool("check", "config", "--syntax-only", example)
    assert checked.returncode == 0, checked.stderr


ROUTES = str(GRAFANA / "provisioning" / "alertmanager.yml")


@pytest.mark.parametrize("alert", ALERTS)
def test_alertmanager_sends_an_alert_where_its_severity_says(alert):
    severity = ALERTS[alert]["labels"]["severity"]
    labels = (f"alertname={alert}", f"severity={severity}", "instance=a:8082")
    command = [require("amtool"), "config", "routes", "test", f"--config.file={ROUTES}", *labels]
    routed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    wanted = {"page": "pages", "ticket": "tickets", "none": "watchdog"}[severity]
    assert (routed.returncode, routed.stdout.strip()) == (0, wanted), routed.stderr


def test_alertmanager_accepts_its_example_and_inhibits_only_alerts_that_there_are():
    command = [require("amtool"), "check-config", ROUTES]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for rule in yaml.safe_load(Path(ROUTES).read_text())["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            for pattern in re.findall(r'alertname=~?"([^"]+)"', matcher):
                assert any(re.fullmatch(pattern, alert) for alert in ALERTS), pattern


def test_every_alert_fires_in_its_scenario_and_not_in_a_near_miss(tmp_path):
    assert SCENARIOS.keys() == ALERTS.keys()
    tests: dict[str, list[Any]] = {}
    for alert, scenario in SCENARIOS.items():
        assert scenario.misses or alert == "MirrorgateWatchdog"
        fires = (scenario.fires, *scenario.also)
        for number, series in enumerate((*fires, *scenario.misses)):
            firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
            found = [{"labels": "{}", "value": 1}] if number < len(fires) else []
            asked = {"expr": firing, "eval_time": scenario.at, "exp_samples": found}
            course = {
                "name": f"{alert}, {'fires' if found else 'misses'}, {number}",
                "interval": scenario.every,
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": [asked],
            }
            tests.setdefault(scenario.every, []).append(course)
    files = []
    for every, courses in tests.items():
        files.append(tmp_path / f"every-{every}.json")
        given = {
            "rule_files": list(map(str, FILES)),
            "evaluation_interval": every,
            "group_eval_order": EVALUATED,
            "tests": courses,
        }
        files[-1].write_text(json.dumps(given))
    tested = promtool("test", "rules", *map(str, files))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_texts_of_alerts_name_the_instance_and_leave_no_gap(tmp_path):
    """promtool prints texts only of alerts that it did not expect."""
    tests = [
        {
            "interval": scenario.every,
            "input_series": [{"series": k, "values": v} for k, v in series.items()],
            "alert_rule_test": [{"alertname": alert, "eval_time": scenario.at, "exp_alerts": []}],
        }
        for alert, scenario in SCENARIOS.items()
        for series in (scenario.fires, *scenario.also)
        if scenario.every == "1m"
    ]
    file = tmp_path / "texts.json"
    given = {"rule_files": list(map(str, FILES)), "evaluation_interval": "1m", "tests": tests}
    file.write_text(json.dumps({**given, "group_eval_order": EVALUATED}))
    printed = promtool("test", "rules", str(file))
    texts = re.findall(r"Labels:\{(.+)\}\s+Annotations:\{(.+)\}", printed.stdout + printed.stderr)
    assert len(texts) >= len(tests)
    for labels, text in texts:
        assert not re.search(r"no value|%!|<|  |\d\.\d{4}", text), text
        assert ("a:8082" in text) == ('instance="a:8082"' in labels), text


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do_in_both_languages(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket", "none")
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == alert.lower()
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    section = re.search(rf"^### {alert}\n(.+?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert len(re.findall(r"[\u4e00-\u9fff]", section[1])) > 20
    assert len(re.findall(r"\b[a-z]{2,}\b", section[1])) > 10


def test_the_runbook_has_no_section_of_an_alert_that_there_is_not():
    text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (Mirrorgate\w+)$", text, re.MULTILINE)) == ALERTS.keys()


def test_the_runbook_quotes_alerts_as_they_are_worded():
    """Compared is what stands before and behind the templates; of two branches the first counts."""
    text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    row = re.compile(r"^\|[^|]+\| \[(Mirrorgate\w+)\]\(#[^|]+\| ([^|]+) \|", re.MULTILINE)
    quoted = row.findall(text)
    assert len(quoted) >= 5
    for alert, summary in quoted:
        template = ALERTS[alert]["annotations"]["summary"]
        before, *_, after = re.split(r"\{\{.+?\}\}", re.sub(r"\{\{-? *else.+", "", template))
        assert summary.startswith(before), alert
        assert summary.endswith(after), alert


def test_provisioning_names_files_that_there_are():
    folder = GRAFANA / "provisioning"
    for file in folder.rglob("*.y*ml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8")), file
    source = yaml.safe_load((folder / "datasources" / "mirrorgate.yml").read_text())
    assert source["datasources"][0]["type"] == "prometheus"


class GrowingSources(FakeSources):
    """Counts on with every scrape."""

    scrapes = 0

    def series(self):
        self.scrapes += 1
        return lambda: sample_series(self.scrapes, time.time())


async def test_a_real_prometheus_answers_every_panel_and_every_rule_is_healthy(tmp_path):
    require("prometheus")
    sources = GrowingSources()
    app = build_admin_app(sources, FakeCommands(), trusted=False)
    async with serving_at(app) as url:
        target = url.removeprefix("http://")
        async with Prometheus(tmp_path, [target], every="500ms") as prometheus:
            await wait_until_async(lambda: sources.scrapes >= 4, 30, "four scrapes")

            async def evaluated() -> bool:
                return bool(await prometheus.query("ALERTS"))

            await wait_until_async(evaluated, 30, "the rules")
            assert await empty_panels(prometheus) == []
            rules = await prometheus.rules()
            assert len(rules) == len(ALL_RULES)
            assert [rule for rule in rules if rule["health"] != "ok"] == []


async def empty_panels(prometheus: Prometheus) -> list[str]:
    """Panels of which no query has an answer."""
    found = []
    for name in NAMES:
        for panel in panels(load(name)):
            queries = [filled(target["expr"], 15, 60) for target in panel["targets"]]
            answers = await asyncio.gather(*map(prometheus.query, queries))
            if not any(answers):
                found.append(f"{name}: {panel['title']}: {queries}")
    return found
