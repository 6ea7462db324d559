"""A real Prometheus with our rules, that scrapes one or several instances, and what it answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import REPOSITORY, Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until_async

RULES = REPOSITORY / "grafana" / "rules"


class Prometheus:
    """One server; an asynchronous context manager."""

    def __init__(
        self,
        directory: Path,
        targets: Sequence[str],
        *,
        every: str = "1s",
        rules: Sequence[Path] = tuple(sorted(RULES.glob("*.yaml"))),
    ) -> None:
        """`targets` as "host:port"; `every`: between two scrapes, and two looks at the rules."""
        self.program = require("prometheus")
        self.url = f"http://{HOST}:{free_port()}"
        self._directory = directory
        jobs = [{"job_name": "mirrorgate", "static_configs": [{"targets": list(targets)}]}]
        timing = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
        self._config = {
            "global": timing,
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": jobs,
        }
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        config = self._directory / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps(self._config))
        command = [
            self.program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--enable-feature=exemplar-storage",
        ]
        self._process = Process(command, self._directory / "prometheus.log")
        self._session = aiohttp.ClientSession(self.url)
        await wait_until_async(self._ready, 30, "Prometheus")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
        if self._process is not None:
            self._process.stop(20)

    async def _ready(self) -> bool:
        assert self._session is not None
        try:
            async with self._session.get("/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def ask(self, path: str, **parameters: str) -> Any:
        """`data` of an answer of the API; what it refuses fails the test."""
        assert self._session is not None
        async with self._session.get(f"/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression, as they are now."""
        found: list[dict[str, Any]] = (await self.ask("query", query=expr))["result"]
        return found

    async def value(self, expr: str) -> float | None:
        """The one value of an expression; None if it has none."""
        series = await self.query(expr)
        return float(series[0]["value"][1]) if series else None

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health."""
        groups = (await self.ask("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def alerts(self, state: str = "firing") -> dict[str, dict[str, Any]]:
        """The alerts in this state, by name."""
        found = (await self.ask("alerts"))["alerts"]
        return {each["labels"]["alertname"]: each for each in found if each["state"] == state}
