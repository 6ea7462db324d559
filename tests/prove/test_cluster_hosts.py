"""Instances on hosts of their own: what one of them alone cannot reach, limits, and faults."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from router.cli.client import Client
from tests.prove.conftest import Measure
from tests.testkit.certs import Authority
from tests.testkit.cluster import LIMIT, NAMES, models, race
from tests.testkit.http_client import ask, chat
from tests.testkit.instance import Instance
from tests.testkit.instance_output import nodes
from tests.testkit.sites import BLOCKED, Sites, running_sites
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Sites]:
    with running_sites(tmp_path_factory.mktemp("sites"), authority) as running:
        yield running


def _views(instance: Instance) -> dict[str, str]:
    """State of the mirror that can be blocked, by vantage."""
    seen = nodes(instance)["gamma"]["vantages"]
    return {name: each["state"] for name, each in seen.items()}


def _sees(instance: Instance, wanted: Mapping[str, str]) -> bool:
    """Tell whether the mirror that can be blocked stands so from these vantages."""
    seen = _views(instance)
    return all(seen.get(name) == state for name, state in wanted.items())


def _told(sites: Sites) -> list[tuple[str, str]]:
    """Notifications of mirrors that went down: kind and subject."""
    return [(e["kind"], e["subject"]) for e in sites.hook.taken if e["kind"] == "down"]


def test_a_name_that_is_blocked_for_one_host_is_told_as_such_on_all_pages(
    sites: Sites, measured: Measure
):
    tokyo, shanghai, paris = sites.instances
    everywhere = dict.fromkeys(("tokyo", "shanghai", "paris"), "up")
    for each in sites.instances:
        wait_until(partial(_sees, each, everywhere), 60, "all to see each other")
    began = time.monotonic()
    sites.hosts.block(1, BLOCKED, sites.mirrors["gamma"].port)
    for each in sites.instances:
        there = {**everywhere, "shanghai": "down"}
        wait_until(partial(_sees, each, there), 60, "the block to be seen")
    measured("seconds until the block is on all pages", time.monotonic() - began)

    def confirmed() -> bool:
        node = nodes(shanghai)["gamma"]
        (path,) = node["paths"]
        return bool(path["level"] == "confirmed" and node["verdict"].startswith("sni_block"))

    wait_until(confirmed, 120, "the block to be confirmed")
    measured("seconds until it is confirmed", time.monotonic() - began)
    (path,) = nodes(shanghai)["gamma"]["paths"]
    assert "the server works" in path["evidence"][0], path
    assert path["evidence"][0].startswith(("From tokyo", "From paris")), path
    for each in (tokyo, paris):
        assert nodes(each)["gamma"]["verdict"] == "ok"
    for each in sites.instances:
        page = ask(
            f"{each.dashboard_url}/nodes/gamma?lang=en", key="", headers={"Accept": "text/html"}
        )
        said = page.body.decode()
        assert "not from shanghai." in said
        assert "tokyo" in said

    subject = "gamma" if sites.leader() is shanghai else "gamma@shanghai"
    told = [("down", subject)]
    wait_until(lambda: _told(sites) == told, 60, "operators to be told of it once")
    measured("seconds until operators are told", time.monotonic() - began)

    sites.hosts.plug(0, "down")
    began = time.monotonic()
    wait_until(lambda: _views(shanghai)["tokyo"] == "unknown", 120, "tokyo to be missed")
    measured("seconds until a host that is cut off is unknown", time.monotonic() - began)
    assert _views(shanghai)["paris"] == "up"
    sites.hosts.plug(0)
    sites.hosts.unblock(1)
    for each in (shanghai, paris):
        wait_until(partial(_sees, each, {"tokyo": "up"}), 60, "tokyo to be heard again")


def _admin(instance: Instance, method: str, target: str, body: Any = None) -> Any:
    """Ask for something as an operator."""
    client = Client(Path(instance.config["admin"]["socket"]))
    return client.call(method, f"/api/admin/{target}", body)


def _made_key(instance: Instance, **order: Any) -> tuple[str, str]:
    """A new key, and its id."""
    made = _admin(instance, "POST", "keys", {"name": "test", **order})
    return made["key"], made["id"]


def test_twenty_clients_that_hammer_three_hosts_never_have_more(sites: Sites, measured: Measure):
    most: Counter[str] = Counter()
    for _ in range(5):
        with ExitStack() as stack, ThreadPoolExecutor(20) as clients:
            names = [f"203.0.113.{number}" for number in range(20)]
            opened = clients.map(lambda name: race(sites.instances, name, 5), names)
            for name, streams in zip(names, opened, strict=True):
                for stream in streams:
                    stack.callback(stream.close)
                assert {each.status for each in streams} <= {200, 429}
                most[name] = max(most[name], sum(each.status == 200 for each in streams))
    measured(f"most streams of a client with a limit of {LIMIT}", max(most.values()))
    assert max(most.values()) <= LIMIT + len(NAMES) - 1


def _seconds(act: Callable[[], Any], everywhere: Callable[[Instance], bool], sites: Sites) -> float:
    """Time from the order until it holds on all hosts."""
    began = time.monotonic()
    act()
    for each in sites.instances:
        wait_until(partial(everywhere, each), 20, "it to hold everywhere")
    return time.monotonic() - began


def _answers(status: int, key: str, instance: Instance) -> bool:
    """Tell whether a client with this key gets this status."""
    return models(instance, "192.0.2.1", key) == status


def _is_banned(client: str, instance: Instance) -> bool:
    try:
        return models(instance, client) == 403
    except ConnectionResetError:  # the ban ended the request that asked
        return False


def test_a_ban_and_a_revocation_are_everywhere_within_a_second(sites: Sites, measured: Measure):
    bans, revocations = [], []
    for number in range(20):
        at, client = sites.instances[number % 3], f"192.0.2.{100 + number}"
        key, key_id = _made_key(at)
        for each in sites.instances:
            wait_until(partial(_answers, 200, key, each), 20, "the key")
        ban = {"network": client, "for": 3600.0, "reason": "test"}
        bans.append(
            _seconds(
                partial(_admin, at, "POST", "bans", ban),
                partial(_is_banned, client),
                sites,
            )
        )
        revocations.append(
            _seconds(
                partial(_admin, at, "DELETE", f"keys/{key_id}"),
                partial(_answers, 401, key),
                sites,
            )
        )
    measured("seconds from a ban until it is on all hosts, at most", max(bans))
    measured("seconds from a revocation until it is on all hosts, at most", max(revocations))
    assert max(bans) <= 1.0
    assert max(revocations) <= 1.0


def test_a_quota_is_exceeded_by_no_more_than_what_is_open_and_a_second_of_use(
    sites: Sites, measured: Measure
):
    quota = 3000
    key, _ = _made_key(sites.instances[0], tokens=quota)
    for each in sites.instances:
        wait_until(partial(_answers, 200, key, each), 20, "the key")
    answers: list[tuple[float, float, int]] = []

    def spend(number: int) -> None:
        instance, client = sites.instances[number % 3], f"198.51.100.{number}"
        while True:
            began = time.monotonic()
            answer = chat(instance.base_url, key=key, headers={"X-Forwarded-For": client})
            if answer.status != 200:
                assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
                return
            used = answer.json()["usage"]["total_tokens"]
            answers.append((time.monotonic(), began, used))

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(spend, range(12)))
    total, crossed = 0, 0.0
    for ended, _, used in sorted(answers):
        total += used
        if total >= quota and not crossed:
            crossed = ended
    late = max(began for _, began, _ in answers) - crossed
    measured(f"tokens used with a quota of {quota}", total)
    measured("tokens of an answer, with twelve at a time", answers[0][2])
    measured("seconds after the quota was used up that a request was still taken", max(0.0, late))
    assert total >= quota * 0.9
    assert late <= 1.0
