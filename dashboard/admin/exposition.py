"""/metrics: the merged totals as Prometheus text or OpenMetrics, rendered off the event loop."""

from __future__ import annotations

import asyncio
import gzip
import platform
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from dashboard.common.context import SOURCES
from dashboard.common.metrics import BANS_ACTIVE, BUILD_INFO
from monitor.common.metric_registry import Series

_NO_WEIGHT = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")
_ONE_AT_A_TIME: web.AppKey[asyncio.Lock] = web.AppKey("one_at_a_time", asyncio.Lock)


class TotalsCollector(Collector):
    """Series as plain numbers, in the shape that prometheus_client writes."""

    def __init__(self, series: Iterable[Series]) -> None:
        self._series = series

    def collect(self) -> Iterator[Metric]:
        """One metric per family, in order of name."""
        families: dict[str, list[Series]] = {}
        for series in self._series:
            families.setdefault(series.family.name, []).append(series)
        for name in sorted(families):
            yield _metric(families[name])


def _metric(rows: list[Series]) -> Metric:
    family = rows[0].family
    if family.type == "histogram":
        return _histogram(rows)
    kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for row in rows:
        metric.add_metric(row.labels, row.cells[0])
    return metric


def _histogram(rows: list[Series]) -> Metric:
    family = rows[0].family
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bounds = [*map(floatToGoString, family.buckets), "+Inf"]
    for row in rows:
        *counts, total = row.cells
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]]
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        if row.exemplar is not None:  # of the last request, in the bucket that it fell into
            request, seconds = row.exemplar
            place = bisect_left(family.buckets, seconds)
            buckets[place] = (*buckets[place][:2], Exemplar({"request_id": request}, seconds))
        metric.add_metric(row.labels, buckets, total)
    return metric


def render(series: Iterable[Series], accept: str) -> tuple[bytes, str]:
    """The exposition in the format that `accept` asks for, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TotalsCollector(series))
    try:
        encode, content_type = choose_encoder(accept)
    except (ValueError, TypeError):  # a version in Accept that is none
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


def add_routes(app: web.Application) -> None:
    """The address of the exposition."""
    app[_ONE_AT_A_TIME] = asyncio.Lock()
    app.router.add_get("/metrics", metrics)


async def metrics(request: web.Request) -> web.Response:
    """All series, added up and written beside the loop. One thread is enough, whoever asks."""
    accept = request.headers.get("Accept", "")
    compress = _wants_gzip(request.headers.get("Accept-Encoding", ""))
    async with request.app[_ONE_AT_A_TIME]:
        counted, own = request.app[SOURCES].series(), _own(request.app)
        body, content_type = await asyncio.to_thread(_render_for, counted, own, accept, compress)
    headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
    if compress:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


def _wants_gzip(accept_encoding: str) -> bool:
    for each in accept_encoding.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            return not _NO_WEIGHT.fullmatch(weight)
    return False


def _own(app: web.Application) -> list[Series]:
    """Return the dashboard's own metrics, unless somebody has counted them."""
    sources = app[SOURCES]
    return [
        Series(BUILD_INFO, (sources.version(), platform.python_version()), [1.0]),
        Series(BANS_ACTIVE, (), [float(len(sources.bans()))]),
    ]


def _render_for(
    counted: Callable[[], Iterable[Series]], own: list[Series], accept: str, compress: bool
) -> tuple[bytes, str]:
    series = list(counted())
    told = {row.family.name for row in series}
    body, content_type = render(
        [row for row in own if row.family.name not in told] + series, accept
    )
    return (gzip.compress(body, 3) if compress else body), content_type
