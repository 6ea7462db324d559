"""Traces of requests, sent to an OpenTelemetry collector: a span a request, one for each attempt.

No content, key or client address is in them; names follow OpenTelemetry's conventions for HTTP and
for generative AI. The SDK's thread sends in batches, from a bounded queue: a collector that is slow
or gone costs spans, and no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from router.forwarding.config import TracesConfig
from router.forwarding.recent_requests import Tried
from router.forwarding.stats import Finished
from router.wire import trace_context
from router.wire.trace_context import RequestTrace

_TIMEOUT = 5.0
"""Seconds for one batch to be taken."""
_QUEUE, _BATCH = 2048, 256
_RECORDED = TraceFlags(TraceFlags.SAMPLED)
_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "responses": "chat",
}
"""`gen_ai.operation.name` of endpoints (semantic conventions for generative AI)."""
_METHODS = frozenset(b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())
"""Other methods are words of clients: `_OTHER` (semantic conventions for HTTP)."""
_NO_FAULTS = ("success", "client_error", "client_abort")
"""Outcomes of requests that are no fault of a server (semantic conventions for HTTP)."""
_NANO = 1_000_000_000


class _GivenIds(IdGenerator):
    """Gives the ids that mirrors were told already."""

    def __init__(self) -> None:
        self.trace = self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class Tracer:
    """Records the requests of one worker (`RequestTracer`)."""

    def __init__(
        self,
        config: TracesConfig,
        process: str,
        rng: random.Random,
        exporter: SpanExporter | None = None,
    ) -> None:
        """`process`: the worker's name; `exporter`: another one than the configured one."""
        self._share = config.sample
        self._rng = rng
        self._ids = _GivenIds()
        resource = Resource.create(
            {
                "service.name": "mirrorgate",
                "service.version": version("mirrorgate"),
                "service.instance.id": process,
            }
        )
        self._provider = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter or _exporter(config),
                max_queue_size=_QUEUE,
                max_export_batch_size=_BATCH,
                export_timeout_millis=_TIMEOUT * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("mirrorgate")

    def begin(self, traceparent: bytes | None) -> RequestTrace | None:
        """The trace of a request with this field, if it is to be recorded."""
        return trace_context.begun(traceparent, self._share, self._rng)

    def finished(
        self, trace: RequestTrace, end: Finished, model: str, tried: tuple[Tried, ...], now: float
    ) -> None:
        """Record a request that has ended, and its attempts. `now`: on the worker's clock, as are
        the times of `tried`."""
        since_epoch = time.time_ns() - int(now * _NANO)
        whole = Tried(end.mirror, end.outcome, now - end.seconds, now)
        attributes = _attributes(end, model)
        ids = (trace.trace, trace.span, trace.parent)
        self._record(ids, SpanKind.SERVER, _name(end, model), attributes, whole, since_epoch)
        spans = dict(trace.attempts)
        for one in reversed(tried):
            span = spans.pop(one.mirror, 0) or self._rng.getrandbits(64) or 1
            told: dict[str, str | int] = {"mirrorgate.mirror": one.mirror}
            ids = (trace.trace, span, trace.span)
            self._record(ids, SpanKind.CLIENT, f"attempt {one.mirror}", told, one, since_epoch)

    def _record(
        self,
        ids: tuple[int, int, int],
        kind: SpanKind,
        name: str,
        attributes: dict[str, str | int],
        course: Tried,
        since_epoch: int,
    ) -> None:
        """Record one span; `ids`: its trace, its own, its parent's or 0."""
        self._ids.trace, self._ids.span, parent = ids
        context = Context()  # an empty one: what this thread may be tracing is none of ours
        if parent:
            above = SpanContext(ids[0], parent, is_remote=True, trace_flags=_RECORDED)
            context = set_span_in_context(NonRecordingSpan(above), context)
        began = since_epoch + int(course.began * _NANO)
        span = self._tracer.start_span(name, context, kind, attributes, start_time=began)
        outcome = str(course.outcome)
        span.set_attribute("mirrorgate.outcome", outcome)
        if outcome not in (_NO_FAULTS if kind is SpanKind.SERVER else ("success", "client_abort")):
            span.set_attribute("error.type", outcome)
            span.set_status(Status(StatusCode.ERROR))
        span.end(since_epoch + int(course.ended * _NANO))

    def close(self) -> None:
        """Send what is left, in a thread of its own: nobody waits for a collector."""
        threading.Thread(target=self._provider.shutdown, daemon=True, name="traces").start()

    async def flush(self) -> None:
        """Send what is left, within seconds: the worker ends."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, daemon=True, name="traces").start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), _TIMEOUT)


def _exporter(config: TracesConfig) -> OTLPSpanExporter:
    return OTLPSpanExporter(config.endpoint, headers=dict(config.headers), timeout=_TIMEOUT)


def _name(end: Finished, model: str) -> str:
    operation = _OPERATIONS.get(end.endpoint)
    if operation is not None:
        return f"{operation} {model}".rstrip()
    return f"{_method(end.method, 'HTTP')} {end.endpoint}"


def _method(method: bytes, other: str) -> str:
    return method.decode() if method in _METHODS else other


def _attributes(end: Finished, model: str) -> dict[str, str | int]:
    told: dict[str, str | int] = {
        "http.request.method": _method(end.method, "_OTHER"),
        "http.request.body.size": end.received,
        "http.response.body.size": end.sent,
        "mirrorgate.endpoint": end.endpoint,
        "mirrorgate.mirror": end.mirror,
        "mirrorgate.request_id": end.request_id.decode(),
        "mirrorgate.failed_attempts": end.failed_attempts,
    }
    if end.status:  # else it got none
        told["http.response.status_code"] = end.status
    operation = _OPERATIONS.get(end.endpoint)
    if operation is not None:
        told |= {"gen_ai.operation.name": operation, "gen_ai.provider.name": "openai"}
        if model:
            told["gen_ai.request.model"] = model
    return told
