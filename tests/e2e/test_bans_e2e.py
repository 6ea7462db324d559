"""Bans by hand and operators' wishes: in force at once on every worker, and after a restart."""

import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from tests.testkit.certs import Authority
from tests.testkit.farm import Farm
from tests.testkit.http_client import ask, chat
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up, nodes
from tests.testkit.instance_processes import connections_to_all_workers, status_on
from tests.testkit.ports import free_port
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

BANNED, NEIGHBOUR = "127.0.0.9", "127.0.0.10"


@pytest.fixture(scope="module")
def farm(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    config = {"limits": {"allow": []}, "dashboard": {"contact": "desk@example.org"}}
    with Farm(tmp_path_factory.mktemp("bans"), authority, config) as farm:
        wait_until(lambda: all_up(farm.instance), 30, "all mirrors to be up")
        yield farm


@pytest.fixture
def instance(farm: Farm) -> Instance:
    return farm.instance


def _wait_until_refused(instance: Instance, each: http.client.HTTPConnection) -> None:
    wait_until(lambda: status_on(instance, each) == 403, 20, "the ban to hold")


def _listed(instance: Instance) -> list[dict[str, Any]]:
    bans: list[dict[str, Any]] = ask(f"{instance.dashboard_url}/api/v1/bans", key="").json()["bans"]
    return bans


def _refused(instance: Instance, source: str = BANNED) -> bool:
    return chat(instance.base_url, source=source).status == 403


def test_a_ban_holds_on_every_worker_at_once_is_told_properly_and_can_be_lifted(
    instance: Instance,
):
    with connections_to_all_workers(instance, BANNED) as kept:
        added = ("bans", "add", BANNED, "--for", "1h", "--reason", "too many streams", "--json")
        instance.command(*added, check=True)
        for each in kept.values():
            _wait_until_refused(instance, each)
    answer = chat(instance.base_url, source=BANNED)
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["code"] == "client_banned"
    assert answer.error["param"] is None
    for told in ("too many streams", "desk@example.org", " UTC"):
        assert told in answer.error["message"]
    assert chat(instance.base_url, source=NEIGHBOUR).status == 200
    (ban,) = wait_until(lambda: _listed(instance), 20, "the ban to be listed")
    assert ban["ip"] == "127.0.0.x"
    assert ban["reason"] == "too many streams"
    assert ban["id"] in answer.error["message"]
    page = ask(f"{instance.dashboard_url}/banned", key="").body.decode()
    assert "127.0.0.x" in page
    assert BANNED not in page
    instance.command("bans", "remove", BANNED, check=True)
    wait_until(lambda: not _refused(instance), 20, "the ban to be lifted")
    wait_until(lambda: not _listed(instance), 20, "the list to be empty")
    assert instance.command("bans", "remove", BANNED).returncode == 1


@pytest.mark.parametrize(
    ("given", "neighbour_too"),
    [("127.0.0.8/29", True), (f"::ffff:{BANNED}", False), ("127.0.0.9/32", False)],
)
def test_a_ban_may_name_a_network_or_a_mapped_address(
    instance: Instance, given: str, neighbour_too: bool
):
    instance.command("bans", "add", given, check=True)
    try:
        wait_until(lambda: _refused(instance), 20, "the ban to hold")
        assert _refused(instance, NEIGHBOUR) is neighbour_too
        assert not _refused(instance, "127.0.0.1")
    finally:
        instance.command("bans", "remove", given, check=True)
    wait_until(lambda: not _refused(instance), 20, "the ban to be lifted")


def test_the_newest_ban_on_an_address_counts_also_after_a_restart(instance: Instance):
    instance.command("bans", "add", BANNED, "--reason", "first", check=True)
    instance.command("bans", "add", BANNED, "--for", "1h", "--reason", "second", check=True)
    instance.command("maintenance", "alpha", "--for", "1h", check=True)
    instance.command("drain", "beta", check=True)
    _is_so(instance)
    assert instance.stop() == 0
    instance.start()
    _is_so(instance)
    instance.command("bans", "allow", BANNED, check=True)
    instance.command("enable", "alpha", check=True)
    instance.command("enable", "beta", check=True)
    wait_until(lambda: not _refused(instance), 20, "the ban to be lifted")
    wait_until(lambda: _all_in_rotation(instance), 10, "all mirrors to be in rotation")
    instance.command("drain", "gamma", check=True)
    wait_until(lambda: _answering(instance) <= {"alpha", "beta"}, 20, "the others to get traffic")
    instance.command("enable", "gamma", check=True)


def _is_so(instance: Instance) -> None:
    """A ban on one address, alpha in maintenance, beta drained."""
    assert "second" in chat(instance.base_url, source=BANNED).error["message"]
    wait_until(lambda: [ban["reason"] for ban in _listed(instance)] == ["second"], 20, "the list")
    wait_until(lambda: _answering(instance) == {"gamma"}, 20, "only gamma to get traffic")
    assert nodes(instance)["alpha"]["state"] == "maintenance"
    assert not nodes(instance)["beta"]["in_rotation"]


def _all_in_rotation(instance: Instance) -> bool:
    return all(node["in_rotation"] for node in nodes(instance).values())


def _answering(instance: Instance) -> set[str]:
    """The mirrors that answered 24 requests in a row."""
    answers = [chat(instance.base_url) for _ in range(24)]
    return {answer.headers["x-mirrorgate-mirror"] for answer in answers}


def test_a_client_on_a_dual_stack_listener_is_known_by_its_plain_address(farm: Farm):
    port = free_port()
    config = {**farm.config(), "router": {"workers": 1, "listen": f"[::ffff:127.0.0.1]:{port}"}}
    with Instance(config, farm.instance.directory / "mapped") as mapped:
        mapped.command("bans", "add", BANNED, check=True)
        base_url = f"http://127.0.0.1:{port}"
        wait_until(lambda: chat(base_url, source=BANNED).status == 403, 20, "the ban to hold")
        assert chat(base_url, source=NEIGHBOUR).status == 200
