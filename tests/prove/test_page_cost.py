"""A hundred mirrors with ninety days each: the time of a page, and of five hundred open ones."""

import asyncio
import itertools
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from dashboard.common.answers import Answer
from dashboard.common.sources import Visitor
from dashboard.common.steps import all_at_once
from dashboard.i18n.texts import Words
from dashboard.public.app import build_public_app
from dashboard.public.page import build
from dashboard.public.pages import LINES, render
from dashboard.public.view import Asking
from monitor.health.snapshot import State
from tests.prove.conftest import Measure
from tests.testkit.dashboard import BROWSER, NOW, serving, serving_at
from tests.testkit.many_nodes import sources_of

pytestmark = pytest.mark.prove

NODES, READERS, SECONDS = 100, 500, 20.0


async def test_a_page_that_changed_is_ready_in_30_ms_and_a_kept_one_in_1_ms(
    tmp_path, measured: Measure
):
    sources, clock = sources_of(tmp_path, NODES), [NOW]
    app = build_public_app(sources, lambda: clock[0])
    asking = Asking(Words("zh"), False, True)

    def made() -> Answer:
        page = build(app, asking.words, clock[0])
        lines = app[LINES].of(page, "")
        more = {"refreshing": True, "live_version": "x", "visitor": ""}
        return all_at_once(render("status.html", page, asking, lines=lines, **more))

    made()
    changed = []
    for turn in range(20):
        clock[0] += 1
        state = State.down if turn % 2 else State.up
        sources.health = (replace(sources.health[0], state=state), *sources.health[1:])
        began = time.perf_counter()
        answer = made()
        changed.append(time.perf_counter() - began)
    async with serving(app) as client:
        kept = []
        for _ in range(200):
            began = time.perf_counter()
            async with client.head("/", headers=BROWSER) as response:
                await response.read()
            kept.append(time.perf_counter() - began)
    changed.sort()
    kept.sort()
    measured("a changed page of 100 mirrors, median, ms", changed[10] * 1e3)
    measured("a kept one, over HTTP with the client's share, median, ms", kept[100] * 1e3)
    measured("KiB of it, compressed", len(answer.packed) / 1024)
    assert changed[10] < 0.030
    assert kept[100] < 0.003
    assert len(answer.packed) < 100 * 1024


async def test_five_hundred_open_pages_cost_a_twentieth_of_a_core(tmp_path, measured: Measure):
    """Readers are in this process too, so what is measured is an upper bound."""
    sources = sources_of(tmp_path, NODES)
    app = build_public_app(sources, lambda: NOW + time.monotonic() - began)
    began = time.monotonic()
    sources.dashboard_ = replace(
        sources.dashboard_, requests_per_second=0, total_requests_per_second=0
    )
    connector, patience = TCPConnector(limit=0), ClientTimeout(total=None)
    async with (
        serving_at(app) as url,
        ClientSession(connector=connector, timeout=patience) as client,
        AsyncExitStack() as stack,
    ):
        told = [0]

        async def read() -> None:
            response = await stack.enter_async_context(client.get(f"{url}/events"))
            assert response.status == 200
            async for line in response.content:
                told[0] += line.startswith(b"event: parts")

        many = (Visitor(str(number).encode(), False) for number in itertools.count())
        sources.visitor = lambda address, fields: next(many)  # type: ignore[method-assign]
        readers = [asyncio.create_task(read()) for _ in range(READERS)]
        await asyncio.sleep(3)
        used, wall = time.process_time(), time.monotonic()
        for turn in range(int(SECONDS / 5)):
            await asyncio.sleep(5)
            state = State.down if turn % 2 == 0 else State.up
            sources.health = (replace(sources.health[0], state=state), *sources.health[1:])
        share = (time.process_time() - used) / (time.monotonic() - wall)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    measured("percent of a core for 500 open pages, their readers included", share * 100)
    measured("messages read", told[0])
    assert told[0] >= READERS * (SECONDS / 5 - 1)
    assert share < 0.10
