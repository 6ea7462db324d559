"""Reactions to verdicts, and their durations."""

from random import Random

import pytest

from monitor.diagnosis.reactions import Scope, hold_after
from monitor.diagnosis.timing import NORMAL
from monitor.diagnosis.verdicts import reaction_to


@pytest.mark.parametrize("verdict", ["sni_block_rst", "sni_block_fin", "sni_block_drop"])
def test_a_blocked_name_is_left_together_with_its_address(verdict):
    reaction = reaction_to(verdict)
    assert reaction.change_hostname
    assert reaction.change_address
    assert reaction.quarantine
    assert (reaction.hold, reaction.hold_max) == (185, 185), "so that the end of it is noticed soon"


@pytest.mark.parametrize(
    ("verdict", "scope", "hold", "most"),
    [
        ("connection_refused", Scope.path, 30, 300),
        ("ip_unreachable", Scope.path, 120, 1800),
        ("ip_port_block", Scope.endpoint, 300, 3600),
        ("tls_timeout", Scope.path, 30, 300),
        ("dns_down", Scope.hostname, 60, 900),
        ("cdn_challenge", Scope.mirror, 300, 1800),
        ("cdn_origin_error", Scope.cdn, 30, 300),
        ("upstream_overloaded", Scope.mirror, 5, 120),
    ],
)
def test_a_verdict_concerns_what_it_is_about(verdict, scope, hold, most):
    reaction = reaction_to(verdict)
    assert (reaction.scope, reaction.hold, reaction.hold_max) == (scope, hold, most)


def test_verdicts_on_other_parts_do_not_eject_the_mirror():
    for verdict in ("dns_blocked", "dns_poisoned", "dns_inconsistent", "local_network_down"):
        assert reaction_to(verdict).scope is Scope.none
    assert reaction_to("throttled").weight == 0.2
    assert reaction_to("byte_cap_freeze").streaming < 1
    assert not reaction_to("byte_cap_freeze").change_hostname
    assert not reaction_to("no_such_verdict").hold


def test_certificates_that_do_not_verify_alert_and_never_carry_a_key():
    for verdict in ("tls_mitm", "cert_expired", "ssl_invalid_hostname", "ssl_unknown_authority"):
        assert reaction_to(verdict).alert
        assert reaction_to(verdict).hold > 0


@pytest.mark.parametrize(("repeats", "around"), [(1, 120), (2, 240), (3, 480), (9, 1800)])
def test_holds_double_up_to_their_maximum_and_vary(repeats, around):
    holds = [
        hold_after(reaction_to("ip_unreachable"), repeats, Random(seed), NORMAL)
        for seed in range(50)
    ]
    assert all(around * 0.85 <= hold <= around * 1.15 for hold in holds)
    assert max(holds) - min(holds) > around * 0.2


def test_a_server_that_says_when_to_come_back_is_obeyed_within_limits():
    limited = reaction_to("upstream_rate_limited")
    assert hold_after(limited, 1, Random(1), NORMAL, retry_after=42.0) == 42
    assert hold_after(limited, 1, Random(1), NORMAL, retry_after=1e9) == 900
    assert hold_after(limited, 1, Random(1), NORMAL, retry_after=-1.0) == 0
