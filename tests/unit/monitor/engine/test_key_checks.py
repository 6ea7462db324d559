"""When a mirror's own key is asked about again, and which refusals count."""

from __future__ import annotations

from monitor.diagnosis.timing import NORMAL
from monitor.engine.key_checks import KeyCourse


def asked(course: KeyCourse, now: float, valid: bool | None) -> bool:
    """Check the key at this time; whether what was found is believed."""
    course.begins(now)
    return course.ends(valid, now, 1.0)


def test_a_good_key_is_asked_about_now_and_then() -> None:
    course = KeyCourse(NORMAL)
    assert asked(course, 100.0, True)
    assert course.due == 100.0 + NORMAL.keyed_interval
    assert not course.calls(course.due), "regular probes will do"


def test_two_refusals_in_a_row_are_needed_and_the_second_is_asked_for_soon() -> None:
    course = KeyCourse(NORMAL)
    assert not asked(course, 0.0, False)
    assert (course.is_held, course.due) == (False, NORMAL.key_confirm)
    assert [course.calls(now) for now in (4.9, 5.0, 5.1)] == [False, True, False]
    assert asked(course, 5.0, False)
    assert course.is_held


def test_a_refusal_that_a_good_answer_follows_is_forgotten() -> None:
    course = KeyCourse(NORMAL)
    asked(course, 0.0, False)
    assert asked(course, 5.0, True)
    assert not asked(course, 305.0, False)
    assert not course.is_held


def test_a_held_key_is_asked_about_again_with_growing_pauses() -> None:
    course, now, pauses = KeyCourse(NORMAL), 0.0, []
    asked(course, now, False)
    for _ in range(40):
        now = course.due
        assert asked(course, now, False)
        pauses.append(course.due - now)
    assert pauses[:7] == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert set(pauses[5:]) == {NORMAL.keyed_interval}
    assert asked(course, now, True)
    assert not course.is_held


def test_an_unclear_answer_changes_nothing_and_is_followed_by_another_question() -> None:
    course = KeyCourse(NORMAL)
    asked(course, 0.0, False)
    assert not asked(course, 5.0, None)
    assert (course.is_held, course.due) == (False, 10.0)
    assert asked(course, 10.0, False)
    assert not asked(course, 20.0, None)
    assert (course.is_held, course.due) == (True, 30.0)


def test_a_refusal_in_traffic_makes_the_check_due_and_one_of_a_probe_enough() -> None:
    course = KeyCourse(NORMAL)
    asked(course, 0.0, True)
    course.doubt(50.0)
    assert course.due == 50.0
    assert course.calls(50.0)
    assert asked(course, 50.0, False)
    assert course.is_held
    assert course.due == 50.0 + NORMAL.key_again


def test_refusals_in_traffic_ask_for_no_more_than_one_check_in_ten_seconds() -> None:
    course, checks = KeyCourse(NORMAL), []
    for tenths in range(600):  # for a minute, and the mirror lists its models all the time
        now = tenths / 10
        course.doubt(now)
        if course.calls(now):
            checks.append(now)
            asked(course, now, True)
    assert checks == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]


def test_traffic_does_not_hasten_the_check_of_a_key_that_is_held() -> None:
    course = KeyCourse(NORMAL)
    asked(course, 0.0, False)
    asked(course, 5.0, False)
    asked(course, 15.0, False)
    course.doubt(16.0)
    assert course.due == 35.0
