"""Contents of spans."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from router.forwarding.config import TracesConfig
from router.forwarding.recent_requests import Tried
from router.forwarding.stats import Finished
from router.process.tracing import Tracer

END = Finished(
    request_id=b"mg_1",
    client="203.0.113.7",
    method=b"POST",
    target=b"/v1/chat/completions?key=sk-canary",
    mirror="hk",
    endpoint="chat",
    status=200,
    outcome="success",
    stream=False,
    failed_attempts=0,
    seconds=2.0,
    received=100,
    sent=200,
)


async def spans_of(**ends: Any) -> tuple[ReadableSpan, ReadableSpan]:
    """The span of a request that ended so, and that of its attempt."""
    exporter, end = InMemorySpanExporter(), END._replace(**ends)
    tracer = Tracer(TracesConfig(), "worker-0", Random(1), exporter)
    trace = tracer.begin(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert trace is not None
    trace.fields_for("hk", None, Random(2))
    tracer.finished(trace, end, "gpt-4o", (Tried("hk", end.outcome, 9.0, 10.0),), 10.0)
    await tracer.flush()
    request, attempt = exporter.get_finished_spans()
    return request, attempt


@pytest.mark.parametrize(
    ("outcome", "status", "request_failed", "attempt_failed"),
    [
        ("success", 200, False, False),
        ("client_error", 400, False, True),
        ("client_abort", 0, False, False),
        ("upstream_error", 503, True, True),
        ("interrupted", 200, True, True),
    ],
)
async def test_only_faults_of_ours_are_errors_of_the_request(
    outcome: str, status: int, request_failed: bool, attempt_failed: bool
) -> None:
    """As OpenTelemetry's conventions for HTTP have it, for servers and for clients."""
    request, attempt = await spans_of(outcome=outcome, status=status)
    assert (request.status.status_code is StatusCode.ERROR) == request_failed
    assert ("error.type" in (request.attributes or {})) == request_failed
    assert (attempt.status.status_code is StatusCode.ERROR) == attempt_failed
    assert (request.attributes or {}).get("http.response.status_code") == (status or None)


async def test_a_method_that_a_client_made_up_is_not_told() -> None:
    request, _ = await spans_of(method=b"SK-CANARY", endpoint="files")
    assert request.name == "HTTP files"
    assert (request.attributes or {})["http.request.method"] == "_OTHER"


async def test_neither_the_client_nor_its_query_is_told() -> None:
    told = " ".join(span.to_json() for span in await spans_of())
    assert "203.0.113.7" not in told
    assert "canary" not in told
