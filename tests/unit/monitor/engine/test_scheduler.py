"""Times between two probes of a mirror."""

import random

from monitor.engine.scheduler import Next, pause_before_next, share_of_interval


def test_a_doubtful_result_is_checked_again_soon():
    assert pause_before_next(15.0, Next.soon, share=1.2) == 3.0
    assert pause_before_next(60.0, Next.soon, share=1.2) == 3.0
    assert pause_before_next(1.0, Next.soon, share=1.2) == 0.2
    assert pause_before_next(15.0, Next.usual, share=1.2) == 18.0
    assert pause_before_next(15.0, Next.returning, share=1.2) == 1.0
    assert pause_before_next(1.0, Next.returning, share=1.2) == 0.2


def test_probes_are_jittered_and_spread_after_the_start():
    rng = random.Random(1)
    later = [share_of_interval(False, rng) for _ in range(500)]
    assert 0.8 <= min(later) < 0.85
    assert 1.15 < max(later) <= 1.2
    first = [share_of_interval(True, rng) for _ in range(500)]
    assert min(first) < 0.25
    assert 0.95 < max(first) <= 1.0
