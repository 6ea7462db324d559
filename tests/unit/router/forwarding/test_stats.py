"""Counts stay right while cells are kept at hand."""

from __future__ import annotations

import ast
from pathlib import Path

from monitor.common.metric_registry import MetricRegistry
from router.forwarding import metrics
from router.forwarding.stats import Stats

END = ("hk", "chat", 200, "success", False)


def test_requests_that_end_alike_add_up() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    tally = Stats(totals)
    for size in (10, 20):
        tally.answered("hk", "chat", 0.2, connect=0.01, ours=-1.0)
        tally.attempt_ended("hk", answered=True)
        tally.finished(b"mg_1", END, rescued=size == 20, seconds=0.3, received=size, sent=2 * size)
    assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 2
    assert totals.get(metrics.ATTEMPTS.name, ("hk", "answered")) == 2
    assert totals.get(metrics.BYTES.name, ("received",)) == 30
    assert totals.get(metrics.BYTES.name, ("sent",)) == 60
    assert totals.get(metrics.RESCUED.name) == 1
    duration = totals.cells(metrics.DURATION.name, ("hk", "chat", "false"))
    assert (sum(duration[:-1]), duration[-1]) == (2, 0.6)
    assert totals.cells(metrics.CONNECT.name, ("hk",))[-1] == 0.02


def test_unanswered_requests_have_no_duration_of_a_mirror() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    end = ("", "chat", 503, "upstream_error", False)
    Stats(totals).finished(b"mg_1", end, rescued=False, seconds=1, received=5, sent=0)
    names = {row[0] for row in totals.to_json()}
    assert metrics.DURATION.name not in names
    assert totals.get(metrics.REQUESTS.name, ("", "chat", "503", "upstream_error")) == 1


def test_a_removed_mirror_that_comes_back_is_counted_anew() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    tally = Stats(totals)
    for _ in range(2):
        tally.answered("hk", "chat", 0.2, connect=0, ours=-1.0)
        tally.finished(b"mg_1", END, rescued=False, seconds=0.3, received=0, sent=0)
        totals.remove("mirror", "hk")
        assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 0
    tally.answered("hk", "chat", 0.2, connect=0, ours=-1.0)
    tally.finished(b"mg_1", END, rescued=False, seconds=0.3, received=0, sent=0)
    assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 1
    tally.attempt_ended("hk", answered=True)
    assert totals.get(metrics.ATTEMPTS.name, ("hk", "answered")) == 1


def test_a_status_that_is_in_no_registry_is_no_label() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    for status in (200, 299, 777):
        end = ("hk", "chat", status, "success", False)
        Stats(totals).finished(b"mg_1", end, rescued=False, seconds=1, received=0, sent=0)
    assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "200", "success")) == 1
    assert totals.get(metrics.REQUESTS.name, ("hk", "chat", "other", "success")) == 2


def test_the_last_request_is_the_exemplar_of_its_duration() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    for request in (b"mg_1", b"mg_2"):
        Stats(totals).finished(request, END, rescued=False, seconds=0.3, received=0, sent=0)
    (row,) = (row for row in totals.to_json() if row[0] == metrics.DURATION.name)
    assert row[3] == ("mg_2", 0.3)


def test_the_series_of_closed_sets_begin_at_zero() -> None:
    totals = MetricRegistry(metrics.FAMILIES)
    metrics.begin_at_zero(totals, ["hk"])
    rows = {(name, *labels): value for name, labels, value in totals.to_json()}
    assert rows[metrics.EJECTIONS.name, "hk", "failing"] == 0
    assert rows[metrics.ATTEMPTS.name, "hk", "timeout"] == 0
    assert rows[metrics.RESCUED.name,] == 0
    assert rows[metrics.REJECTED.name, "no_mirror_available"] == 0


def test_every_code_of_an_error_of_ours_is_known_to_the_metrics() -> None:
    """A code is the second argument of `Problem` and of `Refusal`."""
    found = set()
    for file in (Path(__file__).parents[4] / "router").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name("Problem" | "Refusal"), args=[_, ast.Constant(code), *_]
                ):
                    found.add(code)
    assert {"queue_full", "malformed_request", "headers_too_large"} <= found
    assert found <= set(metrics.CODES)
