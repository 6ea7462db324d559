"""One trial at a site: a running mirrorgate, trouble that is made for it, and what it says of it.

`unshare -Urn python -m tests.scenarios.foreign_trial ROW DIRECTORY` writes `found.json`. The
instance is a whole one, asked as an operator would ask it, over its socket.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monitor.diagnosis.verdicts import BLOCKS
from router.cli.client import Client
from router.cli.console import CommandFailed
from tests.scenarios.foreign_rows import MAIN, ROWS, Row, Stage
from tests.testkit.censor.site import BULK, Site
from tests.testkit.certs import Authority
from tests.testkit.instance import Instance
from tests.testkit.wait import wait_until

POLL = 0.25
CERTAIN = "confirmed"


@dataclass(slots=True)
class Trial:
    """Course of one trial; times in seconds after the trouble began."""

    verdict: str = ""
    """The last one on the path that the row is about, or on the mirror."""
    level: str = ""
    right_after: float | None = None
    """When the right cause was named first, however unsure."""
    sure_after: float | None = None
    """When it was confirmed, or said of the mirror as a whole where nothing is to be confirmed."""
    falsely_sure: list[str] = field(default_factory=list)
    """Blocks that were called more than suspected, right ones apart."""
    asked: int = 0
    failed: list[str] = field(default_factory=list)
    """Requests of a client meanwhile, and those that failed."""
    course: list[tuple[float, str, str, str, str]] = field(default_factory=list)
    """Each change: when, state and verdict of the mirror, verdict and level of the path."""


def trial_of(row: Row, directory: Path) -> Trial:
    """Set the stage, wait until all is well, make the trouble, and watch."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bulk.bin").write_bytes(bytes(BULK))
    authority = Authority(directory)
    with Site(directory, authority) as site:
        stage = Stage(site)
        row.servers(stage)
        config = row.configuration(stage)
        instance = Instance(config, directory / "instance", inside=row.inside)
        if row.from_start:
            row.trouble(stage)
        with instance:
            stage.base_url = instance.base_url
            watched = Watched(instance)
            if not row.from_start:
                wait_until(lambda: watched.state == "up", 60, "the mirror to be up")
                row.trouble(stage)
            return _watch(row, stage, watched)


class Watched:
    """View of a running instance on the mirror in question."""

    def __init__(self, instance: Instance) -> None:
        self._client = Client(Path(instance.config["admin"]["socket"]))
        self._node: dict[str, Any] = {}

    def look(self) -> None:
        """Ask it anew; what was known stays while nobody answers."""
        try:
            status = self._client.call("GET", "/api/admin/status")
        except (CommandFailed, OSError):
            return
        self._node = next((n for n in status["nodes"] if n["id"] == MAIN), self._node)

    @property
    def state(self) -> str:
        """The state of the mirror now."""
        self.look()
        return str(self._node.get("state", ""))

    def said(self, row: Row) -> tuple[str, str, str, str]:
        """State and verdict of the mirror, verdict and level of the path in question."""
        node = self._node
        paths = [
            path
            for path in node.get("paths", ())
            if path["hostname"] == row.hostname and path["address"] == row.address
        ]
        path = paths[0] if paths else {}
        verdict, level = str(path.get("verdict", "")), str(path.get("level", ""))
        mirror = (
            str(node.get("dns_verdict", "ok"))
            if row.about == "dns"
            else str(node.get("verdict", ""))
        )
        return str(node.get("state", "")), mirror, verdict, level

    def works_over(self, hostname: str, address: str) -> bool:
        """True if this path is in use and well, now."""
        self.look()
        return any(
            (path["hostname"], path["address"]) == (hostname, address)
            and path["usable"]
            and path["verdict"] == "ok"
            for path in self._node.get("paths", ())
        )

    def blocks(self) -> set[str]:
        """Blocks that are called more than suspected, on any path."""
        return {
            path["verdict"]
            for path in self._node.get("paths", ())
            if path["verdict"] in BLOCKS and path["level"] == CERTAIN
        }


def _watch(row: Row, stage: Stage, watched: Watched) -> Trial:
    trial, began = Trial(), time.monotonic()
    while (now := time.monotonic() - began) < row.seconds:
        row.meanwhile(stage, now)
        watched.look()
        said = watched.said(row)
        if not trial.course or trial.course[-1][1:] != said:
            trial.course.append((round(now, 1), *said))
        _, mirror, path, level = said
        named = path if row.about == "path" else mirror
        if named in row.truth and trial.right_after is None:
            trial.right_after = now
        sure = level == CERTAIN or row.about != "path"
        if named in row.truth and sure and trial.sure_after is None:
            trial.sure_after = now
        for block in watched.blocks() - set(row.truth):
            if block not in trial.falsely_sure:
                trial.falsely_sure.append(block)
        trial.verdict, trial.level = named, level
        time.sleep(POLL)
    trial.asked, trial.failed = stage.asked, stage.failed
    return trial


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    found = trial_of(ROWS[sys.argv[1]], folder)
    (folder / "found.json").write_text(json.dumps(asdict(found)))
