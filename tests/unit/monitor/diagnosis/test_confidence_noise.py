"""False positives on a network that resets hellos at random."""

from random import Random

import pytest

from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.finding import Level
from monitor.diagnosis.timing import NORMAL
from monitor.probes.trial_results import Role
from tests.testkit.censor.simulated_endpoint import PretendEndpoint, experiment, hello, trial

PATHS = 1000
EXPERIMENTS = 5
"""Each of which began with a handshake that had failed."""
CAUSE = trial(Role.target, hello("reset"))


class NoisyEndpoint(PretendEndpoint):
    """Resets any hello by chance."""

    def __init__(self, share: float, rng: Random) -> None:
        super().__init__()
        self._share, self._rng = share, rng

    def meet(self, role, sni, now):
        lost = self._rng.random() < self._share
        return hello("reset") if lost else super().meet(role, sni, now)


def believed_of(noise: float, seed: int) -> Level:
    """The highest level that is reached."""
    rng, sure = Random(seed), Confidence()
    for _ in range(EXPERIMENTS):
        trials, _ = experiment(NoisyEndpoint(noise, rng), NORMAL, rng)
        sure = sure.after([CAUSE, *trials], NORMAL)
        if sure.level is Level.confirmed:
            break
    return sure.level


def confirmed(noise: float) -> int:
    """Of all paths, those that are called blocked within five experiments."""
    return sum(believed_of(noise, seed) is Level.confirmed for seed in range(PATHS))


@pytest.mark.parametrize(("noise", "most"), [(0.05, 0.0), (0.1, 0.001), (0.2, 0.005)])
def test_a_free_path_is_seldom_called_blocked(noise, most):
    assert confirmed(noise) <= most * PATHS


@pytest.mark.parametrize("ending", ["reset", "eof", "silence"])
def test_a_block_that_is_remembered_is_called_so_within_two_residual_times_and_a_minute(ending):
    for seed in range(50):
        endpoint = PretendEndpoint(name_cut=ending, residual=180.0)
        trials, _ = experiment(endpoint, NORMAL, Random(seed), first=True)
        assert Confidence().after(trials, NORMAL).level is Level.confirmed
        assert trials[-1].at - trials[0].at < 2 * 180.0 + 60.0


def test_a_reset_that_only_a_censor_can_send_is_called_so_at_once_where_nothing_is_shut():
    endpoint = PretendEndpoint(name_cut="reset", cut_after=0.01)
    trials, _ = experiment(endpoint, NORMAL, Random(1))
    assert Confidence().after(trials, NORMAL).level is Level.confirmed
    assert trials[-1].at - trials[0].at < 5.0
