"""Guessing passwords is slow from one address and from many, and locks nobody out."""

from dashboard.admin import sign_in_delay
from dashboard.admin.sign_in_delay import (
    FORGIVEN_AFTER,
    FREE,
    KNOWN,
    LONGEST,
    LONGEST_IN_ALL,
    SignInDelay,
)


def tries_within(delay: SignInDelay, addresses: list[bytes], seconds: float) -> int:
    """Attempts that an attacker who never waits longer than needed can make."""
    now, tried, turn = 0.0, 0, 0
    while now < seconds:
        address = addresses[turn % len(addresses)]
        turn += 1
        wait = delay.wait(address, now)
        if wait:
            now += wait if len(addresses) == 1 else 0.25
            continue
        delay.begin(address, now)
        tried += 1
    return tried


def test_a_few_attempts_are_free_and_then_the_wait_doubles_up_to_a_limit():
    delay, now, waits = SignInDelay(), 1000.0, []
    for _ in range(14):
        waits.append(delay.wait(b"a", now))
        now += waits[-1]
        delay.begin(b"a", now)
    assert waits[: FREE + 4] == [0.0] * FREE + [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST


def test_one_address_gets_a_few_hundred_guesses_a_day():
    assert tries_within(SignInDelay(), [b"a"], 86400.0) < 320


def test_many_addresses_together_get_a_few_thousand_guesses_a_day():
    addresses = [b"%d" % n for n in range(10_000)]
    assert tries_within(SignInDelay(), addresses, 86400.0) < 86400 / LONGEST_IN_ALL + 60


def test_attempts_at_the_same_moment_count_though_none_has_failed_yet():
    delay = SignInDelay()
    for _ in range(FREE):
        assert delay.wait(b"a", 5.0) == 0.0
        delay.begin(b"a", 5.0)
    assert delay.wait(b"a", 5.0) > 0


def test_success_forgives_and_an_attack_from_elsewhere_holds_up_nobody_who_signed_in_before():
    delay = SignInDelay()
    delay.begin(b"admin", 0.0)
    delay.succeeded(b"admin")
    tries_within(delay, [b"%d" % n for n in range(1000)], 3600.0)
    assert delay.wait(b"new", 3600.0) > 0
    assert delay.wait(b"admin", 3600.0) == 0.0
    for _ in range(FREE):
        delay.begin(b"admin", 3600.0)
    assert delay.wait(b"admin", 3600.0) > 0


def test_old_failures_are_forgotten():
    delay = SignInDelay()
    for _ in range(20):
        delay.begin(b"a", 0.0)
    later = FORGIVEN_AFTER + LONGEST
    assert delay.begin(b"a", later) == 1
    assert delay.wait(b"a", later) == 0.0


def test_it_remembers_a_bounded_number_of_addresses():
    delay = SignInDelay()
    for n in range(KNOWN + 100):
        delay.begin(b"%d" % n, float(n))
        delay.succeeded(b"%d" % n)
        delay.begin(b"%d" % n, float(n))
    assert len(delay._of) == KNOWN
    assert len(delay._trusted) == sign_in_delay.TRUSTED
