"""The ten outputs of `mirrorgate probe` in docs/diagnosis.md, made by the real command against
servers, a censor and resolvers of the tests: `python -m tests.scenarios.probe_outputs` renews them.

What differs from run to run (ports, times, addresses of the loopback network) is replaced by what
stands for it in documentation.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dashboard.admin.documents import node_documents
from dashboard.common.config import DashboardConfig
from monitor.diagnosis.throughput import Sample, judge_throughput
from monitor.engine import naming
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, PathHealth, State
from monitor.probes.resolvers import Resolvers
from router.cli import main, probe_table
from router.cli.client import Client
from router.control import document
from tests.testkit.censor.dns import DnsServer, DohServer, Script, reply
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import DROP, RST, Rule, exactly
from tests.testkit.certs import Authority, Leaf
from tests.testkit.ports import free_port
from tests.testkit.processes import python_environment

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "diagnosis.md"
NAME, CONTROL = "hk.example.com", "example.org"
ADDRESS, FORGED = "127.0.0.1", "127.0.0.9"
BEGIN, END = "<!-- outputs -->\n", "<!-- /outputs -->\n"
WORKS = (401, {"content-type": "application/json"}, {"error": {"message": "no key"}})
Answer = tuple[int, dict[str, str], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One trouble: what it is, and the command with which it is met."""

    name: str
    output: Callable[[Place], Awaitable[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, and an authority that the configuration trusts."""

    folder: Path
    authority: Authority

    def configure(self, port: int, *more: str, pinned: bool = True) -> Path:
        """A configuration with one mirror on this port, and another to go to."""
        file = self.folder / "config.toml"
        url = json.dumps(f"https://{NAME}:{port}")
        addresses = f'addresses = ["{ADDRESS}"]\n' if pinned else "allow_private = true\n"
        file.write_text(
            f'[[mirrors]]\nid = "hk"\nurl = {url}\n{addresses}'
            f"ca_file = {json.dumps(str(self.authority.ca_file))}\n"
            '[[mirrors]]\nid = "us"\nurl = "https://us.example.com"\n'
            '[monitor.timeouts]\nhandshake = "1s"\nresolve = "2s"\n' + "\n".join(more)
        )
        return file

    def leaf(self, *, days: int = 90, names: tuple[str, ...] = (NAME, CONTROL)) -> Leaf:
        """A certificate for so many days."""
        ends = datetime.now(UTC) + timedelta(days=days)
        return self.authority.issue(*names, local=False, not_after=ends)


@asynccontextmanager
async def server(
    leaf: Leaf, answer: Answer = WORKS, *, address: str = ADDRESS, port: int = 0
) -> AsyncIterator[int]:
    """A mirror that gives everybody this answer; its port."""
    status, headers, body = answer
    content = json.dumps(body).encode() if body is not None else b"<html>"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} x\r\n{head}content-length: {len(content)}\r\n\r\n"
    whole = head.encode() + content

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(whole)
            await writer.drain()
        writer.close()

    serving = await asyncio.start_server(
        serve, address, port or free_port(), ssl=leaf.server_context()
    )
    async with serving:
        yield serving.sockets[0].getsockname()[1]


async def printed(file: Path) -> dict[str, str]:
    """The output of the command in both languages; the first run's memory is not the second's."""
    found = {}
    for language in ("en", "zh"):
        argv = ["probe", "hk", "--config", str(file), "--lang", language]
        found[language] = await asyncio.to_thread(_printed, argv)
        (file.parent / "probe-triggers.json").unlink(missing_ok=True)
    return found


def _printed(argv: list[str]) -> str:
    out = io.StringIO()
    with patch.object(probe_table, "time_of", _time), contextlib.redirect_stdout(out):
        main.main(argv)
    return normal(out.getvalue())


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return "1.0 s" if seconds >= 0.9 else "40 ms"


def normal(text: str) -> str:
    """The text with what differs from run to run replaced; columns keep their widths."""
    for found, shown in (
        (rf"({re.escape(NAME)}):\d+", r"\1"),
        (rf"(?<!/)({re.escape(ADDRESS)}):\d+(?!  )(?!\d)", r"\1:443"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-11-29T09:00:00Z"),
        (r"\d{4}-\d\d-\d\d(?!T)", "2026-11-26"),
        (r"after \d+ ms", "after 40 ms"),
        (r"在 \d+ 毫秒后", "在 40 毫秒后"),
        (r"(but lo are down: )[^<]*?(?=\.\n|  <-)", r"\1eth0, wlan0"),
        (r"(lo 外的网络接口均未连接：)[^←]*?(?=。\n|  ←)", r"\1eth0、wlan0"),
        (r"trustme v[\d.]+", "Example CA"),
    ):
        text = re.sub(found, shown, text)
    for found, shown in (
        (r"udp://127\.0\.0\.1:\d+", "udp://192.0.2.53"),
        (r"https://127\.0\.0\.1:\d+/dns-query", "https://192.0.2.54/dns-query"),
        (r"127\.0\.0\.1:\d+", f"{ADDRESS}:443"),
        (r"127\.0\.0\.9:\d+", f"{FORGED}:443"),
    ):
        wide = max(map(len, re.findall(found, text)), default=0)
        text = re.sub(rf"{found}(?=  )", shown.ljust(wide), text)
        text = re.sub(found, shown, text)
    return text.replace(ADDRESS, "192.0.2.1").replace(FORGED, "192.0.2.9").rstrip() + "\n"


async def works(place: Place) -> dict[str, str]:
    """Nothing is wrong."""
    async with server(place.leaf()) as port:
        return await printed(place.configure(port))


async def blocked(place: Place, rule: Rule) -> dict[str, str]:
    """The name is cut off on the way."""
    async with server(place.leaf()) as upstream, Censor((rule,)) as censor:
        port = await censor.listen((ADDRESS,), (ADDRESS, upstream))
        return await printed(place.configure(port))


async def poisoned(place: Place) -> dict[str, str]:
    """The local resolver tells an address that shows a wrong certificate."""
    right, wrong = place.leaf(), place.leaf(names=("other.example",))
    async with (
        server(right) as port,
        server(wrong, address=FORGED, port=port),
        DnsServer(Script({NAME: (reply(FORGED),)})) as local,
        DohServer(place.authority.issue(), Script({NAME: (reply(ADDRESS),)})) as trusted,
    ):
        resolvers = json.dumps([f"udp://{local.address}", trusted.url])
        file = place.configure(port, "[monitor.dns]", f"resolvers = {resolvers}", pinned=False)
        trusting = partial(Resolvers, trust=place.authority.client_context())
        with patch.object(naming, "Resolvers", trusting):
            return await printed(file)


async def expired(place: Place) -> dict[str, str]:
    """The certificate ended three days ago."""
    async with server(place.leaf(days=-3)) as port:
        return await printed(place.configure(port))


async def refused(place: Place) -> dict[str, str]:
    """Nobody listens."""
    return await printed(place.configure(free_port()))


async def answers(place: Place, answer: Answer) -> dict[str, str]:
    """The mirror, or its CDN, answers otherwise."""
    async with server(place.leaf(), answer) as port:
        return await printed(place.configure(port))


async def throttled(place: Place) -> dict[str, str]:
    """A probe is answered; a running instance has seen slow transfers."""
    async with server(place.leaf()) as port:
        file = place.configure(port)
        config = document.load(file, {}).config
        finding = judge_throughput([Sample(70_000, 2000.0)] * 5, 100_000.0, True)
        path = PathHealth(NAME, ADDRESS, verdict="throttled", level=str(finding.level))
        health = MirrorHealth(
            "hk", State.degraded, 1.0, "throttled", last_probe=1.0,
            paths=(replace(path, usable=True),), evidence=finding.evidence,
        )  # fmt: skip
        snapshot = HealthSnapshot(mirrors={"hk": health})
        nodes = node_documents(config.mirrors, snapshot, {}, DashboardConfig(), 1.0, 60.0)
        with patch.object(Client, "call", lambda self, method, target: {"nodes": nodes}):
            return await printed(file)


_OFFLINE = """
import sys
from router.cli import main, probe_table
probe_table.time_of = lambda seconds: "-" if seconds is None else "40 ms"
for language in ("en", "zh"):
    main.main(["probe", sys.argv[1], "--lang", language])
    print("====", flush=True)
"""


async def offline(place: Place) -> dict[str, str]:
    """This machine has no network: a network namespace of its own."""
    command = ["unshare", "-Urn", sys.executable, "-c", _OFFLINE, f"https://{NAME}"]
    ran = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=120, check=False,
        cwd=place.folder, env={**python_environment(), "XDG_STATE_HOME": str(place.folder)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    en, zh, _ = ran.stdout.split("====\n")
    return {"en": normal(en), "zh": normal(zh)}


_LATER = replace(RST, delay=0.04)
_REGION = {
    "error": {
        "message": "Country, region, or territory not supported",
        "code": "unsupported_country_region_territory",
    }
}
_CDN = {"server": "cloudflare", "cf-ray": "8f00-HKG", "content-type": "text/html"}
_JSON = {"content-type": "application/json"}
CASES = (
    Case("It works", works),
    Case("The name is blocked: reset",
         partial(blocked, rule=Rule(exactly(NAME), _LATER))),
    Case("The name is blocked: silence", partial(blocked, rule=Rule(exactly(NAME), DROP))),
    Case("DNS is poisoned", poisoned),
    Case("The certificate has expired", expired),
    Case("The connection is refused", refused),
    Case("The CDN cannot reach its origin", partial(answers, answer=(522, _CDN, None))),
    Case("The mirror is throttled", throttled),
    Case("The API refuses the mirror's region", partial(answers, answer=(403, _JSON, _REGION))),
    Case("This machine is offline", offline),
)  # fmt: skip


async def output(case: Case, folder: Path) -> str:
    """The case as it stands in the document."""
    (inside := folder / "place").mkdir()
    with _alone(inside):
        found = await case.output(Place(inside, Authority(folder)))
    blocks = "\n".join(f"```text\n{found[language]}```" for language in ("en", "zh"))
    return f"### {case.name}\n\n{blocks}\n"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Without the configuration, the state and the running instance of whoever runs this."""
    with patch.dict(os.environ, {"XDG_STATE_HOME": str(folder)}):
        os.environ.pop("MIRRORGATE_CONFIG", None)
        yield


async def renewed(text: str) -> str:
    """The document with the outputs as they are now."""
    found = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found.append(await output(case, Path(folder)))
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n" + "\n".join(found) + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(asyncio.run(renewed(DOCUMENT.read_text("utf-8"))), "utf-8")
