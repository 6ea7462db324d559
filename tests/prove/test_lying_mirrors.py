"""Mirrors that lie in each way, two at a time beside two good ones, over 20,000 requests."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.prove.conftest import Measure
from tests.scenarios.lying_mirrors import LEARNT_BY, play

pytestmark = pytest.mark.prove

RATE, TURN = 60.0, 20.0
"""Requests a second, and seconds of `ManualClock` until the next liar comes."""


async def test_nobody_takes_a_lie_for_an_answer_or_pays_twice(measured: Measure) -> None:
    seen = await play(RATE, TURN)
    not_begun = [one for one in seen.ended if one.outcome == "whole" or not one.begun]
    measured("requests", len(seen.ended))
    measured("fates", dict(Counter(one.outcome for one in seen.ended)))
    measured("lost, of those that had not begun to stream", len(seen.lost))
    measured("repeats of what a mirror may have done", seen.ambiguous)
    for stay in seen.stays:
        shares = f"{100 * stay.share(seen.ended, True):.1f}"
        if stay.lie.narrow:
            shares += f" (of others: {100 * stay.share(seen.ended, False):.0f})"
        measured(f"its share after {LEARNT_BY:.0f} s, %: {stay.lie.name}", shares)
    assert len(seen.ended) > 10_000
    assert seen.of("lie") == []
    assert len(seen.lost) <= 0.001 * len(not_begun), seen.lost
    assert seen.billed_twice == []
    assert seen.needless == []
    for stay in seen.stays:
        assert stay.share(seen.ended, True) < 0.03, stay.lie.name
        if stay.lie.narrow:
            assert stay.share(seen.ended, False) > 0.2, stay.lie.name
