"""A mirror that fails requests is out for all workers, and one attempt at a time tries it."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from router.cli.client import Client
from router.cli.console import CommandFailed
from tests.testkit.http_client import CHAT, Answer, ask_on
from tests.testkit.instance import Instance
from tests.testkit.instance_output import metric, nodes
from tests.testkit.instance_processes import Connections, connections_to_all_workers, timed
from tests.testkit.mirror.behaviour import Seen
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

BAD_ONLY, BOTH = "sk-bad", "sk-both"
"""Keys that the bad mirror alone understands, or both mirrors do."""
_CHAT = "/v1/chat/completions"


class Pair:
    """The instance, its two mirrors, and a connection to each of its workers, by pid."""

    def __init__(self, instance: Instance, good: MirrorProcess, bad: MirrorProcess) -> None:
        self.instance, self.good, self.bad = instance, good, bad

    def explained(self) -> dict[str, Any]:
        """The bad mirror in `/api/admin/explain`; empty while nothing answers."""
        try:
            told = Client(Path(self.instance.config["admin"]["socket"])).call(
                "GET", "/api/admin/explain"
            )
        except CommandFailed:
            return {}
        return next(mirror for mirror in told["mirrors"] if mirror["id"] == "bad")

    def phases(self) -> list[str]:
        """Where the bad mirror stands with each worker that answers."""
        workers = self.explained().get("workers", {})
        return [each["breaker"]["phase"] for each in workers.values()]

    def tries(self) -> list[Seen]:
        """The chats that the bad mirror was sent, the first one first; it is probed besides."""
        return [seen for seen in self.bad.seen() if seen.path == _CHAT]

    def in_rotation(self) -> bool:
        """True if control and both workers say so."""
        seen = self.explained()
        return bool(seen) and seen["in_rotation"] and self.phases() == ["closed", "closed"]

    def eject(self, asking: http.client.HTTPConnection) -> None:
        """Let requests fail on the bad mirror, over this connection, until they are enough."""
        self.bad.behave(status=500, latency=0.0, only=_CHAT)
        for _ in range(int(self.instance.config["router"]["ejection"]["consecutive_5xx"])):
            assert ask(self.instance, asking, BAD_ONLY).status == 500

    def recover(self, each: Connections) -> None:
        """Let the bad mirror be good, and send requests until it is back everywhere."""
        self.bad.behave(status=0, latency=0.0)

        def back() -> bool:
            for asking in each.values():
                assert ask(self.instance, asking, BOTH).status == 200
            return self.in_rotation()

        wait_until(back, 30, "the mirror to be back in rotation")


def ask(instance: Instance, asking: http.client.HTTPConnection, key: str) -> Answer:
    """A chat completion with this key, on a kept connection."""
    return ask_on(asking, f"{instance.base_url}{_CHAT}", CHAT, key=key)


@contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """Run it; ejections last a second."""
    with ExitStack() as stack:
        keys = [BAD_ONLY, BOTH]
        good, bad = (
            stack.enter_context(MirrorProcess(name, directory, keys=keys))
            for name in ("good", "bad")
        )
        understood = {"good": [BOTH], "bad": keys}
        config = {
            "router": {"workers": 2, "ejection": {"consecutive_5xx": 2, "base": 1, "max": 1}},
            "monitor": {"interval": "1h"},
            "mirrors": [
                {
                    "id": mirror.name,
                    "url": mirror.base_url,
                    "allow_private": True,
                    "client_keys": understood[mirror.name],
                }
                for mirror in (good, bad)
            ],
        }
        instance = stack.enter_context(Instance(config, directory / "instance"))
        yield Pair(instance, good, bad)


HANGS = 20.0
"""Seconds that an attempt hangs on the mirror: longer than anything waits here."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("ejections")) as two:
        yield two


@pytest.fixture(autouse=True)
def healed(two: Pair) -> Iterator[None]:
    yield
    with connections_to_all_workers(two.instance, status=None) as each:
        two.recover(each)
    two.bad.forget()


@pytest.mark.parametrize(
    ("limit", "times"), [(10.0, 1), pytest.param(0.3, 3, marks=pytest.mark.prove)]
)
def test_an_ejection_reaches_the_other_worker_within_three_tenths_of_a_second(
    two: Pair, limit: float, times: int
):
    """The seconds are held to their word in the long runs, which have a machine for themselves."""
    took = []
    for _ in range(times):
        with connections_to_all_workers(two.instance, status=None) as each:
            first, second = each.values()
            two.eject(first)
            took.append(timed(lambda: two.phases() == ["open", "open"], 10, "all to know"))
            two.bad.forget()
            for _ in range(10):
                assert ask(two.instance, second, BOTH).headers["x-mirrorgate-mirror"] == "good"
            assert two.tries() == []
            two.recover(each)
    assert min(took) < limit


def test_an_ejection_is_counted_and_shown_with_its_reason_and_end(two: Pair):
    counted = metric(two.instance, "mirrorgate_ejections_total", mirror="bad", cause="failing")
    with connections_to_all_workers(two.instance, status=None) as each:
        two.eject(next(iter(each.values())))
        wait_until(lambda: not nodes(two.instance)["bad"]["in_rotation"], 20, "the page to say so")
    node = nodes(two.instance)["bad"]
    assert (node["state"], node["ejection"]["cause"]) == ("up", "failing")
    assert metric(two.instance, "mirrorgate_mirror_in_rotation", mirror="bad") == 0
    assert metric(two.instance, "mirrorgate_mirror_in_rotation", mirror="good") == 1
    now = metric(two.instance, "mirrorgate_ejections_total", mirror="bad", cause="failing")
    assert now > counted
    line = next(
        line
        for line in two.instance.command("status", check=True).stdout.splitlines()
        if line.startswith("bad ")
    )
    assert "no (ejected, failing, " in line


def test_one_attempt_at_a_time_over_all_workers_tries_an_ejected_mirror(two: Pair):
    with connections_to_all_workers(two.instance, status=None) as each:
        two.eject(next(iter(each.values())))
        two.bad.forget()
        two.bad.behave(status=0, latency=0.5)
        stop = threading.Event()
        callers = [
            threading.Thread(target=_ask_until, args=(stop, two, worker)) for worker in [*each] * 4
        ]
        for caller in callers:
            caller.start()
        try:
            wait_until(lambda: len(two.tries()) >= 2, 20, "the mirror to be tried twice")
        finally:
            stop.set()
            for caller in callers:
                caller.join()
        wait_until(lambda: two.explained()["in_rotation"], 20, "two successes to bring it back")
    first, second = two.tries()[:2]
    assert first.ended is not None
    assert second.started >= first.ended


def _ask_until(stop: threading.Event, two: Pair, worker: int) -> None:
    """Requests over a connection to this worker."""
    with connections_to_all_workers(two.instance, status=None) as mine:
        while not stop.wait(0.01):
            assert ask(two.instance, mine[worker], BOTH).status == 200


def test_a_new_control_process_knows_what_is_ejected_and_lets_it_come_back(two: Pair):
    with connections_to_all_workers(two.instance, status=None) as each:
        two.eject(next(iter(each.values())))
        wait_until(lambda: two.phases() == ["open", "open"], 10, "all to know")
        before = two.instance.control().pid
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: _ejected_anew(two, before), 20, "a new control to say so")
        two.recover(each)


def _ejected_anew(two: Pair, before: int) -> bool:
    roles = [child.role for child in two.instance.children() if child.pid != before]
    return "control" in roles and two.explained().get("in_rotation") is False


def test_a_lease_that_a_killed_worker_had_not_used_goes_to_another_one(two: Pair):
    with connections_to_all_workers(two.instance, status=None) as each:
        victim, asking = next(iter(each.items()))
        two.eject(asking)
        two.bad.behave(status=0)
        wait_until(lambda: _takes_a_lease(two, asking), 20, "a worker to have a lease")
        os.kill(victim, signal.SIGKILL)
        del each[victim]
        two.bad.forget()
        (other,) = each.values()
        wait_until(lambda: _tried(two, other), 20, "the other worker to try it")


def _takes_a_lease(two: Pair, asking: HTTPConnection) -> bool:
    """One request a time, until the worker holds a lease that nobody has used."""
    seen = two.explained()
    if any(each["breaker"]["has_lease"] for each in seen["workers"].values()):
        return True
    if seen["ejection"]["until"] is None or seen["workers"]["0"]["breaker"]["seconds_left"] == 0:
        ask(two.instance, asking, BOTH)
    return False


def _tried(two: Pair, asking: HTTPConnection) -> bool:
    ask(two.instance, asking, BOTH)
    return bool(two.tries())


def test_a_lease_that_a_killed_worker_was_using_goes_to_another_one(two: Pair):
    with connections_to_all_workers(two.instance, status=None) as each:
        victim, asking = next(iter(each.items()))
        two.eject(asking)
        two.bad.forget()
        two.bad.behave(status=0, latency=HANGS)
        stuck = threading.Thread(target=_ask_until_cut, args=(two, asking))
        stuck.start()
        wait_until(two.tries, 20, "an attempt to hang")
        os.kill(victim, signal.SIGKILL)
        stuck.join()
        del each[victim]
        two.bad.behave(latency=0.0)
        two.bad.forget()
        (other,) = each.values()
        wait_until(lambda: _tried(two, other), 20, "the other worker to try it")


def _ask_until_cut(two: Pair, asking: HTTPConnection) -> None:
    try:
        while True:
            ask(two.instance, asking, BOTH)
    except OSError:
        pass


def test_explain_says_what_every_worker_thinks_of_every_mirror(two: Pair):
    with connections_to_all_workers(two.instance, status=None) as each:
        two.eject(next(iter(each.values())))
        wait_until(lambda: two.phases() == ["open", "open"], 10, "all to know")
        told = json.loads(two.instance.command("explain", "--json", check=True).stdout)
        shown = two.instance.command("explain", check=True).stdout
    good, bad = told["mirrors"]
    assert (told["policy"], told["silent"]) == ("p2c", [])
    assert (good["in_rotation"], bad["in_rotation"]) == (True, False)
    assert bad["ejection"]["cause"] == "failing"
    assert [each["why_not"] for each in good["workers"].values()] == ["", ""]
    assert {each["why_not"] for each in bad["workers"].values()} <= {"ejected", "on trial"}
    assert bad["takes"]["callers_keys"] == "some"
    assert "sk-" not in json.dumps(told)
    assert "no (ejected, failing, " in shown


def test_explain_tells_the_attempts_of_one_request(two: Pair):
    two.good.behave(status=500, only="/v1/chat")
    try:
        with connections_to_all_workers(two.instance, status=None) as each:
            asking = next(iter(each.values()))
            answer = wait_until(lambda: _rescued(two, asking), 10, "a request with two attempts")
    finally:
        two.good.behave(status=0)
    request_id = answer.headers["x-mirrorgate-request-id"]
    told = json.loads(two.instance.command("explain", request_id, "--json", check=True).stdout)
    tried = [(attempt["mirror"], attempt["outcome"]) for attempt in told["attempts"]]
    assert tried == [("good", "refused"), ("bad", "success")]
    assert (told["status"], told["path"], told["mirror"]) == (200, "/v1/chat/completions", "bad")
    shown = two.instance.command("explain", request_id, check=True).stdout
    assert "refused" in shown
    ran = two.instance.command("explain", "mg_nobody")
    assert ran.returncode == 1
    assert "no worker remembers this request" in ran.stderr


def _rescued(two: Pair, asking: HTTPConnection) -> Answer | None:
    answer = ask(two.instance, asking, BOTH)
    return answer if "x-mirrorgate-attempts" in answer.headers else None
