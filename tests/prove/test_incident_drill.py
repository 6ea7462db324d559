"""Incidents as an operator meets them: the alert, its text, and the panel that shows the cause."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grafana.queries import filled, load, panels
from tests.prove.conftest import Measure
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import RST, Residual, Rule, exactly
from tests.testkit.certs import Authority
from tests.testkit.instance import Instance
from tests.testkit.machine import SmallDisk
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.processes import REPOSITORY
from tests.testkit.prometheus import RULES, Prometheus
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

RUNBOOK = " ".join((REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8").split())
PATIENCE = 120.0


@dataclass
class Drill:
    """Mirrors, an instance, its disk and its Prometheus, to be broken."""

    instance: Instance
    prometheus: Prometheus
    mirrors: dict[str, PretendMirror]
    disk: SmallDisk

    async def alert(self, name: str, mirror: str = "") -> str:
        """Wait for this alert; return its text."""

        async def fires() -> str:
            for each in (await self.prometheus.ask("alerts"))["alerts"]:
                labels = each["labels"]
                known = (each["state"], labels["alertname"], labels.get("mirror", ""))
                if known == ("firing", name, mirror):
                    return str(each["annotations"]["summary"])
            return ""

        return await wait_until_async(fires, PATIENCE, name)

    async def panel(self, board: str, title: str) -> str:
        """Labels and values of a panel, as they are now."""
        (panel,) = (p for p in panels(load(board)) if p["title"] == title)
        answers = [
            await self.prometheus.query(filled(target["expr"], 15, 300))
            for target in panel["targets"]
        ]
        return "\n".join(f"{s['metric']} {s['value'][1]}" for series in answers for s in series)

    async def shows(self, board: str, title: str, pattern: str) -> None:
        """Wait until a panel says so, and see that the runbook sends people to it."""

        async def found() -> bool:
            return re.search(pattern, await self.panel(board, title), re.MULTILINE) is not None

        await wait_until_async(found, PATIENCE, f"{title} to show {pattern}")
        assert f'"{title}"' in RUNBOOK


def soon(directory: Path) -> list[Path]:
    """The rules, with alerts that fire after seconds and not after minutes."""
    hurried = []
    for file in sorted(RULES.glob("*.yaml")):
        copy = directory / file.name
        copy.write_text(re.sub(r"^( +for: ).+$", r"\g<1>2s", file.read_text(), flags=re.MULTILINE))
        hurried.append(copy)
    return hurried


@contextlib.asynccontextmanager
async def drill(directory: Path) -> AsyncIterator[Drill]:
    """Four mirrors, one of which has a certificate that ends tomorrow and one a blocked name."""
    authority = Authority(directory)
    lasting = authority.issue("*.mirror.test").server_context()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    ending = authority.issue("ends.mirror.test", not_after=tomorrow).server_context()
    async with contextlib.AsyncExitStack() as stack:
        disk = stack.enter_context(SmallDisk(directory / "disk"))
        mirrors = {
            name: PretendMirror(name, keys=[TEST_KEY], tls=ending if name == "ends" else lasting)
            for name in ("hk", "jp", "ends")
        }
        for mirror in mirrors.values():
            await stack.enter_async_context(mirror)
        rule = Rule(exactly("blocked.mirror.test"), RST, residual=Residual(10.0))
        censor = await stack.enter_async_context(Censor([rule]))
        blocked = await censor.listen(["127.0.0.1"], ("127.0.0.1", mirrors["hk"].port))
        ports = {name: mirror.port for name, mirror in mirrors.items()} | {"blocked": blocked}
        config = {
            "router": {"workers": 1},
            "store": {"url": f"sqlite:///{disk.path / 'mirrorgate.db'}"},
            "monitor": {"interval": "1s", "residual": "12s", "sni": {"control": ["example.org"]}},
            "mirrors": [
                {
                    "id": name,
                    "url": f"https://{name}.mirror.test:{port}",
                    "addresses": ["127.0.0.1"],
                    "ca_file": str(authority.ca_file),
                    "api_key": TEST_KEY,
                }
                for name, port in ports.items()
            ],
        }
        instance = Instance(config, directory)
        await asyncio.to_thread(instance.__enter__)
        stack.push_async_callback(asyncio.to_thread, instance.__exit__)
        target = instance.admin_url.removeprefix("http://")
        watching = Prometheus(directory, [target], rules=soon(directory))
        prometheus = await stack.enter_async_context(watching)
        yield Drill(instance, prometheus, mirrors, disk)


def told_in_the_runbook(text: str, instance: Instance) -> bool:
    """True if the runbook quotes an alert's text; what is counted may differ."""
    quoted = text.replace(instance.admin_url.removeprefix("http://"), "HOST:8082")
    pattern = re.sub(r"[\d.]+[a-zA-Z]*( \d+[a-z])*", r"[\\w. ]+", re.escape(quoted))
    return re.search(pattern, RUNBOOK) is not None


async def test_an_operator_is_told_what_happens_and_finds_why(
    tmp_path: Path, measured: Measure
) -> None:
    async with drill(tmp_path) as there:
        told: dict[str, str] = {}
        told["certificate"] = await there.alert("MirrorgateCertificateEnds", "ends")
        await there.shows("monitor", "Certificates end in", r"'ends'} 8[0-9]{4}\.")
        told["blocked name"] = await there.alert("MirrorgateSniBlockConfirmed", "blocked")
        await there.shows("mirrors", "Verdicts", r"'blocked', 'verdict': 'sni_block_rst'} 1$")
        await there.mirrors["jp"].behave(listener="refuse")
        told["dead mirror"] = await there.alert("MirrorgateMirrorDown", "jp")
        await there.shows("mirrors", "Verdicts", r"'jp', 'verdict': 'connection_refused'} 1$")
        there.disk.fill()
        told["full disk"] = await there.alert("MirrorgateStoreFails")
        await there.alert("MirrorgateDiskFull")
        await there.shows("service", "Free disk", r"} 0$")
        there.disk.free()
        for name in ("hk", "ends"):
            await there.mirrors[name].behave(listener="refuse")
        told["all down"] = await there.alert("MirrorgateNoMirrorInRotation")
        await there.shows("mirrors", "In rotation", r"\A(.+ 0\n?)+\Z")
        for incident, text in told.items():
            measured(incident, text)
        unknown = [t for t in told.values() if not told_in_the_runbook(t, there.instance)]
        assert unknown == []
