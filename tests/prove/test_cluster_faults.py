"""Three hosts under load while an instance, PostgreSQL or Redis is killed, frozen or cut off.

A minute each: no request fails but on the instance that is gone, nothing that was acknowledged is
lost, and operators hear of a mirror that goes down meanwhile once, and once of its return.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from router.cli.client import Client
from tests.prove.conftest import Measure
from tests.testkit.certs import Authority
from tests.testkit.cluster import models
from tests.testkit.http_client import ask, chat
from tests.testkit.instance import Instance
from tests.testkit.instance_output import nodes
from tests.testkit.sites import Sites, running_sites
from tests.testkit.wait import wait_until

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]

MINUTE = 60.0
_NUMBERS = itertools.count(1)
A_HOST = 6
"""Requests under way on each host."""
UNWRITTEN = 3.0
"""Seconds of use that an instance which is killed may not have written yet: reports of workers come
every second, batches of the ledger as well."""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Sites]:
    with running_sites(tmp_path_factory.mktemp("sites"), authority) as running:
        yield running


def _admin(instance: Instance, method: str, target: str, body: Any = None) -> Any:
    client = Client(Path(instance.config["admin"]["socket"]))
    return client.call(method, f"/api/admin/{target}", body)


@dataclass(frozen=True)
class Done:
    """The end of a request."""

    host: int
    at: float
    status: int
    """0: there was no answer."""
    took: float


class Load:
    """Chat completions with an issued key on all hosts, while it is entered."""

    def __init__(self, sites: Sites, key: str) -> None:
        self._sites, self._key = sites, key
        self._stop = threading.Event()
        self.done: list[Done] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(number % 3, f"198.51.100.{number}"))
            for number in range(3 * A_HOST)
        ]

    def _ask(self, host: int, client: str) -> None:
        instance, headers = self._sites.instances[host], {"X-Forwarded-For": client}
        while not self._stop.wait(0.5):
            began = time.monotonic()
            try:
                status = chat(instance.base_url, key=self._key, headers=headers).status
            except OSError:
                status = 0
            now = time.monotonic()
            self.done.append(Done(host, now, status, now - began))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


class Acknowledged:
    """Decisions and use that were acknowledged before a fault, and how they stand since."""

    def __init__(self, sites: Sites, name: str) -> None:
        self._sites = sites
        first = sites.instances[0]
        wait_until(sites.leader, 60, "one leader")
        self.client = f"192.0.2.{next(_NUMBERS)}"
        ban = {"network": self.client, "for": 36000.0, "reason": name}
        _admin(first, "POST", "bans", ban)
        used = _admin(first, "POST", "keys", {"name": f"used: {name}"})
        self.used, self._used_id = used["key"], used["id"]
        self.key = _admin(first, "POST", "keys", {"name": f"kept: {name}"})["key"]
        for each in sites.instances:
            wait_until(partial(self.holds, each), 20, "the key and the ban on all hosts")
        self._told = len(sites.hook.taken)

    def holds(self, instance: Instance) -> bool:
        """True if the key is taken and the client is banned there."""
        taken = models(instance, "192.0.2.250", self.key) == 200
        return taken and models(instance, self.client) == 403

    def notified(self) -> Counter[tuple[str, str, bool]]:
        """Notifications since: kind, subject, and whether it is over."""
        changes = self._sites.hook.taken[self._told :]
        return Counter((each["kind"], each["subject"], each["ended"]) for each in changes)

    def charged(self, instance: Instance) -> int:
        """Requests of the key that is used in the ledger."""
        keys = _admin(instance, "GET", "keys?days=2")["keys"]
        return sum(k["recent"]["requests"] for k in keys if k["id"] == self._used_id)

    def has_charged(self, instance: Instance, least: int, most: int) -> bool:
        """True if so many of its requests are in the ledger."""
        return least <= self.charged(instance) <= most


def _has_one_open(instance: Instance) -> bool:
    """True if the mirror that is down has one incident there, which is open."""
    answer = ask(f"{instance.dashboard_url}/api/v1/incidents", key="").json()
    parts = [node for each in answer["incidents"] for node in each["nodes"]]
    return bool(sum(node["id"] == "beta" and node["until"] is None for node in parts) == 1)


def _is(instance: Instance, state: str) -> bool:
    return bool(nodes(instance)["beta"]["state"] == state)


def _is_well(sites: Sites, instance: Instance) -> bool:
    status = _admin(instance, "GET", "status")
    store = status["store"]
    return sites.sees_all(instance) and not store["problem"] and not store["unwritten"]


def _misses(sites: Sites, instance: Instance, fault: str) -> bool:
    """True if an instance goes without what is gone: nobody leads without the store."""
    state = sites.state(instance)
    return not state["leads"] if fault.startswith("PostgreSQL") else bool(state["problem"])


def _freeze_postgresql(sites: Sites) -> None:
    sites.postgresql.send(signal.SIGSTOP)


def _thaw_postgresql(sites: Sites) -> None:
    sites.postgresql.send(signal.SIGCONT)


def _freeze_redis(sites: Sites) -> None:
    assert sites.redis.process is not None
    sites.redis.process.send(signal.SIGSTOP)


def _thaw_redis(sites: Sites) -> None:
    assert sites.redis.process is not None
    sites.redis.process.send(signal.SIGCONT)


FAULTS: dict[str, tuple[Callable[[Sites], None], Callable[[Sites], None]]] = {
    "PostgreSQL frozen": (_freeze_postgresql, _thaw_postgresql),
    "PostgreSQL killed": (lambda s: s.postgresql.kill(), lambda s: s.postgresql.start()),
    "PostgreSQL cut off": (lambda s: s.hosts.cut(s.postgresql.port), lambda s: s.hosts.mend()),
    "Redis frozen": (_freeze_redis, _thaw_redis),
    "Redis killed": (lambda s: s.redis.kill(), lambda s: s.redis.start()),
    "Redis cut off": (lambda s: s.hosts.cut(s.redis.port), lambda s: s.hosts.mend()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_while_what_they_share_is_gone(sites: Sites, measured: Measure, fault: str):
    begin, end = FAULTS[fault]
    before = Acknowledged(sites, fault)
    with Load(sites, before.used) as load:
        began = time.monotonic()
        begin(sites)
        try:
            sites.mirrors["beta"].kill()
            for each in sites.instances:
                wait_until(partial(_is, each, "down"), 40, "the mirror to be down")
            for each in sites.instances:
                wait_until(partial(_misses, sites, each, fault), 40, "the fault to be noticed")
            time.sleep(max(0.0, began + MINUTE - time.monotonic()))
        finally:
            end(sites)
        ended = time.monotonic()
        for each in sites.instances:
            wait_until(partial(_is_well, sites, each), 90, "all to be well again")
        measured("seconds until all hosts are well again", time.monotonic() - ended)
        told_down, told_up = (("down", "beta", False), ("up", "beta", True))
        wait_until(lambda: before.notified()[told_down], 90, "operators to be told")
        for each in sites.instances:
            wait_until(partial(_has_one_open, each), 30, "one open incident")
        sites.mirrors["beta"].start()
        for each in sites.instances:
            wait_until(partial(_is, each, "up"), 60, "the mirror to be up")
        wait_until(lambda: before.notified()[told_up], 90, "operators to be told of the end")
    _nothing_failed(load.done, measured)
    served = sum(each.status == 200 for each in load.done)
    for each in sites.instances:
        charged = partial(before.has_charged, each, served, served)
        wait_until(charged, 30, f"{served} requests in the ledger")
        assert before.holds(each)
    assert before.notified() == {told_down: 1, told_up: 1}


def _nothing_failed(done: list[Done], measured: Measure) -> None:
    measured("requests, none of which failed", len(done))
    measured("the longest of them, in seconds", max(each.took for each in done))
    assert {each.status for each in done} == {200}


def test_an_instance_that_is_killed_costs_its_own_requests(sites: Sites, measured: Measure):
    before = Acknowledged(sites, "an instance killed")
    leader = wait_until(sites.leader, 60, "one leader")
    host = sites.instances.index(leader)
    others = [each for each in sites.instances if each is not leader]
    with Load(sites, before.used) as load:
        wait_until(lambda: len(load.done) >= 50, 60, "some requests")
        killed = time.monotonic()
        leader.kill()
        wait_until(lambda: any(sites.state(o)["leads"] for o in others), 60, "another leader")
        measured("seconds until another instance leads", time.monotonic() - killed)
        sites.mirrors["beta"].kill()
        told_down, told_up = (("down", "beta", False), ("up", "beta", True))
        wait_until(lambda: before.notified()[told_down], 60, "operators to be told")
        time.sleep(max(0.0, killed + MINUTE - time.monotonic()))
        leader.start()
        sites.mirrors["beta"].start()
        for each in sites.instances:
            wait_until(partial(_is, each, "up"), 60, "the mirror to be up")
            wait_until(partial(_is_well, sites, each), 60, "all to be well again")
        wait_until(lambda: before.notified()[told_up], 60, "operators to be told of the end")
    _nothing_failed([each for each in load.done if each.host != host], measured)
    measured(
        "requests that failed on the instance that was killed",
        sum(each.host == host and each.status != 200 for each in load.done),
    )
    served = [each for each in load.done if each.status == 200]
    young = [e for e in served if e.host == host and killed - UNWRITTEN < e.at <= killed + 1]
    least, most = len(served) - len(young), len(served) + A_HOST
    for each in sites.instances:
        wait_until(partial(before.has_charged, each, least, most), 30, "all in the ledger")
        assert before.holds(each)
    measured("requests served, and in the ledger", f"{len(served)}, {before.charged(others[0])}")
    assert before.notified() == {told_down: 1, told_up: 1}


def test_a_leader_that_is_cut_off_leads_no_more_and_tells_nothing(sites: Sites, measured: Measure):
    before = Acknowledged(sites, "the leader cut off")
    leader = wait_until(sites.leader, 60, "one leader")
    host = sites.instances.index(leader)
    others = [each for each in sites.instances if each is not leader]
    with Load(sites, before.used) as load:
        cut = time.monotonic()
        sites.hosts.plug(host, "down")
        wait_until(lambda: any(sites.state(o)["leads"] for o in others), 60, "another leader")
        measured("seconds until another instance leads", time.monotonic() - cut)
        assert not sites.state(leader)["leads"]
        time.sleep(max(0.0, cut + MINUTE - time.monotonic()))
        sites.hosts.plug(host)
        for each in sites.instances:
            wait_until(partial(_is_well, sites, each), 90, "all to be well again")
            wait_until(partial(_is, each, "up"), 90, "the mirrors to be up")
        wait_until(sites.leader, 60, "one leader")
        before_quiet = len(load.done)
        wait_until(lambda: len(load.done) >= before_quiet + 100, 60, "requests after that")
    _nothing_failed([each for each in load.done if each.host != host], measured)
    for each in sites.instances:
        assert before.holds(each)
    assert not before.notified()
