"""The cost of a mirror, and its changes."""

from __future__ import annotations

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admission.shared_table import Table, create
from router.balancing.config import BalanceConfig
from router.balancing.load import MOST_BASELINES, Baseline, Baselines, Kind, Load
from router.balancing.window import Window
from router.forwarding.config import RouterConfig
from router.upstream.upstream import Record

CHAT = Kind("chat", stream=True)


def _load(now: float = 0.0, weight: float = 1.0) -> Load:
    return Load(weight, BalanceConfig(), now)


def _sample(load: Load, baseline: Baseline, seconds: float, now: float) -> None:
    ticket = load.begin(baseline, now - seconds)
    ticket.content(now)
    ticket.end()


def test_a_new_mirror_costs_what_the_pool_costs_on_average() -> None:
    assert _load().cost(5.0) == pytest.approx(1.0)


def test_a_slow_answer_counts_at_once_and_a_fast_one_by_and_by() -> None:
    load, baseline = _load(), Baseline(CHAT, 0.0)
    _sample(load, baseline, 4.0, 10.0)
    slow = load.cost(10.0)
    assert slow > 1.5
    for _ in range(5):
        _sample(load, baseline, 0.5, 10.1)
    assert load.cost(10.1) > 0.9 * slow
    for second in range(120):
        _sample(load, baseline, 0.5, 11.0 + second)
    assert load.cost(131.0) < 1.1


def test_one_answer_however_slow_counts_eight_times_the_usual_at_most() -> None:
    load, baseline = _load(), Baseline(CHAT, 0.0)
    _sample(load, baseline, 1000.0, 10.0)
    assert load.cost(10.0) == pytest.approx(8.0)


def test_an_unused_estimate_goes_back_to_the_pools_mean_from_both_sides() -> None:
    slow, fast = _load(), _load()
    baseline = Baseline(CHAT, 0.0)
    _sample(slow, baseline, 5.0, 1.0)
    for second in range(100):
        _sample(fast, Baseline(CHAT, 0.0), 0.2, 1.0 + second)
    assert slow.cost(1.0) > 1.5
    assert fast.cost(100.0) < 0.5
    assert slow.cost(601.0) == pytest.approx(1.0, abs=0.01)
    assert fast.cost(700.0) == pytest.approx(1.0, abs=0.01)


def test_a_request_that_hangs_makes_the_mirror_dear_before_it_has_failed() -> None:
    load, baseline = _load(), Baseline(CHAT, 0.0)
    load.begin(baseline, 0.0)
    assert load.cost(0.5) == pytest.approx(2.0)
    assert load.cost(20.0) == pytest.approx(40.0)


def test_the_longest_wait_is_found_among_kinds_and_when_earlier_ones_end_first() -> None:
    load = _load()
    chat, thinking = Baseline(CHAT, 0.0), Baseline(Kind("chat", True, True), 0.0)
    load.begin(thinking, 0.0)
    first, _second = load.begin(chat, 1.0), load.begin(chat, 2.0)
    assert load.oldest(5.0) == pytest.approx(4.0)
    first.end()
    assert load.oldest(5.0) == pytest.approx(3.0)
    assert load.oldest(100.0) == pytest.approx(98.0)


def test_an_upload_is_not_the_mirrors_time() -> None:
    load, baseline = _load(), Baseline(CHAT, 0.0)
    ticket = load.begin(baseline, 0.0)
    ticket.sent(60.0)
    assert load.oldest(61.0) == pytest.approx(1.0)
    ticket.content(61.0)
    assert load.cost(61.0) < 2.0


def test_streams_weigh_a_fifth_of_those_who_wait() -> None:
    load, baseline = _load(), Baseline(CHAT, 0.0)
    for _ in range(5):
        load.begin(baseline, 1.0).content(2.0)
    assert (load.waiting, load.streaming, load.in_flight) == (0, 5, 5)
    assert load.cost(2.0) == pytest.approx(2.0)


def test_failures_cost_by_the_third_power_and_are_forgotten() -> None:
    load = _load()
    load.failed(1.0, 10.0)
    assert load.cost(10.0) == pytest.approx(8.0)
    load.failed(0.5, 10.0)
    assert load.cost(10.0) == pytest.approx(2.5**3)
    assert load.cost(310.0) == pytest.approx(1.0, abs=0.01)


def test_a_mirror_that_was_unused_for_days_can_be_asked_again() -> None:
    load = _load()
    load.failed(1.0, 10.0)
    assert math.isfinite(load.cost(1e7))


def test_successes_outweigh_a_failure() -> None:
    load = _load()
    for _ in range(99):
        load.succeeded(10.0)
    load.failed(1.0, 10.0)
    assert load.cost(10.0) == pytest.approx((101 / 100) ** 3)


def test_weight_and_probes_are_terms_of_the_cost() -> None:
    load = _load(weight=2.0)
    load.network = 0.5
    assert load.cost(1.0) == pytest.approx(0.75)


def test_after_an_ejection_a_mirror_begins_with_a_tenth_and_without_old_grudges() -> None:
    load = _load()
    for _ in range(5):
        load.failed(1.0, 99.0)
    load.recover(100.0)
    shares = [load.share(100.0 + t) for t in (0, 3, 15, 29.9, 30, 1000)]
    assert shares == pytest.approx([0.1, 0.1, 0.5, 0.997, 1.0, 1.0], abs=0.001)
    load.recover(100.0)
    assert load.cost(100.0) == pytest.approx(1.0), "a candidate less often, and no dearer one"


def test_whole_answers_say_nothing_of_latency_while_there_are_better_samples() -> None:
    load, whole = _load(), Baseline(Kind("chat"), 0.0)
    _sample(load, whole, 20.0, 30.0)
    assert load.cost(30.0) == pytest.approx(1.0)
    _sample(load, whole, 40.0, 90.0)
    assert load.cost(90.0) > 1.5


def test_requests_past_a_limit_are_counted_up_to_two() -> None:
    load, baseline, unknown = _load(), Baseline(CHAT, 0.0), Baseline(Kind("chat", model="new"), 0.0)
    for number in range(100):
        baseline.observe(0.3, float(number))
    for began in (100.0, 101.0, 102.0, 109.0):
        load.begin(baseline, began)
        load.begin(unknown, began)
    assert [load.overdue(now) for now in (110.0, 111.0, 112.0, 130.0)] == [0, 1, 2, 2]


def test_models_of_callers_do_not_fill_the_memory_and_push_out_only_what_was_never_observed() -> (
    None
):
    baselines = Baselines()
    served = Kind("chat", model="served")
    baselines.of(served, 0.0).observe(1.0, 1.0)
    for number in range(3 * MOST_BASELINES):
        baselines.of(Kind("chat", model=f"guess-{number}"), 2.0)
    assert baselines.of(served, 3.0).observed
    for number in range(3 * MOST_BASELINES):
        baselines.of(Kind("chat", model=f"real-{number}"), 4.0 + number).observe(1.0, 5.0 + number)
    assert not baselines.of(served, 9999.0).observed


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (Kind(""), 0.3),
        (Kind("embeddings"), 0.5),
        (CHAT, 1.0),
        (Kind("chat", reasoning=True, stream=True), 10.0),
        (Kind("chat"), 5.0),
    ],
)
def test_each_kind_of_request_has_an_assumed_latency(kind: Kind, seconds: float) -> None:
    assert Baselines().of(kind, 0.0).seconds == pytest.approx(seconds)


def test_a_baseline_finds_the_usual_time_soon_and_follows_slowly() -> None:
    baseline = Baseline(CHAT, 0.0)
    for number in range(30):
        baseline.observe(0.2, number * 0.1)
    assert baseline.seconds == pytest.approx(0.2, rel=0.1)
    baseline.observe(20.0, 3.1)
    assert baseline.seconds < 0.25
    for number in range(1000):
        baseline.observe(0.8, 4.0 + number)
    assert baseline.seconds == pytest.approx(0.8, rel=0.1)
    assert baseline.seconds < baseline.p95 < 2.0


@given(st.lists(st.floats(1e-6, 1e4), min_size=1), st.floats(0, 1e5))
def test_a_baseline_stays_within_what_was_seen(samples: list[float], gap: float) -> None:
    baseline = Baseline(CHAT, 0.0)
    for number, sample in enumerate(samples):
        baseline.observe(sample, number * gap)
    low, high = min([*samples, 1.0]), max([*samples, 1.0])
    assert max(low, 0.001) * 0.999 <= baseline.seconds <= high * 1.001
    assert baseline.p95 >= baseline.seconds * 0.999


EVENTS = st.lists(
    st.tuples(st.sampled_from(("begin", "sent", "content", "end", "good", "bad")), st.floats(0, 30))
)


@given(EVENTS)
def test_tickets_return_to_zero_and_the_cost_stays_positive(
    events: list[tuple[str, float]],
) -> None:
    load, now = _load(), 0.0
    kinds = [Baseline(CHAT, 0.0), Baseline(Kind("chat", True), 0.0)]
    tickets = [load.begin(kinds[0], now)]
    for what, later in events:
        now += later
        ticket = tickets[len(tickets) // 2]
        if what == "begin":
            tickets.append(load.begin(kinds[len(tickets) % 2], now))
        elif what == "sent":
            ticket.sent(now)
        elif what == "content":
            ticket.content(now)
        elif what == "end":
            ticket.end()
        elif what == "good":
            load.succeeded(now)
        else:
            load.failed(1.0, now)
        terms = load.terms(now)
        assert 0 < terms.cost < math.inf
        assert load.in_flight == load.waiting + load.streaming <= len(tickets)
        latency = max(terms.latency, terms.oldest) + terms.network
        queue = terms.waiting + 0.2 * terms.streaming + 1
        whole = latency * queue / (terms.success**3 * terms.weight)
        assert terms.cost == pytest.approx(whole)
    for ticket in [*tickets, *tickets]:
        ticket.end()
    assert load.in_flight == 0
    assert load.oldest(now) == 0.0


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5))))
def test_a_window_forgets_what_is_older_than_itself_and_nothing_younger(
    additions: list[tuple[float, int]],
) -> None:
    window, now = Window(60.0), 0.0
    seen: list[tuple[float, int]] = []
    for later, amount in additions:
        now += later
        window.add(amount, now)
        seen.append((now, amount))
        least = sum(a for at, a in seen if now - at < 55.0)
        most = sum(a for at, a in seen if now - at <= 60.0)
        assert least <= window.sum(now) <= most
    window.clear()
    assert window.sum(now) == 0


def test_an_answer_to_one_worker_is_a_sign_of_life_for_all() -> None:
    fd = create(2)
    try:
        tables = [Table(fd, column, 2) for column in range(2)]
    finally:
        os.close(fd)
    config = RouterConfig()
    one, other = (Record.new("hk", config, table, 0.0).load for table in tables)
    chat, read = Baseline(CHAT, 0.0), Baseline(Kind(""), 0.0)
    one.begin(read, 1.0).content(2.0)
    assert other.answered_at == 0.0, "to list the models is no work"
    one.begin(chat, 1.0).content(5.0)
    assert other.answered_at == one.answered_at == 5.0
    other.note_content(9.0)
    assert one.answered_at == 9.0
    for table in tables:
        table.close()
