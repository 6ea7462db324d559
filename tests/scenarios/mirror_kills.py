"""One kill of a mirror under load, and what it cost."""

import json
import time
from dataclasses import dataclass

from tests.testkit.closed_loop_load import Result, SteadyLoad
from tests.testkit.farm import Farm, TlsMirror
from tests.testkit.instance_output import states
from tests.testkit.wait import wait_until

INTERVAL = 2.0
"""Seconds between two probes."""


@dataclass(frozen=True)
class Cycle:
    """Events between the kill of a mirror and its return."""

    seconds_until_shown_down: float
    seconds_until_shown_up: float
    failures: list[Result]
    unexplained: list[Result]
    """Failures of requests that the killed mirror had not been sent."""
    failures_when_known: list[Result]
    """Failures of requests that began when the page showed it down."""


def kill_and_revive(farm: Farm, victim: TlsMirror, load: SteadyLoad) -> Cycle:
    """Kill -9 a mirror's front, wait for the page, let traffic go on, start it, wait again."""
    instance, began, known_failures = farm.instance, time.monotonic(), set(load.failures)
    victim.front.kill()
    wait_until(lambda: states(instance).get(victim.name) == "down", 30, "the page to show it down")
    shown_down = time.monotonic()
    load.more(60)
    victim.front.start()
    restarted, before = time.monotonic(), _newest(victim)
    wait_until(lambda: states(instance).get(victim.name) == "up", 30, "the page to show it up")
    shown_up = time.monotonic()
    wait_until(lambda: _newest(victim) > before + 5, 30, "traffic on it again")
    load.more(30)
    failures = [result for result in load.failures if result not in known_failures]
    received = {seen.header("x-test-id") for seen in victim.mirror.seen()}
    return Cycle(
        shown_down - began,
        shown_up - restarted,
        failures,
        [result for result in failures if not explained(result, victim.name, received)],
        [result for result in failures if shown_down < result.began < restarted],
    )


def _newest(mirror: TlsMirror) -> int:
    return max((seen.number for seen in mirror.mirror.seen()), default=0)


def explained(result: Result, victim: str, received: set[str | None]) -> bool:
    """True if a failed request had been sent to the killed mirror.

    Either the mirror itself has seen it, or it was on the way: written to an open connection that
    broke, which is all that anybody can know of bytes in a killed process's buffers.
    """
    if result.status == 200:
        return result.mirror == victim and result.id in received
    return result.status == 502 and (result.id in received or _was_on_the_way(result, victim))


def _was_on_the_way(result: Result, victim: str) -> bool:
    message = json.loads(result.error)["error"]["message"]
    return f"(tried {victim};" in message and (
        "the connection broke" in message or "it closed the connection" in message
    )
