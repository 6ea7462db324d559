"""A worker's memory of its last requests."""

from __future__ import annotations

import json

from router.forwarding.recent_requests import KEPT, LONG, RecentRequests, Tried, to_json

GOOD = ("hk", "chat", 200, "success", False)
BAD = ("", "chat", 502, "error", True)
FAILED = (Tried("jp", "connect", 10.0, 10.2),)


class Course:
    """The attempts of one request: some that failed, and the last one."""

    def __init__(self, ended: tuple[Tried, ...] = ()) -> None:
        self.ended = ended

    def with_last(self, outcome: str, now: float) -> tuple[Tried, ...]:
        return (*self.ended, Tried("hk", outcome, 10.2, now))


def finish(
    trail: RecentRequests, name: bytes, alike: tuple[str, str, int, str, bool] = GOOD
) -> None:
    trail.finished(name, 10.0, 0.5, alike, Course(), b"POST", b"/v1/chat/completions")


def test_a_request_that_succeeded_at_once_is_found_by_its_id():
    trail = RecentRequests()
    finish(trail, b"mg_1")
    kept = trail.find(b"mg_1")
    assert kept is not None
    assert kept.tried == (Tried("hk", "success", 10.0, 10.5),)
    assert trail.find(b"mg_2") is None


def test_every_attempt_of_a_rescued_request_is_kept_with_its_times():
    trail = RecentRequests()
    trail.finished(b"mg_1", 10.0, 0.5, GOOD, Course(FAILED), b"POST", b"/v1/chat/completions")
    kept = trail.find(b"mg_1")
    assert kept is not None
    told = to_json(kept, lambda moment: moment + 1000)
    assert told["began"] == 1010.0
    assert told["attempts"] == [
        {"mirror": "jp", "outcome": "connect", "after": 0.0, "seconds": 0.2},
        {"mirror": "hk", "outcome": "success", "after": 0.2, "seconds": 0.3},
    ]


def test_no_query_is_kept_as_keys_may_be_in_it():
    trail = RecentRequests()
    trail.finished(b"mg_1", 10.0, 0.5, BAD, Course(), b"GET", b"/v1/x?key=sk-secret")
    kept = trail.find(b"mg_1")
    assert kept is not None
    assert kept.target == b"/v1/x"
    assert "sk-secret" not in json.dumps(to_json(kept, float))


def test_a_slow_success_is_kept_whole():
    trail = RecentRequests()
    trail.finished(b"mg_1", 10.0, LONG, GOOD, Course(), b"GET", b"/v1/models")
    kept = trail.find(b"mg_1")
    assert kept is not None
    assert kept.target == b"/v1/models"


def test_a_request_that_no_mirror_was_asked_for_has_no_attempts():
    trail = RecentRequests()
    trail.finished(b"mg_1", 10.0, 0.1, BAD, None, b"POST", b"/v1/chat/completions")
    kept = trail.find(b"mg_1")
    assert kept is not None
    assert kept.tried == ()


def test_good_requests_do_not_wash_away_a_bad_one_and_both_are_bounded():
    trail = RecentRequests()
    finish(trail, b"bad", BAD)
    for number in range(2 * KEPT):
        finish(trail, b"mg_%d" % number)
    assert trail.find(b"bad") is not None
    assert trail.find(b"mg_0") is None
    assert trail.find(b"mg_%d" % (2 * KEPT - 1)) is not None
    for number in range(KEPT):
        finish(trail, b"other_%d" % number, BAD)
    assert trail.find(b"bad") is None


def test_the_newest_that_failed_or_took_long_come_first_and_no_more_than_wanted():
    trail = RecentRequests()
    for number in range(5):
        finish(trail, b"good_%d" % number)
        finish(trail, b"bad_%d" % number, BAD)
    assert [kept.id for kept in trail.newest(3)] == [b"bad_4", b"bad_3", b"bad_2"]
    assert len(trail.newest(KEPT)) == 5
