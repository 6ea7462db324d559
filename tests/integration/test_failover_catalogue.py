"""The sixteen faults of a public catalogue, on real sockets, with its timings and our defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.scenarios import chat_mirror as words
from tests.scenarios import failover_catalogue as catalogue
from tests.scenarios.failover_catalogue import CASES, DOCS, WHY_NO_PASS, Case, play
from tests.scenarios.failover_verdicts import RULES, Measured, Verdict, verdict
from tests.testkit.http_client import read_stream

WHOLE = "whole"
INTERRUPTED = "stream_interrupted in the stream"

EXPECTED = {
    "S01": (WHOLE, 0.0, (1, 1), 1, 0),
    "S01 of the mirror's key": (WHOLE, 0.0, (1, 1), 1, 0),
    "S02": (WHOLE, 0.0, (1, 1), 1, 0),
    "S02 of the mirror's key": (WHOLE, 0.0, (1, 1), 1, 0),
    "S03": (WHOLE, 0.0, (1, 1), 1, 0),
    "S04": (WHOLE, 0.0, (1, 1), 1, 0),
    "S05": (WHOLE, 0.0, (1, 1), 1, 1),
    "S06": (WHOLE, 90.0, (1, 1), 1, 1),
    "S07": (WHOLE, 20.0, (1, 0), 1, 0),
    "S08": (INTERRUPTED, 0.0, (1, 0), 1, 0),
    "S09": (INTERRUPTED, 30.0, (1, 0), 1, 0),
    "S10": ("whole, the malformed event in it", 0.0, (1, 0), 1, 0),
    "S11": (WHOLE, 0.0, (1, 0), 1, 0),
    "S12": ("400 context_length_exceeded", 0.0, (1, 0), 1, 0),
    "S13": ("400 content_policy_violation", 0.0, (1, 0), 1, 0),
    "S14": (INTERRUPTED, 0.0, (1, 0), 1, 0),
    "S16": (WHOLE, 0.0, (1, 1), 1, 0),
}
"""What the client gets, after how many seconds, attempts on both, requests, perhaps twice."""
TURN = 1.2
"""Seconds by which a deadline may be noticed late, and two steps of the clock."""


def _name(case: Case) -> str:
    return f"{case.id} of the mirror's key" if case.mirrors_key else case.id


@pytest.mark.parametrize("case", CASES, ids=_name)
async def test_a_fault_of_the_catalogue_ends_as_well_as_it_can(case: Case) -> None:
    outcome, seconds, asked, requests, twice = EXPECTED[_name(case)]
    seen = await play(case)
    assert (seen.outcome, seen.asked, seen.requests, seen.twice) == (
        outcome,
        asked,
        requests,
        twice,
    )
    assert seconds <= seen.seconds < seconds + TURN


@pytest.mark.parametrize("case", CASES, ids=_name)
async def test_with_no_other_mirror_a_fault_is_one_bounded_clear_error_or_none(case: Case) -> None:
    seen = await play(case, alone=True)
    status, _, code = seen.outcome.partition(" ")
    is_error = status.isdigit() and code not in ("", "None")
    assert seen.outcome.startswith(WHOLE) or is_error or seen.outcome.endswith("in the stream")
    assert seen.seconds < 90.0 + TURN
    assert seen.twice == 0, "nothing was repeated by us"


async def test_a_limit_of_the_callers_own_key_is_passed_on_unchanged_and_waited_for() -> None:
    seen = await play(CASES[0], alone=True)
    first, second = seen.times
    assert second - first >= words.RETRY_AFTER
    (limited,) = [case for case in CASES if _name(case) == "S02"]
    answer = (await play(limited, alone=True)).answer
    assert answer.error["message"] == "The mirror says 429."


async def test_a_cut_answer_is_all_that_came_and_one_error_and_no_end() -> None:
    for case in CASES:
        if case.fault not in (words.cut, words.stall):
            continue
        answer = (await play(case)).answer
        said, errors, done, _ = read_stream(answer.body)
        after = words.CUT_AFTER if case.fault is words.cut else words.STALL_AFTER
        assert said == " ".join(words.WORDS[:after])
        assert [error["code"] for error in errors] == ["stream_interrupted"]
        assert not done
        assert not answer.complete


async def test_a_silent_mirror_is_left_after_one_head_limit_and_the_client_told_meanwhile() -> None:
    (silent,) = [case for case in CASES if case.fault is words.silence]
    answer = (await play(silent)).answer
    assert b'"delta": {}' in answer.body.partition(b"\n\n")[0]
    assert "x-mirrorgate-mirror" not in answer
    early = await play(silent, timeouts={"stream_head": "3s"})
    assert (early.outcome, early.asked) == (WHOLE, (1, 1))
    assert 3.0 <= early.seconds < 3.0 + TURN


async def test_nothing_of_a_refusal_is_changed() -> None:
    for case in CASES:
        if case.id in ("S12", "S13"):
            answer = (await play(case)).answer
            assert answer.error["message"] == "The mirror says 400."
            assert "x-should-retry" not in answer


async def test_an_answer_from_the_other_mirror_says_so_and_what_it_took() -> None:
    (accounted,) = [case for case in CASES if case.id == "S16"]
    answer = (await play(accounted)).answer
    assert answer["x-mirrorgate-mirror"] == "b"
    assert answer["x-mirrorgate-attempts"] == "2"
    assert b'"model": "b"' in answer.body
    assert b'"model": "a"' not in answer.body
    assert b'"total_tokens": 80' in answer.body


async def test_over_an_outage_all_are_served_and_the_recovered_mirror_is_used_soon() -> None:
    seen = await catalogue.outage()
    assert seen.outcomes == [WHOLE] * catalogue.REQUESTS
    assert seen.back_after <= 30.0
    assert seen.longest < TURN
    assert 5 <= seen.failed_attempts <= 9, "five until it is ejected, then trials"


@pytest.mark.parametrize("mirrors_key", [False, True], ids=["callers key", "mirrors key"])
@pytest.mark.parametrize("scenario", RULES)
async def test_no_scenario_is_a_failure_by_the_rules_of_the_bench(
    scenario: str, mirrors_key: bool
) -> None:
    seen = await catalogue.judged(scenario, mirrors_key)
    assert seen is not Verdict.fail, await catalogue.measured(scenario, mirrors_key)
    assert (seen is Verdict.passed) == (scenario not in WHY_NO_PASS)


GOOD = Measured(True, True, 1.0, (0.0,), 1, "b", "b", has_usage=True)


@pytest.mark.parametrize(
    ("scenario", "change", "expected"),
    [
        ("S04", {}, "pass"),
        ("S01", {}, "partial"),
        ("S01", {"asked_at": (0.0, 1.0)}, "partial"),
        ("S01", {"asked_at": (0.0, 2.0)}, "pass"),
        ("S01", {"asked_at": (0.0, 0.5, 1.0)}, "fail"),
        ("S02", {"asked_at": (0.0, 0.5, 1.0, 1.5, 2.0)}, "fail"),
        ("S02", {"asked_at": tuple(range(0, 14, 2))}, "fail"),
        ("S03", {"asked_at": (0.0, 0.5)}, "pass"),
        ("S04", {"seconds": 41.0}, "fail"),
        ("S06", {"seconds": 101.0}, "fail"),
        ("S06", {"asked_at": (0.0, 30.0)}, "partial"),
        ("S07", {"seconds": 20.0}, "partial"),
        ("S08", {"whole": False}, "fail"),
        ("S08", {"whole": False, "succeeded": False}, "safe"),
        ("S09", {"whole": False, "succeeded": False, "seconds": 46.0}, "fail"),
        ("S10", {"alive": False}, "fail"),
        ("S11", {"seconds": 9.0}, "fail"),
        ("S11", {"has_usage": False}, "partial"),
        ("S12", {"succeeded": False, "asked_at": (0.0, 1.0)}, "fail"),
        ("S12", {"succeeded": False}, "safe"),
        ("S13", {"succeeded": False}, "pass"),
        ("S13", {}, "partial"),
        ("S14", {"succeeded": False, "prefill_refused": True}, "fail"),
        ("S15", {"recovered_after": 31.0}, "fail"),
        ("S15", {"served_in_outage": False, "succeeded": False}, "fail"),
        ("S16", {"model": "a"}, "fail"),
    ],
)
def test_the_rules_of_the_bench_tell_good_from_bad(
    scenario: str, change: dict[str, Any], expected: str
) -> None:
    assert verdict(scenario, replace(GOOD, **change)) == expected


async def test_the_page_on_failing_over_says_what_these_faults_lead_to() -> None:
    page = DOCS.read_text("utf-8")
    faults = catalogue.shown(page, catalogue.FAULTS)
    seen = catalogue.without_times(await catalogue.table())
    renew = "python -m tests.scenarios.failover_catalogue"
    assert catalogue.without_times(faults).strip() == seen.strip(), renew
    verdicts = catalogue.shown(page, catalogue.VERDICTS)
    assert verdicts.strip() == (await catalogue.verdicts()).strip(), renew
