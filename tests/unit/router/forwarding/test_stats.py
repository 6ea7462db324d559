"""Counts stay right while cells are kept at hand."""

from __future__ import annotations

from monitor.common.metric_registry import MetricRegistry
from router.forwarding import metrics
from router.forwarding.stats import Stats

END = ("hk", "chat", 200, "success", False)


def test_requests_that_end_alike_add_up() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    tally = Stats(totals)
    for size in (10, 20):
        tally.answered("hk", "chat", 0.2, connect=0.01)
        tally.finished(END, rescued=size == 20, seconds=0.3, received=size, sent=2 * size)
    assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 2
    assert totals.get(metrics.ATTEMPTS.name, ("hk", "answered")) == 2
    assert totals.get(metrics.BYTES.name, ("received",)) == 30
    assert totals.get(metrics.BYTES.name, ("sent",)) == 60
    assert totals.get(metrics.RESCUED.name) == 1
    duration = totals.cells(metrics.DURATION.name, ("hk", "chat", "false"))
    assert (sum(duration[:-1]), duration[-1]) == (2, 0.6)
    assert totals.cells(metrics.CONNECT.name, ("hk",))[-1] == 0.02


def test_what_no_mirror_answered_has_no_duration_of_a_mirror() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    Stats(totals).finished(
        ("", "chat", 503, "upstream_error", False), rescued=False, seconds=1, received=5, sent=0
    )
    names = {row[0] for row in totals.to_json()}
    assert metrics.DURATION.name not in names
    assert totals.get(metrics.REQUESTS.name, ("", "chat", "503", "upstream_error")) == 1


def test_a_removed_mirror_that_comes_back_is_counted_anew() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    tally = Stats(totals)
    for _ in range(2):
        tally.answered("hk", "chat", 0.2, connect=0)
        tally.finished(END, rescued=False, seconds=0.3, received=0, sent=0)
        totals.remove("mirror", "hk")
        assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 0
    tally.answered("hk", "chat", 0.2, connect=0)
    tally.finished(END, rescued=False, seconds=0.3, received=0, sent=0)
    assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 1
    assert totals.get(metrics.ATTEMPTS.name, ("hk", "answered")) == 1
