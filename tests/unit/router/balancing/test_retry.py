"""Retries: permission and cost."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.balancing.config import RetryConfig
from router.balancing.failure import TRAITS, Done, Failure
from router.balancing.retry import (
    ALLOWED,
    Advice,
    Commit,
    Repeat,
    RetryBudget,
    Tries,
    Why,
    advice,
    decide,
    has_another_chance,
    repeat_of,
)

RULES = RetryConfig()
FREELY, ONCE, NEVER = Repeat.freely, Repeat.once, Repeat.never


def _decide(
    failure: Failure,
    commit: Commit,
    repeat: Repeat,
    rules: RetryConfig = RULES,
    *,
    replayable: bool = True,
    should_retry: bool | None = None,
) -> Why:
    budget = RetryBudget(rules.budget)
    return decide(
        failure,
        commit,
        Tries(repeat, began=0.0),
        rules,
        budget,
        1.0,
        replayable=replayable,
        should_retry=should_retry,
    )


@pytest.mark.parametrize(
    ("failure", "commit", "freely", "once", "never"),
    [
        (Failure.resolve, Commit.nothing_sent, Why.free, Why.free, Why.free),
        (Failure.connect, Commit.nothing_sent, Why.free, Why.free, Why.free),
        (Failure.tls, Commit.nothing_sent, Why.free, Why.free, Why.free),
        (Failure.timeout, Commit.nothing_sent, Why.free, Why.free, Why.free),
        (Failure.stale, Commit.request_sent, Why.free, Why.free, Why.never),
        (Failure.broken, Commit.request_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.timeout, Commit.request_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.malformed, Commit.request_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.slow, Commit.request_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.server_error, Commit.head_received, Why.paid, Why.ambiguous, Why.never),
        (Failure.gateway, Commit.head_received, Why.paid, Why.ambiguous, Why.never),
        (Failure.overloaded, Commit.head_received, Why.paid, Why.paid, Why.never),
        (Failure.limited, Commit.head_received, Why.paid, Why.paid, Why.never),
        (Failure.key_refused, Commit.head_received, Why.paid, Why.paid, Why.never),
        (Failure.challenge, Commit.head_received, Why.paid, Why.paid, Why.never),
        (Failure.page, Commit.head_received, Why.paid, Why.paid, Why.never),
        (Failure.error_event, Commit.comments_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.empty, Commit.comments_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.content_timeout, Commit.comments_sent, Why.paid, Why.ambiguous, Why.never),
        (Failure.cut, Commit.content_sent, Why.committed, Why.committed, Why.committed),
        (Failure.stalled, Commit.content_sent, Why.committed, Why.committed, Why.committed),
        (Failure.connect, Commit.request_sent, Why.paid, Why.ambiguous, Why.never),
    ],
)
def test_the_table(failure: Failure, commit: Commit, freely: Why, once: Why, never: Why) -> None:
    got = [_decide(failure, commit, repeat) for repeat in (FREELY, ONCE, NEVER)]
    assert got == [freely, once, never]


@pytest.mark.parametrize("failure", sorted(Failure))
@pytest.mark.parametrize("repeat", sorted(Repeat))
def test_nothing_is_tried_once_the_client_has_content(failure: Failure, repeat: Repeat) -> None:
    assert _decide(failure, Commit.content_sent, repeat) is Why.committed


@pytest.mark.parametrize(
    ("method", "endpoint", "options", "repeat"),
    [
        (b"GET", "models", {}, FREELY),
        (b"HEAD", "files", {}, FREELY),
        (b"GET", "files", {"stored": True}, FREELY),
        (b"POST", "chat", {}, ONCE),
        (b"POST", "completions", {}, ONCE),
        (b"POST", "embeddings", {}, ONCE),
        (b"POST", "moderations", {}, ONCE),
        (b"POST", "responses", {}, ONCE),
        (b"POST", "responses", {"stored": True}, NEVER),
        (b"POST", "chat", {"multipart": True}, NEVER),
        (b"DELETE", "responses", {}, NEVER),
        (b"PUT", "chat", {}, NEVER),
        *(
            (b"POST", endpoint, {}, NEVER)
            for endpoint in (
                "files",
                "uploads",
                "batches",
                "fine_tuning",
                "images",
                "audio",
                "videos",
                "threads",
                "assistants",
                "vector_stores",
                "realtime",
                "other",
            )
        ),
    ],
)
def test_repeatability_follows_method_and_endpoint(
    method: bytes, endpoint: str, options: dict[str, bool], repeat: Repeat
) -> None:
    assert repeat_of(method, endpoint, **options) is repeat


def test_an_ambiguous_failure_is_repeated_once_in_a_request() -> None:
    tries, budget = Tries(ONCE, 0.0), RetryBudget(0.2)
    rules = RetryConfig(attempts=10)
    fail = (Failure.server_error, Failure.overloaded, Failure.server_error, Failure.overloaded)
    got = [
        decide(f, Commit.head_received, tries, rules, budget, 1.0, replayable=True) for f in fail
    ]
    assert got == [Why.ambiguous, Why.paid, Why.again, Why.paid]
    assert tries.ambiguous == 1


@pytest.mark.parametrize(
    ("repeat", "attempts", "ambiguous", "expected"),
    [
        (ONCE, 0, 0, True),
        (ONCE, 1, 0, True),
        (ONCE, 1, 1, False),
        (ONCE, 2, 0, False),
        (FREELY, 1, 1, True),
        (FREELY, 2, 0, False),
    ],
)
def test_a_request_knows_when_its_next_attempt_may_be_its_last(
    repeat: Repeat, attempts: int, ambiguous: int, expected: bool
) -> None:
    tries = Tries(repeat, 0.0, attempts=attempts, ambiguous=ambiguous)
    assert has_another_chance(tries, RULES) is expected


def test_the_operator_may_forbid_to_repeat_what_may_have_been_done() -> None:
    rules = RetryConfig(ambiguous="never")
    assert _decide(Failure.server_error, Commit.head_received, ONCE, rules) is Why.never
    assert _decide(Failure.overloaded, Commit.head_received, ONCE, rules) is Why.paid
    assert _decide(Failure.server_error, Commit.head_received, FREELY, rules) is Why.paid


def test_the_failed_response_itself_may_say_whether_to_try_again() -> None:
    error = (Failure.server_error, Commit.head_received, ONCE)
    assert _decide(*error, should_retry=True) is Why.paid
    assert _decide(*error, should_retry=False) is Why.never
    assert (
        _decide(Failure.server_error, Commit.head_received, NEVER, should_retry=True) is Why.never
    )


def test_without_its_body_only_what_was_not_sent_goes_on() -> None:
    assert _decide(Failure.connect, Commit.nothing_sent, ONCE, replayable=False) is Why.free
    for failure in (Failure.stale, Failure.overloaded, Failure.server_error):
        assert _decide(failure, Commit.request_sent, ONCE, replayable=False) is Why.body_gone


def test_three_attempts_and_stale_connections_are_none() -> None:
    tries, budget = Tries(FREELY, 0.0), RetryBudget(0.2)
    fail = [Failure.stale, Failure.connect, Failure.stale, Failure.connect, Failure.connect]
    got = [decide(f, Commit.nothing_sent, tries, RULES, budget, 1.0, replayable=True) for f in fail]
    assert got == [Why.free] * 4 + [Why.attempts]


@pytest.mark.parametrize(
    ("now", "ends_at", "why"),
    [
        (599.0, 1e9, Why.free),
        (600.0, 1e9, Why.elapsed),
        (5.0, 6.5, Why.free),
        (5.0, 5.9, Why.elapsed),
    ],
)
def test_no_attempt_begins_late(now: float, ends_at: float, why: Why) -> None:
    tries = Tries(ONCE, began=0.0, ends_at=ends_at)
    budget = RetryBudget(0.2)
    got = decide(Failure.connect, Commit.nothing_sent, tries, RULES, budget, now, replayable=True)
    assert got is why


def test_the_budget_is_a_fifth_of_ten_seconds_requests_but_ten_at_least() -> None:
    budget = RetryBudget(0.2)
    assert sum(budget.take(100.0) for _ in range(50)) == 10
    for _ in range(500):
        budget.request(101.0)
    assert sum(budget.take(101.0) for _ in range(500)) == 90
    assert not budget.take(105.0)
    assert sum(budget.take(120.0) for _ in range(50)) == 10


def test_a_region_ban_costs_no_budget() -> None:
    budget = RetryBudget(0.0)
    while budget.take(0.0):
        pass
    for failure, why in ((Failure.region_refused, Why.free), (Failure.caller_refused, Why.budget)):
        tries = Tries(ONCE, began=0.0)
        assert (
            decide(failure, Commit.head_received, tries, RULES, budget, 0.0, replayable=True) is why
        )


def test_retries_of_unsent_requests_cost_no_budget() -> None:
    budget = RetryBudget(0.0)
    while budget.take(1.0):
        pass
    for failure, why in ((Failure.connect, Why.free), (Failure.overloaded, Why.budget)):
        commit = Commit.nothing_sent if why is Why.free else Commit.head_received
        tries = Tries(ONCE, 0.0)
        assert decide(failure, commit, tries, RULES, budget, 1.0, replayable=True) is why


@pytest.mark.parametrize(
    ("tried", "wait", "expected"),
    [
        (False, None, Advice(None, None)),
        (True, None, Advice(None, False)),
        (True, 0.2, Advice(1, None)),
        (True, 60.0, Advice(60, None)),
        (True, 60.1, Advice(61, False)),
        (False, 3600.0, Advice(3600, None)),
    ],
)
def test_the_advice_to_clients_follows_tries_and_wait(
    tried: bool, wait: float | None, expected: Advice
) -> None:
    assert advice(tried, wait) == expected


SITUATIONS = list(
    itertools.product(
        Failure,
        (Commit.nothing_sent, Commit.request_sent, Commit.head_received, Commit.comments_sent),
    )
)


@given(
    st.lists(st.tuples(st.sampled_from(SITUATIONS), st.floats(0, 20), st.booleans())),
    st.sampled_from(Repeat),
    st.sampled_from(("once", "never")),
    st.integers(1, 10),
)
def test_no_request_is_sent_more_often_than_it_may_be(
    course: list[tuple[tuple[Failure, Commit], float, bool]],
    repeat: Repeat,
    ambiguous: str,
    attempts: int,
) -> None:
    rules = RetryConfig(attempts=attempts, ambiguous=ambiguous)  # type: ignore[arg-type]
    tries, budget, now = Tries(repeat, 0.0), RetryBudget(0.2), 0.0
    sent = perhaps_done = counted = 0
    for (failure, commit), later, replayable in course:
        now += later
        counted += failure is not Failure.stale
        done = TRAITS[failure].done
        sent += commit > Commit.nothing_sent and done is not Done.rejected
        perhaps_done += commit > Commit.nothing_sent and done in (Done.perhaps, Done.unsent)
        why = decide(failure, commit, tries, rules, budget, now, replayable=replayable)
        if why not in ALLOWED:
            break
        assert now < rules.elapsed
        assert counted < attempts
        assert sent == 0 or (repeat is not NEVER and replayable)
        assert repeat is FREELY or perhaps_done <= (1 if ambiguous == "once" else 0)
