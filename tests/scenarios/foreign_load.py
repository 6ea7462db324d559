"""Clients at 20 requests a second while a name is blocked by iptables, and control is well, dead
or stopped meanwhile; then the block is lifted.

`unshare -Urn python -m tests.scenarios.foreign_load CASE DIRECTORY` writes `found.json`.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.scenarios.foreign_rows import RESIDUAL, ROWS, Row, Stage
from tests.scenarios.foreign_trial import Watched
from tests.testkit.censor.site import (
    ALTERNATE,
    ANCHOR,
    BLOCKED,
    ELSEWHERE,
    FIRST,
    OTHER,
    SECOND,
    Site,
)
from tests.testkit.certs import Authority
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import control_pid
from tests.testkit.wait import wait_until

RATE = 20.0
"""Requests a second, however many of those before are still running."""
BLOCKED_FOR = 3 * RESIDUAL + 10
"""Seconds."""
BACK = RESIDUAL + 30
"""Seconds after the block within which requests take the main name again."""
NOTICED = 60.0
"""Seconds after `BLOCKED_FOR` within which the name must be out of use, before the block ends."""
PATIENCE = 4 * BACK
CENSORS = {
    "reset": "name reset (iptables)",
    "drop": "name dropped (iptables)",
    "reset, remembered": "name reset, remembered",
    "drop, remembered": "name dropped, remembered",
}
CONTROLS = {"well": None, "killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Case:
    """A block, and the state of control and of the other mirror meanwhile."""

    row: Row
    to_control: signal.Signals | None = None
    """The signal that control gets when the block begins."""
    alone: bool = False
    """True if there is no other mirror: only the alternate name leads round the block."""


CASES = {
    f"{censor}; control {control}{'; no other mirror' if alone else ''}": Case(
        ROWS[row], number, alone
    )
    for alone in (False, True)
    for censor, row in CENSORS.items()
    for control, number in CONTROLS.items()
}


@dataclass(slots=True)
class Found:
    """Course of one case."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)
    """Requests that were not answered, with the seconds since the block began."""
    back_after: float | None = None
    """Seconds from the end of the block until the main name was in use."""


def played(case: Case, directory: Path) -> Found:
    """Block the name under load, do that to control, lift the block, and count."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "bulk.bin").write_bytes(b"")
    found = Found()
    with Site(directory, Authority(directory)) as site:
        stage = Stage(site)
        for addresses in ((FIRST, SECOND), (OTHER, ANCHOR)):
            site.nginx(*(f"{address}:443 ssl" for address in addresses), keepalive=1)
        config = case.row.configuration(stage)
        main = config["mirrors"][0]
        main |= {"hostnames": [ALTERNATE], "addresses": [FIRST, SECOND]}
        assert config["mirrors"][1]["url"] == f"https://{ELSEWHERE}"
        if case.alone:
            del config["mirrors"][1]
        with Instance(config, directory / "instance") as instance:
            stage.base_url = instance.base_url
            watched = Watched(instance)
            wait_until(lambda: watched.works_over(BLOCKED, FIRST), 60, "the main name to be in use")
            with _load(stage):
                case.row.trouble(stage)
                began = time.monotonic()
                if case.to_control is not None:
                    pid = control_pid(instance)
                    assert pid is not None
                    os.kill(pid, case.to_control)
                time.sleep(BLOCKED_FOR - (time.monotonic() - began))
                wait_until(lambda: not watched.works_over(BLOCKED, FIRST), NOTICED, "the block")
                site.unblock()
                lifted = time.monotonic()
                wait_until(lambda: watched.works_over(BLOCKED, FIRST), PATIENCE, "the main name")
                found.back_after = time.monotonic() - lifted
    found.asked, found.failed = stage.asked, stage.failed
    return found


@contextmanager
def _load(stage: Stage) -> Iterator[None]:
    """Requests from the beginning of the context to its end; waits for the last of them."""
    over = threading.Event()
    with ThreadPoolExecutor(max_workers=200) as clients:

        def send() -> None:
            due = time.monotonic()
            while not over.wait(max(due - time.monotonic(), 0.0)):
                clients.submit(stage.ask)
                due += 1 / RATE

        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield
        finally:
            over.set()
            sending.join()


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    result = played(CASES[sys.argv[1]], folder)
    (folder / "found.json").write_text(json.dumps(asdict(result)))
