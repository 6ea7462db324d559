"""Whatever server and firewall there are, the experiment is careful, ends, and blames nobody."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from monitor.diagnosis.confidence import Confidence
from monitor.diagnosis.finding import Level
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.timing import NORMAL
from monitor.probes.trial_results import CUT, Role
from tests.testkit.censor.simulated_endpoint import PretendEndpoint, experiment, hello, trial

endings = st.sampled_from(["", "reset", "eof", "silence"])
endpoints = st.builds(
    PretendEndpoint,
    name_cut=endings,
    cut_after=st.sampled_from([0.01, 0.06]),
    residual=st.sampled_from([0.0, 60.0, 180.0, 350.0, 9999.0]),
    all_cut=st.sampled_from(["", "", "", "reset", "silence"]),
    bytes_cut=endings,
    strangers_cut=endings,
    refused=st.sampled_from(["", "", "", "connection_refused"]),
    contaminated_until=st.sampled_from([-1.0, 1000.5, 1100.0, 9999.0]),
)
T, C = Role.target, Role.control
WHOLE = (T, C, T, C, C, T)
BLOCKS = {"sni_block_rst", "sni_block_fin", "sni_block_drop"}


@given(endpoints, st.integers(), st.booleans(), st.booleans())
def test_it_ends_and_never_sends_the_name_into_a_hold(endpoint, seed, first, patient):
    trials, _ = experiment(endpoint, NORMAL, Random(seed), first=first, patient=patient)
    assert len(trials) <= 16
    cuts = [n for n, t in enumerate(trials) if t.role is Role.target and t.outcome in CUT]
    for earlier, later in pairwise(cuts):
        waited = trials[later].at - trials[earlier].sent_at >= NORMAL.residual_hold
        is_open = trials[later - 1].answered and trials[earlier + 1].answered
        assert waited or is_open or not patient
    for before, this in pairwise(trials):
        if this.role is Role.target and not patient and first:
            assert before.answered, "an impatient one goes on only after an answered control"


@given(endpoints, st.integers(), st.booleans(), st.booleans())
def test_a_name_that_is_not_cut_off_is_never_called_blocked(endpoint, seed, first, patient):
    endpoint.name_cut = ""
    trials, _ = experiment(endpoint, NORMAL, Random(seed), first=first, patient=patient)
    finding = interpret(trials, NORMAL)
    assert finding.verdict not in BLOCKS
    assert finding.evidence


@given(endpoints, st.integers(), st.booleans())
def test_only_a_blocked_name_is_confirmed_as_blocked(endpoint, seed, first):
    trials, _ = experiment(endpoint, NORMAL, Random(seed), first=first)
    finding = interpret(trials, NORMAL)
    if finding.level is Level.confirmed:
        assert endpoint.name_cut
        assert not endpoint.all_cut
        assert not endpoint.refused
        assert finding.verdict in BLOCKS
        assert endpoint.residual or endpoint.cut_after < 0.035, "else the server may have done it"


@given(st.lists(st.sampled_from(["ok", "fail", "discarded"])), st.sampled_from([0.0, 0.07]))
def test_confidence_is_bounded_and_follows_net_failures(events, anchors):
    sure, net = Confidence(), 0
    most, needed = (5, 5) if anchors else (3, 2)
    for event in events:
        early = hello("reset", since_hello=0.01)
        trials = [trial(Role.control, hello()), trial(Role.target, early)]
        if event == "ok":
            trials = [trial(Role.target, hello())]
            net = max(net - 1, -1)
        elif event == "fail":
            net = min(max(net, 0) + 1, most)
        share = 0.5 if event == "discarded" else anchors
        sure = sure.after(trials, NORMAL, anchor_failures=share)
        assert sure.net == net
        assert (sure.level is Level.confirmed) == (net >= needed)


@given(st.data())
def test_random_faults_of_one_in_twenty_confirm_next_to_nothing(data):
    """Five in a hundred hellos of any name are reset at random; no name is blocked."""
    rng = Random(data.draw(st.integers()))
    confirmed = 0
    for _ in range(50):
        trials = [trial(r, hello("reset" if rng.random() < 0.05 else "")) for r in WHOLE]
        confirmed += interpret(trials, NORMAL).level is Level.confirmed
    assert confirmed <= 1
