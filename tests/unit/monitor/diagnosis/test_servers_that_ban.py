"""Servers that ban for a while whoever has failed there several times: never a confirmed block.

The experiments run as the monitor has them run: after a cut a glance at control names, and where
these are cut off too the address is left alone first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

import pytest

from monitor.diagnosis.block_test import Done, next_step
from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Level
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.timing import NORMAL
from monitor.engine.block_tests import GLANCE_GAP, GLANCES
from monitor.probes.trial_results import CUT, Role, Trial
from tests.testkit.censor.simulated_endpoint import CONTROL, NAME, hello, trial

EXPERIMENTS = 4
HELD = NORMAL.residual_hold


@dataclass(slots=True)
class BanningServer:
    """Bans with the last of so many refusals, each of which it forgets with time or the ban."""

    after: int
    refuses: frozenset[str] = frozenset({NAME})
    """The names that it refuses: the mirror's is reset, others get an alert."""
    window: float = 600.0
    banned: float = 100.0
    refusals: tuple[float, ...] = ()
    until: float = 0.0

    def meet(self, sni: str, now: float):
        if now < self.until:
            return hello("reset")
        if sni not in self.refuses:
            return hello()
        self.refusals = (*(t for t in self.refusals if now - t < self.window), now)
        if len(self.refusals) >= self.after:
            self.until, self.refusals = now + self.banned, ()
        if sni == NAME:
            return hello("reset")
        return hello("ssl_failed_handshake", received=7, alert=112)


def shown(server: BanningServer, role: Role, sni: str, now: float) -> Trial:
    met = server.meet(sni, now)
    return trial(role, met, now + met.seconds, sni)


def experiments(server: BanningServer, rng: Random, patient: bool) -> Iterator[list[Trial]]:
    """Experiments one after the other, each with the routine failure that it begins with."""
    now = 1000.0
    for _ in range(EXPERIMENTS):
        trials = [shown(server, Role.target, NAME, now)]
        if trials[0].outcome not in CUT:
            return
        triggered: float | None = now
        now = trials[0].at
        for _ in range(0 if patient else GLANCES):
            if shown(server, Role.control, CONTROL, now).answered:
                triggered = None
                break
            now += GLANCE_GAP
        while True:
            step = next_step(trials, now, rng, NORMAL, triggered=triggered, controls=[CONTROL])
            if isinstance(step, Done):
                break
            now = max(now, step.not_before)
            sni = {Role.target: NAME, Role.control: step.control}.get(step.role, "")
            trials.append(shown(server, step.role, sni, now))
            now = trials[-1].at
        yield trials
        now += HELD


SERVERS = [
    BanningServer(after, window=window, banned=banned, refusals=(1000.0 - HELD,) * before)
    for after in range(2, 8)
    for before in range(after)
    for window, banned in product((300.0, 1e6), (30.0, 180.0))
]


@pytest.mark.parametrize("patient", [False, True], ids=["glanced at", "waited for"])
def test_a_server_that_bans_after_several_refusals_is_never_more_than_suspected(patient):
    sure = [server for server in SERVERS if highest(server, patient) is Level.confirmed]
    assert not sure


def test_so_is_one_that_counts_the_control_names_too():
    refuses = frozenset({NAME, CONTROL})
    for after, before in product(range(2, 8), range(7)):
        server = BanningServer(after, refuses, refusals=(1000.0 - HELD,) * min(before, after - 1))
        assert highest(server, patient=False) is not Level.confirmed, server


def highest(server: BanningServer, patient: bool) -> Level:
    """The highest level that is reached in some experiments."""
    copy = BanningServer(server.after, server.refuses, server.window, server.banned)
    copy.refusals = server.refusals
    sure, levels = Confidence(), [Level.none]
    for trials in experiments(copy, Random(1), patient):
        sure = sure.after(trials, NORMAL)
        levels += [sure.level, interpret(trials, NORMAL).level]
    return Level.confirmed if Level.confirmed in levels else levels[-1]


def test_the_second_refusal_that_alone_has_an_effect_is_told_to_be_something_that_counts():
    server = BanningServer(after=2)
    (trials, *_) = experiments(server, Random(1), patient=False)
    assert Code.residual_at_times() in interpret(trials, NORMAL).evidence
