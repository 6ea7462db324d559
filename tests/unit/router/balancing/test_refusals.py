"""Memory of what mirrors refuse: who is kept away, for how long, and in how much room."""

from __future__ import annotations

import pytest

from router.balancing import refusals
from router.balancing.failure import Failure
from router.balancing.rate_limit import LENT
from router.balancing.refusals import (
    FIRST_WAIT,
    LONGEST_WAIT,
    MOST_CLIENTS,
    MOST_KEYS,
    MOST_MARKS,
    OF_KEY,
    PATIENCE,
    TRIAL_SECONDS,
    Refusals,
    Said,
    keeps_away,
    plain_path,
    refused,
    try_again,
    words_of,
)

CLIENT, KEY = b"client", b"sk-x"
WHATS = (OF_KEY, "model m")
CHAT = b"/v1/chat/completions"


@pytest.fixture
def known() -> Refusals:
    return Refusals(bytes(16))


def test_a_refusal_keeps_away_longer_each_time_up_to_a_bound(known: Refusals) -> None:
    now, waits = 0.0, []
    for _ in range(7):
        marks = known.learn(CLIENT, KEY, "a", OF_KEY, now)
        until = marks["a", OF_KEY].until
        waits.append(until - now)
        assert keeps_away(marks, "a", WHATS, until - 0.1, True)
        assert not keeps_away(marks, "a", WHATS, until, True)
        now = until
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 480.0, 480.0]
    assert (waits[0], waits[-1]) == (FIRST_WAIT, LONGEST_WAIT)


def test_several_that_meet_one_refusal_do_not_lengthen_it(known: Refusals) -> None:
    for _ in range(5):
        marks = known.learn(CLIENT, KEY, "a", OF_KEY, 1.0)
    assert marks["a", OF_KEY].until == 1.0 + FIRST_WAIT


def test_one_request_tries_again_at_a_time(known: Refusals) -> None:
    marks = known.learn(CLIENT, KEY, "a", OF_KEY, 0.0)
    assert keeps_away(marks, "a", WHATS, FIRST_WAIT + PATIENCE - 1, False), "not an unsafe one"
    assert not keeps_away(marks, "a", WHATS, FIRST_WAIT + PATIENCE, False), "not for ever"
    try_again(marks, "a", WHATS, FIRST_WAIT)
    assert keeps_away(marks, "a", WHATS, FIRST_WAIT + TRIAL_SECONDS - 1, True)
    assert not keeps_away(marks, "a", WHATS, FIRST_WAIT + TRIAL_SECONDS, True), "it was lost"
    known.learn(CLIENT, KEY, "a", OF_KEY, FIRST_WAIT + 1)
    assert marks["a", OF_KEY].until == FIRST_WAIT + 1 + 2 * FIRST_WAIT


def test_only_this_kind_of_request_keeps_away(known: Refusals) -> None:
    marks = known.learn(CLIENT, KEY, "a", "model m", 0.0)
    assert keeps_away(marks, "a", WHATS, 1.0, True)
    assert not keeps_away(marks, "a", (OF_KEY, "model n"), 1.0, True)
    assert not keeps_away(marks, "b", WHATS, 1.0, True)
    assert known.of(CLIENT, b"sk-y") is None
    assert known.of(b"another", KEY) is None


def test_a_mirrors_own_key_is_one_key_whoever_asks(known: Refusals) -> None:
    known.learn(CLIENT, LENT, "a", "model m", 0.0)
    assert known.of(b"another", LENT)


def test_a_success_is_the_end_of_it(known: Refusals) -> None:
    known.learn(CLIENT, KEY, "a", OF_KEY, 0.0)
    known.learn(CLIENT, KEY, "a", "model n", 0.0)
    known.forget(CLIENT, KEY, "a", WHATS)
    assert list(known) == [("a", "model n")]
    known.forget(CLIENT, KEY, "a", (OF_KEY, "model n"))
    assert (len(known), known.some, known.of(CLIENT, KEY)) == (0, False, None)


def test_no_key_is_kept(known: Refusals) -> None:
    known.learn(CLIENT, b"sk-very-secret", "a", OF_KEY, 0.0)
    held = repr([(name, client.keys) for name, client in known._clients.items()])
    assert "very-secret" not in held


def test_a_client_has_a_bounded_share_and_takes_nothing_from_others(known: Refusals) -> None:
    known.learn(b"honest", KEY, "a", OF_KEY, 0.0)
    for number in range(10 * MOST_KEYS):
        known.learn(CLIENT, b"sk-%d" % number, "a", OF_KEY, 0.0)
    assert len(known) == MOST_KEYS + 1
    assert known.of(b"honest", KEY)
    for number in range(10 * MOST_MARKS):
        known.learn(CLIENT, b"sk-1", "a", f"model {number}", 0.0)
    assert len(known.of(CLIENT, b"sk-1") or ()) == MOST_MARKS
    assert known.of(b"honest", KEY)


def test_all_of_it_is_bounded(known: Refusals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST_IN_ALL", 800)
    for client in range(MOST_CLIENTS + 10):
        for model in range(3):
            known.learn(b"%d" % client, KEY, "a", f"model {model}", 0.0)
    assert len(known) == len(list(known)) <= 800
    assert known.of(b"%d" % (MOST_CLIENTS + 9), KEY), "the newest is there"
    known.keep(frozenset("b"))
    assert (len(known), known.some) == (0, False)


@pytest.mark.parametrize(
    ("status", "body", "own_key", "meaning"),
    [
        (401, b"", True, Failure.caller_refused),
        (401, b"", False, None),
        (403, b'{"error": {"code": "content_filter"}}', True, None),
        (403, b'{"error": {"code": "unsupported_country_region_territory"}}', True,
         Failure.region_refused),
        (400, b'{"error": {"code": "invalid_value"}}', True, None),
        (400, b'{"error": {"message": "insufficient_quota m model"}}', True, None),
        (400, b'{"error": {"type": "insufficient_user_quota"}}', True, Failure.caller_refused),
        (404, b'{"error": {"code": "model_not_found"}}', False, Failure.no_model),
        (404, b'{"error": "model \'m\' not found"}', True, Failure.no_model),
        (404, b'{"error": {"type": "not_found_error", "message": "model: m"}}', True,
         Failure.no_model),
        (404, b'{"error": {"code": "previous_response_not_found"}}', True, None),
        (404, b"nothing here", False, Failure.no_endpoint),
        (404, b"[]", True, Failure.no_endpoint),
        (405, b'{"detail": "Method Not Allowed"}', True, Failure.no_endpoint),
        (404, b'{"error": {"code": "unknown_url"}}', True, Failure.no_endpoint),
        (501, b"", False, Failure.no_endpoint),
        (503, b'{"error": {"code": "model_not_found"}}', True, Failure.no_model),
        (503, b'{"error": {"message": "model m is busy"}}', True, None),
    ],
)  # fmt: skip
def test_meanings_of_refusals(
    status: int, body: bytes, own_key: bool, meaning: Failure | None
) -> None:
    assert refused(status, words_of(body), "m", CHAT, own_key=own_key) is meaning


def test_paths_with_ids_are_not_plain() -> None:
    assert plain_path(CHAT + b"?x=1") == CHAT
    for target in (CHAT + b"/abc", b"/v1/files/f", b"/v1/models/m", b"/v1/else"):
        assert plain_path(target) is None


def test_words_are_bounded_and_of_any_shape() -> None:
    assert words_of(b"text") is None
    assert words_of(b"[1]") is None
    assert words_of(b'{"message": "No"}') == Said(message="no")
    assert words_of(b'{"error": {"code": 404, "type": null}}') == Said("404")
    assert len((words_of(b'{"error": {"message": "%b"}}' % (b"x" * 9999)) or Said()).message) == 512
