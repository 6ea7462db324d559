"""The lab's censor must look to a real client as a real one would: to the kernel, not to Python."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testkit.censor.netns import (
    SERVERS,
    SILENCE,
    Lab,
    block,
    drop_syn,
    lose,
    police,
    prohibit,
    refuse,
    remember,
)
from tests.testkit.certs import Authority
from tests.testkit.processes import children_of
from tests.testkit.wait import wait_until

ONE, TWO = SERVERS
BLOCKED, CONTROL = "blocked.mirror.test", "control.mirror.test"
REMEMBERED = 2.0
"""Seconds; long enough for the few handshakes in between on a slow machine."""
SILENT = 0.3
"""Seconds that are waited where nothing will come."""


@pytest.fixture(scope="module")
def whole_lab(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), authority) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: Lab) -> Iterator[Lab]:
    """The lab without any rules."""
    whole_lab.load()
    yield whole_lab
    whole_lab.load()


def test_without_rules_both_addresses_answer(lab: Lab):
    for address in SERVERS:
        met = lab.ask(address, BLOCKED, download=10.0)
        assert (met.failure, met.body) == (None, 200_000)


@pytest.mark.parametrize(
    ("rules", "failure"),
    [
        (drop_syn(ONE), "generic_timeout_error"),
        (refuse(ONE), "connection_refused"),
        (prohibit(ONE), "host_unreachable"),
    ],
    ids=["dropped", "refused", "prohibited"],
)
def test_an_address_can_be_blocked_before_any_byte(lab: Lab, rules, failure: str):
    lab.load(rules)
    patience = {"connect": SILENT} if failure == "generic_timeout_error" else {}
    met = lab.ask(ONE, CONTROL, **patience)
    assert (met.operation, met.failure) == ("connect", failure)
    assert lab.ask(TWO, CONTROL).failure is None


@pytest.mark.parametrize(
    ("rules", "failure"),
    [
        (block(BLOCKED), "connection_reset"),
        (block(BLOCKED, SILENCE), "generic_timeout_error"),
    ],
    ids=["reset", "silence"],
)
def test_a_named_host_is_blocked_and_nobody_is_remembered(lab: Lab, rules, failure: str):
    lab.load(rules)
    patience = {"handshake": SILENT} if failure == "generic_timeout_error" else {}
    met = lab.ask(ONE, BLOCKED, **patience)
    assert (met.operation, met.failure, met.received) == ("tls_handshake", failure, 0)
    assert lab.ask(ONE, CONTROL).failure is None


@pytest.mark.parametrize(
    ("effect", "first", "then"),
    [
        ("reject with tcp reset", "connection_reset", "connection_refused"),
        (SILENCE, "generic_timeout_error", "generic_timeout_error"),
    ],
    ids=["reset", "silence"],
)
def test_a_residual_block_hits_connect_at_the_same_address(
    lab: Lab, effect: str, first: str, then: str
):
    lab.load(remember(BLOCKED, REMEMBERED, effect))
    assert lab.ask(ONE, BLOCKED, handshake=SILENT).failure == first
    residual = lab.ask(ONE, CONTROL, connect=SILENT)
    assert (residual.operation, residual.failure) == ("connect", then)
    assert lab.ask(TWO, CONTROL).failure is None
    _wait_until_forgotten(lab)


def test_a_policed_name_is_slow_and_another_is_not(lab: Lab):
    lab.load(police(BLOCKED, 16))
    slow = lab.ask(ONE, BLOCKED, download=2.0)
    fast = lab.ask(ONE, CONTROL, download=10.0)
    assert slow.body < 200_000
    assert fast.body == 200_000
    assert slow.rate < 40_000 < fast.rate


@pytest.mark.timeout(300)
def test_a_lossy_link_still_works_with_patience(lab: Lab):
    """That a SYN or its answer is lost six times in a row happens once in a million times."""
    lab.load(lose(5))
    for _ in range(500):
        assert lab.ask(ONE, CONTROL, connect=60.0, handshake=60.0).failure is None
        if lab.counted() >= 3:
            return
    pytest.fail("hardly anything was lost")


@pytest.mark.parametrize("style", ["gfw", "henan"])
def test_a_bystander_resets_a_named_host(authority: Authority, tmp_path: Path, style: str):
    with Lab(tmp_path, authority, delay=0.5) as lab:
        lab.inject(BLOCKED, residual=REMEMBERED if style == "gfw" else 0.0, style=style)
        met = lab.ask(ONE, BLOCKED)
        assert (met.operation, met.failure) == ("tls_handshake", "connection_reset")
        after = lab.ask(ONE, CONTROL)
        # Who forges only, and drops nothing, may come before the SYN/ACK or after it.
        refused = {"connection_refused", "connection_reset"}
        assert after.failure in (refused if style == "gfw" else {None})
        assert lab.ask(TWO, CONTROL).failure is None
        _wait_until_forgotten(lab)


def _wait_until_forgotten(lab: Lab) -> None:
    def answers() -> bool:
        return lab.ask(ONE, CONTROL, connect=SILENT).failure is None

    wait_until(answers, 20, "the block to be forgotten")


def test_nothing_is_left_of_a_lab(authority: Authority, tmp_path: Path):
    before = children_of(os.getpid())
    with Lab(tmp_path, authority):
        assert len(children_of(os.getpid())) == len(before) + 5
    assert children_of(os.getpid()) == before
