"""A mirror that fails requests is out for all workers, and one attempt at a time tries it."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.testkit.asking import Answer
from tests.testkit.deaths import timed
from tests.testkit.ejections import BOTH, Pair, ask, connections, pair
from tests.testkit.page import metric, nodes
from tests.testkit.wait import wait_until

HANGS = 20.0
"""Seconds that an attempt hangs on the mirror: longer than anything waits here."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("ejections")) as two:
        yield two


@pytest.fixture(autouse=True)
def healed(two: Pair) -> Iterator[None]:
    yield
    with connections(two.instance) as each:
        two.recover(each)
    two.bad.forget()


@pytest.mark.parametrize(
    ("limit", "times"), [(10.0, 1), pytest.param(0.3, 3, marks=pytest.mark.prove)]
)
def test_what_one_worker_ejects_the_other_leaves_within_three_tenths_of_a_second(
    two: Pair, limit: float, times: int
):
    """The seconds are held to their word in the long runs, which have a machine for themselves."""
    took = []
    for _ in range(times):
        with connections(two.instance) as each:
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
    with connections(two.instance) as each:
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
    with connections(two.instance) as each:
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
    with connections(two.instance) as mine:
        while not stop.wait(0.01):
            assert ask(two.instance, mine[worker], BOTH).status == 200


def test_a_new_control_process_knows_what_is_ejected_and_lets_it_come_back(two: Pair):
    with connections(two.instance) as each:
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
    with connections(two.instance) as each:
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
    with connections(two.instance) as each:
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
    with connections(two.instance) as each:
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
        with connections(two.instance) as each:
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
