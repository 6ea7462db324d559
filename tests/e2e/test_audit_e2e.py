"""The audit log, by the real command line: changes over the socket, by signal, by writing the
file."""

import json
import os
import pwd
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testkit.http_client import ask
from tests.testkit.instance import Config, Instance
from tests.testkit.ports import HOST, free_port
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

ME = pwd.getpwuid(os.getuid()).pw_name


def mirror(name: str) -> Config:
    return {"id": name, "url": f"http://{HOST}:{free_port()}"}


def config(*names: str) -> Config:
    return {"router": {"workers": 1}, "mirrors": [mirror(name) for name in names]}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Shared: what is in its log is compared from the newest entry on."""
    with Instance(config("alpha", "beta"), tmp_path_factory.mktemp("audit")) as instance:
        yield instance


def log_of(instance: Instance, *arguments: str) -> list[dict[str, Any]]:
    told = json.loads(instance.command("audit", "--json", *arguments, check=True).stdout)
    entries: list[dict[str, Any]] = told["entries"]
    return entries


def test_every_change_is_in_the_log_with_who_when_and_from_where(instance: Instance):
    instance.command("drain", "alpha", check=True)
    instance.command("bans", "add", "192.0.2.7", "--reason", "too\x1b[31m much", check=True)
    instance.command("bans", "remove", "192.0.2.7", check=True)
    instance.command("bans", "allow", "198.51.100.0/24", check=True)
    entries = log_of(instance, "--limit", "4")
    assert [entry["what"] for entry in entries] == [
        "allow 198.51.100.0/24",
        "lift bans of 192.0.2.7/32: 1",
        "ban 192.0.2.7/32: too[31m much",
        "drain alpha",
    ]
    assert {entry["who"] for entry in entries} == {ME}
    assert all(re.fullmatch(r"the socket \(pid \d+.*\)", entry["from"]) for entry in entries)
    assert len({entry["from"] for entry in entries}) == 4
    assert log_of(instance, "--limit", "1", "--before", str(entries[1]["id"])) == entries[2:3]
    assert instance.stop() == 0
    assert log_of(instance, "--limit", "4") == entries  # of the store itself
    instance.start()
    assert log_of(instance, "--limit", "4") == entries


def test_reloads_are_in_the_log_whoever_asked_and_refused_ones_too(instance: Instance):
    whole = instance.config
    without_beta = {**whole, "mirrors": whole["mirrors"][:1], "limits": {"burst": 7}}
    instance.reload(without_beta)
    entries = log_of(instance)
    assert entries[0]["who"] == ME  # who asks is noted, though the change may have been noticed
    reloads = [entry["what"] for entry in entries]
    assert reloads.count("reload: removed beta; changed limits.burst") == 1
    with instance.config_file.open("a") as file:
        file.write("\n[routr]\n")
    refused = instance.command("reload")
    assert refused.returncode == 2
    newest = log_of(instance)[0]
    assert newest["what"].startswith("reload refused: routr: unknown setting")
    assert newest["who"] == ME
    instance.write(whole)
    instance.send(signal.SIGHUP)
    wait_until(
        lambda: any(e["who"] == "SIGHUP" for e in log_of(instance)), 10, "the signal's entry"
    )
    wait_until(lambda: any("reload: added beta" in e["what"] for e in log_of(instance)), 10, "beta")


def test_a_file_that_is_written_is_taken_over_and_noted_by_itself(instance: Instance):
    instance.write({**instance.config, "limits": {"burst": 8}})
    wait_until(lambda: log_of(instance)[0]["who"] == "file watcher", 15, "it to be noticed")
    newest = log_of(instance)[0]
    assert newest["from"] == str(instance.config_file)
    assert "limits.burst" in newest["what"]


def test_the_log_is_a_table_of_four_columns(instance: Instance):
    for _ in range(3):
        instance.command("enable", "alpha", check=True)
    told = instance.command("audit", "--limit", "2", check=True)
    header, *rows = told.stdout.splitlines()
    assert header.split() == ["WHEN", "WHO", "FROM", "WHAT"]
    assert len(rows) == 2
    assert re.match(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  {ME} ", rows[0])
    assert rows[0].endswith("enable alpha")
    assert "see it with --before" in told.stderr
    assert instance.command("audit", "--limit", "0").returncode == 2


def test_the_log_is_not_for_the_network(instance: Instance):
    assert ask(f"{instance.admin_url}/api/admin/audit", key="").status == 404


def test_dangerous_settings_with_anonymous_callers_are_reported_by_every_command(tmp_path: Path):
    router = {"workers": 1, "callers": ["anonymous"], "cors_origins": []}
    limits = {"connections": 0, "requests_per_second": 0}
    table = {"router": router, "limits": limits, "mirrors": [{**mirror("a"), "api_key": "sk-x"}]}
    with Instance(table, tmp_path) as instance:
        assert instance.command("audit", check=True).stdout == "nothing has been changed\n"
        words = "[limits] are off"
        assert words in instance.command("check", check=True).stderr
        assert words in instance.command("status", check=True).stderr
        assert words in instance.logs()
        instance.reload({**table, "limits": {"connections": 10, "allow": []}})
        assert words not in instance.command("status", check=True).stderr
        instance.write({**table, "router": {**router, "cors_origins": ["*"]}})
        refused = instance.command("check")
        assert (refused.returncode, "router.cors_origins" in refused.stderr) == (2, True)
