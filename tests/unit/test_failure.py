"""What may be tried again."""

from __future__ import annotations

import pytest

from router.choice.failure import NOTHING_SENT, Failure, may_retry


@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("failure", sorted(NOTHING_SENT))
def test_what_was_never_sent_may_always_go_elsewhere(failure: Failure, replayable: bool) -> None:
    assert may_retry(failure, replayable)


def test_a_stale_connection_may_be_replaced_while_the_body_is_at_hand() -> None:
    assert may_retry(Failure.stale, True)
    assert not may_retry(Failure.stale, False)


@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("failure", sorted(set(Failure) - NOTHING_SENT - {Failure.stale}))
def test_what_a_mirror_may_have_done_is_not_repeated(failure: Failure, replayable: bool) -> None:
    assert not may_retry(failure, replayable)
