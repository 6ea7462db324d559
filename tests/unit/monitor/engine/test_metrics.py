"""A mirror's health and past as numbers."""

from dataclasses import replace

from monitor.common.metric_registry import MetricRegistry
from monitor.engine.metrics import FAMILIES, TLS_NOT_AFTER, show_health, show_uptime
from monitor.health.uptime import Known
from tests.testkit.dashboard import FakeSources


def test_a_mirror_that_has_no_certificate_any_more_shows_none():
    sources = FakeSources()
    mirror = sources.mirrors()[0]
    health = sources.snapshot().of(mirror.id)
    totals = MetricRegistry(FAMILIES)
    show_health(totals, mirror, replace(health, tls_not_after=99.0))
    assert totals.get(TLS_NOT_AFTER, (mirror.id,)) == 99.0
    show_health(totals, mirror, replace(health, tls_not_after=None))
    assert TLS_NOT_AFTER not in {name for name, *_ in totals.to_json()}


def test_a_window_without_any_time_has_neither_coverage_nor_uptime():
    totals = MetricRegistry(FAMILIES)
    show_uptime(totals, "hk", {"24h": Known()})
    assert "hk" not in str(totals.to_json())
