"""Sessions end when they should, and their number is bounded."""

from dashboard.admin.sessions import IDLE, LONGEST, MOST, Sessions
from tests.testkit.clock import ManualClock

HASH = "$argon2id$1"


def signed_in(sessions: Sessions) -> str:
    return sessions.begin(HASH, "192.0.2.9")[1]


def test_a_token_is_known_by_its_digest_alone_and_an_unknown_one_opens_nothing():
    sessions = Sessions(ManualClock())
    session, token = sessions.begin(HASH, "192.0.2.9")
    assert sessions.find(token, HASH) is session
    assert token not in repr(session)
    assert sessions.find(token + "x", HASH) is None
    assert sessions.find("", HASH) is None
    assert sessions.find("\udcff", HASH) is None


def test_each_sign_in_has_a_token_and_a_form_token_of_its_own():
    sessions = Sessions(ManualClock())
    (one, first), (other, second) = (sessions.begin(HASH, "a") for _ in range(2))
    assert len({first, second, one.csrf, other.csrf}) == 4
    assert min(map(len, (first, one.csrf))) >= 43


def test_it_ends_after_a_time_without_use_and_live_pages_are_no_use():
    clock = ManualClock()
    sessions = Sessions(clock)
    token = signed_in(sessions)
    clock.advance(IDLE)
    assert sessions.find(token, HASH, use=False)
    clock.advance(1)
    assert sessions.find(token, HASH, use=False) is None
    assert len(sessions) == 0


def test_it_ends_at_last_however_much_it_is_used():
    clock = ManualClock()
    sessions = Sessions(clock)
    token = signed_in(sessions)
    for _ in range(int(LONGEST / IDLE)):
        clock.advance(IDLE)
        assert sessions.find(token, HASH)
    clock.advance(1)
    assert sessions.find(token, HASH) is None


def test_another_password_ends_all():
    sessions = Sessions(ManualClock())
    token = signed_in(sessions)
    assert sessions.find(token, "$argon2id$2") is None
    assert sessions.find(token, HASH) is None


def test_only_so_many_at_a_time_and_the_least_used_goes_first():
    clock = ManualClock()
    sessions = Sessions(clock)
    tokens = []
    for _ in range(MOST):
        clock.advance(1)
        tokens.append(signed_in(sessions))
    clock.advance(1)
    assert sessions.find(tokens[0], HASH)
    signed_in(sessions)
    assert len(sessions) == MOST
    assert sessions.find(tokens[1], HASH) is None
    assert sessions.find(tokens[0], HASH)


def test_signing_out_ends_one_and_the_others_on_demand():
    sessions = Sessions(ManualClock())
    session, token = sessions.begin(HASH, "a")
    other = signed_in(sessions)
    assert sessions.end_others(session) == 1
    assert sessions.find(other, HASH) is None
    sessions.end(session)
    assert sessions.find(token, HASH) is None
