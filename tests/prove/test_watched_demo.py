"""The dashboards of a running instance under load: no panel without data, no rule that fails."""

import asyncio
import subprocess
from pathlib import Path

import aiohttp
import pytest

from grafana.queries import DASHBOARDS, filled, load, panels
from tests.scenarios.watched_demo import Traffic, Watched, watched_demo
from tests.testkit.programs import require
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

SECONDS = 150
"""Uptime is read from the store once a minute, and a block test takes about one."""


async def test_every_panel_has_data_and_every_rule_is_healthy(tmp_path: Path) -> None:
    promtool = require("promtool")
    async with watched_demo(tmp_path) as watched, Traffic(watched, rate=15).running():
        await asyncio.to_thread(watched.instance.reload)
        empty: list[str] = []

        async def filled_up() -> bool:
            empty[:] = await _empty(watched)
            return not empty

        try:
            await wait_until_async(filled_up, SECONDS, "every panel to have data")
        finally:
            print("\n".join(empty))
        rules = await watched.prometheus.rules()
        assert [rule for rule in rules if rule["health"] != "ok"] == []

        async def fires() -> bool:
            alerts = await watched.prometheus.alerts()
            return {"MirrorgateWatchdog", "MirrorgateSniBlockConfirmed"} <= alerts.keys()

        await wait_until_async(fires, SECONDS + 150, "the alert on the blocked mirror")
        text = await _scraped(watched.instance.admin_url, "text/plain")
        checked = await asyncio.to_thread(_checked, promtool, text)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        assert '# {request_id="mg_' in await _scraped(watched.instance.admin_url, OPENMETRICS)
        exemplars = await watched.prometheus.ask(
            "query_exemplars",
            query="mirrorgate_request_duration_seconds_bucket",
            start="0",
            end="9999999999",
        )
        assert exemplars


OPENMETRICS = "application/openmetrics-text"


async def _empty(watched: Watched) -> list[str]:
    found = []
    for file in DASHBOARDS:
        for panel in panels(load(file.stem)):
            queries = [filled(target["expr"], 15, 60) for target in panel["targets"]]
            answers = await asyncio.gather(*map(watched.prometheus.query, queries))
            if not any(answers):
                found.append(f"{file.stem}: {panel['title']}: {queries}")
    return found


async def _scraped(url: str, accept: str) -> str:
    headers = {"Accept": accept}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/metrics", headers=headers) as answer:
            return await answer.text()


def _checked(promtool: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [promtool, "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
