"""However often it is asked, the account of suspicious handshakes is never overdrawn."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.sni_budget import MAX_HOSTS, SniBudget

PACE = DiagnosisTiming(suspicious_most=6, suspicious_window=600.0)
STEPS = st.lists(
    st.tuples(st.sampled_from(["a.test", "b.test"]), st.floats(0.0, 300.0)), max_size=120
)


@given(STEPS)
def test_no_window_holds_more_than_allowed_and_none_is_refused_without_need(steps):
    budget, now = SniBudget(PACE), 1000.0
    spent: dict[str, list[float]] = {"a.test": [], "b.test": []}
    for hostname, pause in steps:
        now += pause
        recent = [at for at in spent[hostname] if at + PACE.suspicious_window > now]
        free_at = budget.free_at(hostname, now)
        allowed = budget.spend(hostname, now)
        assert allowed == (len(recent) < PACE.suspicious_most) == (free_at == now)
        if allowed:
            spent[hostname].append(now)
        else:
            assert now < free_at <= now + PACE.suspicious_window


@given(STEPS)
def test_every_handshake_that_waits_until_the_name_is_free_gets_its_turn(steps):
    budget, now = SniBudget(PACE), 0.0
    for hostname, pause in steps:
        now = budget.free_at(hostname, now + pause)
        assert budget.spend(hostname, now)


@given(st.integers(1, 50))
def test_the_memory_is_bounded_and_the_longest_quiet_host_is_forgotten(more):
    budget = SniBudget(PACE)
    for number in range(PACE.suspicious_most):
        assert budget.spend("loud.test", float(number))
    for number in range(MAX_HOSTS - 1):
        budget.spend(f"{number}.test", 10.0)
    assert budget.free_at("loud.test", 10.0) > 10.0
    for number in range(more):
        budget.spend(f"more-{number}.test", 10.0)
    assert budget.free_at("loud.test", 10.0) == 10.0
