"""Memory of addresses between probes."""

from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.address_memory import Baseline, LastGood, RoundTrips
from monitor.probes.connect import MAX_ADDRESSES


def test_the_round_trip_is_the_least_of_the_last_five_connects():
    trips = RoundTrips()
    for seconds in (0.01, 0.5, 0.4, 0.3, 0.2):
        trips.add("192.0.2.1", seconds)
    assert trips.of("192.0.2.1") == 0.01
    trips.add("192.0.2.1", 0.6)
    assert trips.of("192.0.2.1") == 0.2
    assert trips.of("192.0.2.2") is None


def test_two_connects_are_too_few_to_tell_the_round_trip():
    trips = RoundTrips()
    for _ in range(2):
        trips.add("192.0.2.1", 0.01)
        assert trips.of("192.0.2.1") is None
    trips.add("192.0.2.1", 0.02)
    assert trips.of("192.0.2.1") == 0.01


def test_a_round_trip_is_no_longer_than_an_answer_took_where_connects_are_slowed_down():
    trips = RoundTrips()
    trips.answered("192.0.2.1", 0.04)
    assert trips.of("192.0.2.1") is None
    for _ in range(3):
        trips.add("192.0.2.1", 0.12)
    assert trips.of("192.0.2.1") == 0.04
    for _ in range(5):
        trips.answered("192.0.2.1", 0.3)
    assert trips.of("192.0.2.1") == 0.12


def test_a_control_that_always_fails_somewhere_says_nothing_there():
    baseline = Baseline(DiagnosisTiming(control_baseline=100))
    assert baseline.vouches("192.0.2.1", "c.test", False, 0)
    assert not baseline.vouches("192.0.2.1", "c.test", False, 1)
    assert baseline.vouches("192.0.2.2", "c.test", False, 1)


def test_a_control_that_worked_within_a_day_may_fail():
    baseline = Baseline(DiagnosisTiming(control_baseline=100))
    assert baseline.vouches("192.0.2.1", "c.test", True, 0)
    assert baseline.vouches("192.0.2.1", "c.test", False, 90)
    assert baseline.vouches("192.0.2.1", "c.test", False, 100)
    assert not baseline.vouches("192.0.2.1", "c.test", False, 101)
    assert baseline.vouches("192.0.2.1", "c.test", True, 102)


def test_the_number_of_remembered_addresses_is_bounded():
    trips = RoundTrips()
    for number in range(5000):
        for _ in range(3):
            trips.add(f"address {number}", 0.1)
    assert trips.of("address 0") is None
    assert trips.of("address 4999") == 0.1


def test_verified_addresses_are_remembered_for_a_while_the_latest_first():
    good = LastGood(DiagnosisTiming(last_good=100))
    assert good.of("a.test", 0) == ()
    for number in range(40):
        good.note("a.test", f"192.0.2.{number}", float(number))
    good.note("a.test", "192.0.2.30", 41.0)
    kept = good.of("a.test", 50.0)
    assert (len(kept), kept[0], kept[1]) == (MAX_ADDRESSES, "192.0.2.30", "192.0.2.39")
    assert good.of("a.test", 141.0) == ("192.0.2.30",)
    assert good.of("a.test", 142.0) == ()
    for number in range(5000):
        good.note(f"{number}.test", "192.0.2.1", 50.0)
    assert good.of("0.test", 50.0) == ()
    assert good.of("4999.test", 50.0) == ("192.0.2.1",)
