"""Traces of a running instance, as a collector gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.testkit.dashboard import serving_at
from tests.testkit.instance import Instance
from tests.testkit.raw_http import OK, RawClient, ScriptedMirror, answering, post, read_request
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.e2e

CANARIES = (b"sk-CanaryKey", b"CanaryOfAPrompt", b"CanaryOfAQuery", b"CanaryOfTheAnswer")
BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "CanaryOfAPrompt"}]}'
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORDED, SKIPPED = f"traceparent: 00-{TRACE}-{PARENT}-01", f"traceparent: 00-{TRACE}-{PARENT}-00"
FAILS = b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"
GOOD = OK.replace(b'"index"', b'"CanaryOfTheAnswer": 1, "index"')
GOOD = GOOD.replace(b"Length: %d" % 38, b"Length: %d" % (38 + 24))


class Collector:
    """Takes spans as an OpenTelemetry collector does; `token` is what it asks for."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        self.services: set[str] = set()
        self.refused = 0

    async def take(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer CanaryOfTheToken":
            self.refused += 1
            raise web.HTTPUnauthorized
        body = await request.read()
        self.raw += body
        told = ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[tuple[Instance, Collector, Any]]:
    """An instance before a mirror that fails and one that does not, with a collector."""
    collector, seen = Collector(), []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            if head.startswith(b"POST"):
                seen.append(head)
            writer.write(GOOD)
            await writer.drain()

    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with (
        serving_at(app) as address,
        ScriptedMirror(answering(FAILS)) as bad,
        ScriptedMirror(script, "b") as good,
    ):
        told = {"endpoint": f"{address}/v1/traces", "sample": 0} | settings
        config = {
            "router": {"workers": 1, "balance": {"policy": "priority"}},
            "monitor": {"interval": "1h"},
            "traces": told | {"headers": {"Authorization": "Bearer CanaryOfTheToken"}},
            "mirrors": [bad.table(priority=0, models=["gpt-4o"]), good.table(priority=1)],
        }
        with Instance(config, folder) as instance:
            yield instance, collector, seen


async def ask(instance: Instance, *fields: str) -> int:
    host, _, port = instance.base_url.partition("://")[2].partition("/")[0].partition(":")
    client = RawClient(*await asyncio.open_connection(host, int(port)))
    try:
        asked = post("/v1/chat/completions?x=CanaryOfAQuery", BODY, *fields)
        await client.send(asked.replace(b"sk-x", b"sk-CanaryKey"))
        return (await client.response()).status
    finally:
        await client.close()


async def test_a_request_that_was_rescued_is_one_span_with_one_for_each_attempt(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (instance, collector, seen):
        assert await ask(instance, RECORDED, "tracestate: a=b") == 200
        assert await ask(instance, SKIPPED) == 200
        assert await ask(instance) == 200
        instance.stop()
        await wait_until_async(lambda: len(collector.spans) >= 3, 10, "the spans")
        (root,) = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
        attempts = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
        assert len(collector.spans) == 3, "neither of the others was to be recorded"
        assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
        assert root.name == "chat gpt-4o"
        said = attributes(root)
        assert said["http.response.status_code"] == 200
        assert said["gen_ai.request.model"] == "gpt-4o"
        assert (said["mirrorgate.mirror"], said["mirrorgate.outcome"]) == ("b", "success")
        assert {span.parent_span_id for span in attempts} == {root.span_id}
        last, first = sorted(attempts, key=lambda span: -span.start_time_unix_nano)
        assert attributes(first)["mirrorgate.mirror"] == "a"
        assert attributes(first)["error.type"] == "server_error"
        assert attributes(last)["mirrorgate.outcome"] == "success"
        began, ended = root.start_time_unix_nano, root.end_time_unix_nano
        assert all(
            began <= one.start_time_unix_nano <= one.end_time_unix_nano <= ended for one in attempts
        )
        joined = f"traceparent: 00-{TRACE}-{last.span_id.hex()}-01".encode()
        assert joined in seen[0]
        assert seen[0].count(b"tracestate: a=b") == seen[0].count(b"tracestate") == 1
        assert SKIPPED.encode() in seen[1], "passed on as it is"
        assert b"traceparent" not in seen[2]
        assert collector.services == {"mirrorgate"}
        for canary in (*CANARIES, b"127.0.0.1"):
            assert canary not in collector.raw, canary


async def test_a_collector_that_is_gone_or_comes_later_costs_no_request(tmp_path: Path) -> None:
    async with running(tmp_path, sample=1, endpoint="http://127.0.0.1:9/v1/traces") as (
        instance,
        collector,
        _,
    ):
        for _ in range(5):
            assert await ask(instance) == 200
        assert "CanaryOfTheToken" not in instance.logs()
        assert "Traceback" not in instance.logs()
        assert instance.stop() == 0
        assert collector.spans == []


async def test_a_reload_switches_it_on_for_connections_that_are_open(tmp_path: Path) -> None:
    async with running(tmp_path, endpoint="") as (instance, _, seen):
        host, _, port = instance.base_url.partition("://")[2].partition("/")[0].partition(":")
        client = RawClient(*await asyncio.open_connection(host, int(port)))
        asked = post("/v1/chat/completions", BODY, RECORDED, "tracestate: a=b")

        async def passed() -> bytes:
            await client.send(asked)
            assert (await client.response()).status == 200
            return bytes(seen[-1])

        try:
            assert RECORDED.encode() in await passed()
            instance.config["traces"]["endpoint"] = "http://127.0.0.1:9/v1/traces"
            instance.write(instance.config)
            await asyncio.to_thread(instance.reload)

            async def joined() -> bool:
                return RECORDED.encode() not in await passed()

            await wait_until_async(joined, 10, "the reload to reach the worker")
            head = await passed()
            assert head.count(b"traceparent: ") == head.count(b"tracestate: a=b") == 1
            assert f"traceparent: 00-{TRACE}-".encode() in head
        finally:
            await client.close()
