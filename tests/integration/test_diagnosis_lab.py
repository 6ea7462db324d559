"""Diagnoses of interference that only a kernel can make: in a lab of network namespaces."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testkit.censor.netns import (
    RESET,
    SERVERS,
    SILENCE,
    Diagnosis,
    Lab,
    Rules,
    block,
    drop_syn,
    lose,
    prohibit,
    refuse,
    remember,
)
from tests.testkit.certs import Authority

ONE, TWO = SERVERS
BLOCKED, CONTROL = "blocked.mirror.test", "control.mirror.test"
REMEMBERED, HOLD = 2.5, 3.0
"""Seconds that the censor remembers, longer than a handshake is waited for, and that the monitor
takes it to."""

EFFECTS = [
    (RESET, "sni_block_rst"),
    pytest.param(SILENCE, "sni_block_drop", marks=pytest.mark.prove),
]
"""Silence takes half a minute: it is in every run of the relay's matrix, and here in long ones."""


@pytest.fixture(scope="module")
def lab(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), authority) as lab:
        yield lab


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        (drop_syn(ONE), "ip_unreachable"),
        (prohibit(ONE), "ip_unreachable"),
        (refuse(ONE), "connection_refused"),
    ],
    ids=["SYNs dropped", "ICMP prohibited", "refused"],
)
def test_a_blocked_address_is_not_taken_for_a_blocked_name(lab: Lab, rules: Rules, verdict: str):
    lab.load(rules)
    assert lab.diagnose(ONE, BLOCKED, hold=HOLD).verdict == verdict
    assert lab.diagnose(TWO, BLOCKED, hold=HOLD).verdict == "ok"


@pytest.mark.parametrize(("effect", "verdict"), EFFECTS)
def test_a_blocked_name_is_told_by_its_control(lab: Lab, effect: str, verdict: str):
    lab.load(block(BLOCKED, effect))
    # Without a round trip to speak of, a reset may be the server's; a lost hello never is.
    sure = effect == SILENCE
    level = "confirmed" if sure else "suspected"
    expected = Diagnosis(verdict, level, residual=False, confirmed_block=sure)
    assert lab.diagnose(ONE, BLOCKED, hold=HOLD) == expected
    assert lab.diagnose(ONE, CONTROL, hold=HOLD).verdict == "ok"


@pytest.mark.parametrize(("effect", "verdict"), EFFECTS)
def test_a_block_that_is_remembered_is_waited_out(lab: Lab, effect: str, verdict: str):
    lab.load(remember(BLOCKED, REMEMBERED, effect))
    found = lab.diagnose(ONE, BLOCKED, hold=HOLD)
    assert (found.verdict, found.level) == (verdict, "confirmed")
    # In silence the handshake and the control after it last longer than the censor remembers.
    assert found.residual or effect == SILENCE
    assert lab.diagnose(TWO, CONTROL, hold=HOLD).verdict == "ok"


def test_after_silence_the_kernel_does_not_go_on_naming_the_host(lab: Lab):
    """A socket that is closed with unacknowledged data sends them again, for minutes."""
    lab.load(block(BLOCKED, SILENCE))
    assert lab.ask(ONE, BLOCKED, handshake=0.3).failure == "generic_timeout_error"
    assert lab.sockets() == []


def test_a_lossy_link_is_no_block(lab: Lab):
    lab.load(lose(20))
    for address in SERVERS:
        assert not lab.diagnose(address, BLOCKED, hold=HOLD, probes=10).confirmed_block


@pytest.mark.parametrize("style", ["gfw", pytest.param("henan", marks=pytest.mark.prove)])
def test_forged_resets_of_a_bystander_are_a_block(authority: Authority, tmp_path: Path, style: str):
    with Lab(tmp_path, authority, delay=0.5) as lab:
        lab.inject(BLOCKED, residual=REMEMBERED if style == "gfw" else 0.0, style=style)
        found = lab.diagnose(ONE, BLOCKED, hold=HOLD)
        remembers = style == "gfw"
        assert (found.verdict, found.residual) == ("sni_block_rst", remembers)
        assert found.level == ("confirmed" if remembers else "suspected")
