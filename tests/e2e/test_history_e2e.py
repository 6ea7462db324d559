"""The past as a whole instance keeps it: over deaths, restarts and a second instance."""

import json
import os
import signal
import socket
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartInstance
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import kill_control
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.postgresql import PostgresqlServer
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e


def config(mirror: str, store: str, **monitor: Any) -> dict[str, Any]:
    return {
        "store": {"url": store},
        "router": {"workers": 1},
        "monitor": {"interval": 1, "vantage": "here", **monitor},
        "mirrors": [{"id": "hk", "url": mirror, "allow_private": True}],
    }


def node(instance: Instance) -> Any:
    with urllib.request.urlopen(f"{instance.dashboard_url}/api/v1/nodes/hk", timeout=30) as answer:
        return json.load(answer)


def is_up(instance: Instance) -> bool:
    try:
        return bool(node(instance)["state"] == "up")
    except OSError:
        return False


def stores(*, long: str) -> pytest.MarkDecorator:
    """Both kinds of store, one of them in the long runs: an instance takes seconds to start."""
    kinds = [
        pytest.param(kind, marks=[pytest.mark.prove] if kind == long else [])
        for kind in ("sqlite", "postgresql")
    ]
    return pytest.mark.parametrize("url", kinds, indirect=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.upgraded()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MirrorProcess]:
    with MirrorProcess("hk", tmp_path_factory.mktemp("mirror")) as process:
        yield process


@pytest.fixture
def instance(mirror: MirrorProcess, url: str, start_instance: StartInstance) -> Instance:
    started = start_instance(config(mirror.base_url, url))
    wait_until(lambda: is_up(started), 40, "the mirror to be up")
    return started


def incidents(instance: Instance) -> list[Any]:
    with urllib.request.urlopen(f"{instance.dashboard_url}/api/v1/incidents", timeout=30) as answer:
        return list(json.load(answer)["incidents"])


@stores(long="postgresql")
def test_uptime_goes_on_over_a_restart_and_over_kill_9(instance: Instance):
    assert node(instance)["uptime"]["24h"] == {"percent": None, "coverage_percent": "0"}
    assert instance.stop() == 0
    instance.start()
    wait_until(lambda: is_known(instance), 40, "uptime")
    assert node(instance)["uptime"]["90d"] == {"percent": None, "coverage_percent": "<0.01"}
    os.kill(instance.pid, signal.SIGKILL)
    instance.kill()
    instance.start()
    wait_until(lambda: is_up(instance), 40, "the mirror to be up")
    wait_until(lambda: is_known(instance), 40, "uptime")


def is_known(instance: Instance) -> bool:
    """True if some of the last day is: too little to tell a percentage of it."""
    told = node(instance)["uptime"]["24h"]
    return told["percent"] is None and told["coverage_percent"] != "0"


@stores(long="sqlite")
def test_a_second_instance_of_the_same_vantage_is_refused(
    instance: Instance, mirror: MirrorProcess, url: str, tmp_path: Path
):
    second = Instance(config(mirror.base_url, url), tmp_path / "second")
    with closing(second):
        second.launch()
        wait_until(lambda: second.exit_code() is not None, 40, "the second instance to end")
        assert second.exit_code() == 1
        said = second.logs()
    assert f'the vantage "here" is in use by an instance on {socket.gethostname()}' in said
    assert f"(process {instance.pid})" in said
    assert "set another monitor.vantage here" in said
    assert "Traceback" not in said
    assert is_up(instance)
    third = Instance(config(mirror.base_url, url, vantage="there"), tmp_path / "third")
    with third:
        wait_until(lambda: is_up(third), 40, "the mirror to be up from there too")
    assert is_up(instance)


@stores(long="sqlite")
def test_control_killed_again_and_again_holds_its_own_vantage(instance: Instance):
    for _ in range(3):
        kill_control(instance, lambda: None)
        wait_until(lambda: is_up(instance), 40, "the mirror to be up")


@stores(long="postgresql")
def test_an_outage_is_an_incident_from_its_first_bad_probe_to_its_end(
    instance: Instance, mirror: MirrorProcess
):
    assert incidents(instance) == []
    mirror.kill()
    wait_until(lambda: incidents(instance), 40, "an incident")
    # each answer is of its own second
    wait_until(lambda: node(instance)["state"] == "down", 40, "its node to be shown as down")
    (opened,) = incidents(instance)
    assert (opened["status"], opened["impact"]) == ("open", "critical")
    assert opened["nodes"][0]["verdict"] == "connection_refused"
    assert opened["started_at"] <= node(instance)["since"]
    mirror.start()
    wait_until(lambda: incidents(instance)[0]["status"] == "resolved", 40, "its end")
    assert [incident["id"] for incident in incidents(instance)] == [opened["id"]]
    instance.stop()
    instance.start()
    assert [incident["id"] for incident in incidents(instance)] == [opened["id"]]


def test_a_running_instance_can_be_copied(
    mirror: MirrorProcess, start_instance: StartInstance, tmp_path: Path
):
    instance = start_instance(config(mirror.base_url, f"sqlite:///{tmp_path / 'own.db'}"))
    target = tmp_path / "copy.db"
    instance.command("db", "backup", str(target), check=True)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    refused = instance.command("db", "upgrade")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr


def test_postgresql_that_was_not_upgraded_is_refused_with_the_command(
    mirror: MirrorProcess, postgresql: PostgresqlServer, tmp_path: Path
):
    instance = Instance(config(mirror.base_url, postgresql.fresh()), tmp_path / "early")
    with closing(instance):
        instance.launch()
        wait_until(lambda: instance.exit_code() is not None, 40, "the instance to end")
        assert instance.exit_code() == 1
        assert "run `mirrorgate db upgrade`" in instance.logs()
        assert "word" not in instance.logs()
        instance.command("db", "upgrade", check=True)
        instance.start()
        wait_until(lambda: is_up(instance), 40, "the mirror to be up")
