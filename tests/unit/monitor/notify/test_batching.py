"""Grouping and quiet of one receiver's notices."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.common.languages import Text
from monitor.notify.batching import AT_ONCE, MOST_TOPICS, Batching
from monitor.notify.config import Kind
from monitor.notify.notice import Notice


def notice(subject: str = "hk", kind: Kind = Kind.down, at: float = 0.0) -> Notice:
    return Notice(kind, subject, at, Text("坏", f"{subject} {kind}"))


def test_notices_within_the_group_time_become_one_message():
    batching = Batching(group=10.0, quiet=600.0)
    batching.add(notice("hk"), 0.0)
    batching.add(notice("jp"), 9.0)
    assert (batching.due_at(), batching.take(9.9)) == (10.0, [])
    assert [due.notice.subject for due in batching.take(10.0)] == ["hk", "jp"]
    assert (batching.due_at(), len(batching)) == (None, 0)


def test_the_end_of_a_condition_is_told_soon_and_what_flaps_after_it_is_summed_up():
    batching = Batching(group=10.0, quiet=600.0)
    batching.add(notice(), 0.0)
    assert batching.take(10.0)
    batching.add(notice(kind=Kind.up), 60.0)
    (ended,) = batching.take(70.0)
    assert ended.notice.kind is Kind.up
    for at in range(100, 200, 10):
        batching.add(notice(kind=Kind.down if at % 20 else Kind.up, at=at), float(at))
    assert batching.due_at() == 610.0
    assert batching.take(609.0) == []
    (summed,) = batching.take(610.0)
    assert (summed.changes, summed.notice.at) == (10, 190)


def test_quiet_about_one_mirror_does_not_hold_up_another():
    batching = Batching(group=10.0, quiet=600.0)
    for at in (0.0, 20.0, 40.0):
        batching.add(notice(), at)
        batching.take(at + 10.0)
    batching.add(notice("jp"), 60.0)
    assert [due.notice.subject for due in batching.take(70.0)] == ["jp"]
    assert len(batching) == 1


def test_more_conditions_than_are_held_are_dropped_and_counted():
    batching = Batching(group=10.0, quiet=600.0)
    for number in range(MOST_TOPICS + 3):
        batching.add(notice(f"m{number}"), 0.0)
    assert (len(batching), batching.dropped) == (MOST_TOPICS, 3)
    batching.add(notice("m0", Kind.up), 0.0)
    assert batching.dropped == 3


STEPS = st.lists(
    st.tuples(st.floats(0.0, 400.0), st.sampled_from("abc"), st.sampled_from([Kind.down, Kind.up])),
    max_size=60,
)


@given(STEPS, st.floats(0.0, 60.0), st.floats(0.0, 900.0))
def test_the_newest_of_each_condition_is_told_in_the_end_and_never_too_often(
    steps: list[tuple[float, str, Kind]], group: float, quiet: float
):
    batching, now = Batching(group, quiet), 0.0
    newest: dict[str, Notice] = {}
    told: dict[str, list[tuple[float, Notice]]] = {}
    changes = 0

    def until(moment: float | None) -> None:
        """Send all that is due before it."""
        nonlocal changes
        while (due_at := batching.due_at()) is not None and (moment is None or due_at <= moment):
            taken = batching.take(due_at)
            assert taken
            for due in taken:
                changes += due.changes
                told.setdefault(due.notice.subject, []).append((due_at, due.notice))

    for pause, subject, kind in steps:
        now += pause
        until(now)
        newest[subject] = notice(subject, kind, now)
        batching.add(newest[subject], now)
    until(None)
    assert changes == len(steps)
    assert {subject: those[-1][1] for subject, those in told.items()} == newest
    for those in told.values():
        times = [at for at, _ in those]
        spans = zip(times, times[AT_ONCE:], strict=False)
        assert all(later >= first + quiet for first, later in spans)
