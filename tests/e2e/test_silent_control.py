"""A worker that starts while control is silent: whom it refuses, and what it says of itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from router.admission.credentials import new_key
from router.process.last_lists import LastLists
from tests.testkit.http_client import Answer, ask, chat
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import control_pid
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import REPOSITORY, descriptors_of
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

BANNED = "127.0.0.9"
STOPS_ITSELF = """
import os
import signal
import sys

if "router.control.control" in sys.orig_argv and os.path.exists({hold!r}):
    os.kill(os.getpid(), signal.SIGSTOP)
"""
"""Control that does nothing as long as a file is there, from the first moment on."""


@dataclass
class Place:
    instance: Instance
    mirror: MirrorProcess
    hold: Path

    def silence_control(self) -> None:
        """Put a control process that does nothing in the place of the one that there is."""
        before = control_pid(self.instance)
        assert before is not None
        self.hold.touch()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: control_pid(self.instance) not in (None, before), 30, "another control")

    def free_control(self) -> None:
        self.hold.unlink()
        pid = control_pid(self.instance)
        assert pid is not None
        os.kill(pid, signal.SIGCONT)

    def readiness(self) -> Answer | None:
        try:
            return ask(f"{self.instance.base_url}/readyz")
        except OSError:
            return None


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    hold, fault = tmp_path / "hold", tmp_path / "fault"
    fault.mkdir()
    (fault / "sitecustomize.py").write_text(STOPS_ITSELF.format(hold=str(hold)))
    path = os.pathsep.join(map(str, (fault, REPOSITORY)))
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        table = {
            "id": "a",
            "url": mirror.base_url,
            "addresses": ["127.0.0.1"],
            "api_key": TEST_KEY,
        }
        config = {"router": {"workers": 1}, "limits": {"allow": []}, "mirrors": [table]}
        instance = Instance(config, tmp_path / "instance", env={"PYTHONPATH": path})
        with instance:
            yield Place(instance, mirror, hold)


def _issue(instance: Instance) -> str:
    return instance.command("keys", "create", "--name", "lab", check=True).stdout.strip()


def _worker(instance: Instance) -> int:
    return next((child.pid for child in instance.workers()), 0)


def test_a_worker_that_starts_while_control_is_silent_has_the_bans_and_keys_of_the_last_one(
    place: Place,
):
    instance = place.instance
    instance.command("bans", "add", BANNED, check=True)
    key = _issue(instance)
    revoked = _issue(instance)
    listed = instance.command("keys", "list", "--json", check=True).stdout
    newest = listed.partition('"id": "')[2].partition('"')[0]
    instance.command("keys", "revoke", newest, check=True)
    wait_until(lambda: chat(instance.base_url, key=key).status == 200, 20, "the key to be known")
    wait_until(
        lambda: BANNED in (kept := _kept(instance)) and newest not in kept,
        20,
        "the ban and the revocation to be written",
    )
    place.silence_control()
    victim = _worker(instance)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: _worker(instance) not in (0, victim), 30, "another worker")
    assert chat(instance.base_url, source=BANNED).status == 403
    assert chat(instance.base_url, key=key).status == 200
    assert chat(instance.base_url, key=revoked).status == 401
    answer = place.readiness()
    assert answer is not None
    assert (answer.status, answer.json()["status"]) == (200, "ready")
    wait_until(lambda: "serving with the last lists" in instance.logs(), 20, "the log")
    place.free_control()
    instance.command("bans", "remove", BANNED, check=True)
    wait_until(lambda: chat(instance.base_url, source=BANNED).status == 200, 20, "the ban's end")


def _kept(instance: Instance) -> str:
    """The lists that workers start from."""
    for fd, link in descriptors_of(instance.pid).items():
        if "mirrorgate-lists" in link:
            with fd.open("rb") as file:
                return str(LastLists(file.fileno()).read())
    return ""


def test_an_instance_that_control_has_told_nothing_is_not_ready_and_refuses_no_issued_key_for_good(
    place: Place,
):
    instance = place.instance
    key = _issue(instance)
    instance.stop()
    place.hold.touch()
    instance.launch()
    answer = wait_until(place.readiness, 60, "the worker to answer")
    assert answer.status == 503
    assert answer.json()["status"] == (
        "bans and issued keys have not come from the control process yet"
    )
    starting = "control is still starting: serving without bans and issued keys"
    wait_until(lambda: starting in instance.logs(), 20, starting)
    assert " warning " not in instance.logs(), "a slow start is no fault"
    assert chat(instance.base_url, key=TEST_KEY).status == 200, "callers with own keys are served"
    for issued in (key, new_key("mg-")):
        answer = chat(instance.base_url, key=issued)
        assert answer.status == 503
        assert answer.error["code"] == "keys_unavailable"
        assert int(answer.headers["retry-after"]) > 0
    place.free_control()
    instance.wait_ready()
    wait_until(partial(_is_served, instance, key), 20, "the key to be known")
    assert chat(instance.base_url, key=new_key("mg-")).status == 401


def _is_served(instance: Instance, key: str) -> bool:
    return chat(instance.base_url, key=key).status == 200
