"""Clients make no series, whatever they send, and a hundred mirrors a bounded number of them."""

import asyncio
import random
import re
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from monitor.common.metric_registry import MetricRegistry
from router.forwarding import metrics
from router.forwarding.stats import Stats
from tests.prove.conftest import Measure
from tests.testkit.instance import Instance
from tests.testkit.mirror.server import TEST_KEY, PretendMirror
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.prove

STRANGE = 10_000
WARM_UP = 3_000
MIRRORS = 100
MOST_SERIES = 30_000
MOST_DELAY = 0.05
SCRAPES = 20
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PURGE", "BREW", "M-SEARCH")


def config(ports: list[int], **more: Any) -> dict[str, Any]:
    mirrors = [
        {
            "id": f"m{number}",
            "url": f"http://m{number}.mirror.test:{ports[number % len(ports)]}",
            "addresses": ["127.0.0.1"],
            "allow_private": True,
            "api_key": TEST_KEY,
            "region": ("asia", "europe")[number % 2],
        }
        for number in range(more.pop("mirrors", 3))
    ]
    router = {"workers": 2, "trusted_proxies": ["127.0.0.0/8"], "callers": ["own", "anonymous"]}
    return {"router": {**router, "cors_origins": []}, "mirrors": mirrors, **more}


async def series(admin_url: str) -> set[str]:
    """Names and labels of all series."""
    async with aiohttp.ClientSession() as session, session.get(f"{admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def word(rng: random.Random, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(rng.choices(letters, k=rng.randrange(1, 40)))


def strange_requests(rng: random.Random, count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Methods, paths and what goes with them, as nobody who means well would send them."""
    for _ in range(count):
        path = rng.choice(
            (
                "/v1/chat/completions",
                "/v1/models",
                f"/v1/{word(rng)}",
                f"/{word(rng)}",
                "/v1/files/",
            )
        )
        path += rng.choice(("", f"?{word(rng)}={word(rng)}"))
        headers = {
            "x-forwarded-for": ".".join(str(rng.randrange(1, 224)) for _ in range(4)),
            "user-agent": word(rng, string.printable[:94]),
            "authorization": f"Bearer {rng.choice((TEST_KEY, 'sk-' + word(rng)))}",
            "x-request-id": word(rng),
        }
        body = {"model": word(rng), "stream": rng.random() < 0.3, "messages": []}
        yield rng.choice(METHODS), path, {"headers": headers, "json": body}


async def send(base_url: str, requests: Iterator[tuple[str, str, dict[str, Any]]]) -> None:
    """Send all, sixteen at a time."""
    async with aiohttp.ClientSession(base_url) as session:

        async def some() -> None:
            for method, path, more in requests:
                try:
                    async with session.request(method, path, **more) as answer:
                        await answer.read()
                except (aiohttp.ClientError, ValueError):
                    pass  # what the client itself refuses to send, or to read

        await asyncio.gather(*(some() for _ in range(16)))


async def test_requests_of_clients_create_no_new_series(tmp_path: Path, measured: Measure) -> None:
    rng = random.Random(15)
    async with PretendMirror("alpha", keys=[TEST_KEY]) as mirror:
        instance = Instance(config([mirror.port]), tmp_path)
        await asyncio.to_thread(instance.__enter__)
        try:
            await send(instance.base_url, strange_requests(rng, WARM_UP))
            await asyncio.sleep(3)  # until all workers have reported, and each mirror was probed
            before = await series(instance.admin_url)
            await send(instance.base_url, strange_requests(rng, STRANGE))
            await asyncio.sleep(3)
            after = await series(instance.admin_url)
        finally:
            await asyncio.to_thread(instance.__exit__)
    measured("strange requests", STRANGE)
    measured("series before and after", (len(before), len(after)))
    assert after - before == set()


async def test_a_hundred_mirrors_have_less_than_30000_series_and_scrapes_hold_up_nothing(
    tmp_path: Path, measured: Measure
) -> None:
    async with PretendMirror("alpha", keys=[TEST_KEY]) as one, PretendMirror("beta") as two:
        given = config([one.port, two.port], mirrors=MIRRORS, monitor={"interval": "5s"})
        instance = Instance(given, tmp_path)
        await asyncio.to_thread(instance.__enter__)
        try:
            await fill(instance)
            found = await series(instance.admin_url)
            delays, seconds, pages = await scraped(instance)
            quiet_delays, quiet = await without_scrapes(instance, sum(seconds))
        finally:
            await asyncio.to_thread(instance.__exit__)
    measured("series", len(found))
    measured("seconds of a scrape, longest", max(seconds))
    measured("looks at the loop of control that came later than 50 ms", delays)
    measured("the same without scrapes, in as many seconds", quiet_delays)
    measured("ms of a page, longest: while scraping, and not", (max(pages) * 1e3, max(quiet) * 1e3))
    assert len(found) < MOST_SERIES
    # Both are 0 on a machine that does nothing else; what others cause, they cause without scrapes.
    assert delays <= 2 * quiet_delays + 1
    assert max(pages) < 2 * max(quiet) + MOST_DELAY


async def fill(instance: Instance) -> None:
    """Have every mirror answer on three endpoints, streamed and not."""
    async with aiohttp.ClientSession(instance.base_url) as session:
        headers = {"authorization": f"Bearer {TEST_KEY}"}

        async def some() -> None:
            for turn in range(300):
                path = ("/v1/chat/completions", "/v1/embeddings", "/v1/chat/completions")[turn % 3]
                body = {"model": "gpt-4o", "stream": turn % 3 == 0, "messages": [], "input": "x"}
                async with session.post(path, json=body, headers=headers) as answer:
                    await answer.read()

        await asyncio.gather(*(some() for _ in range(20)))

    async def all_told() -> bool:
        name = 'mirrorgate_time_to_first_token_seconds_count{mirror="'
        return sum(name in each for each in await series(instance.admin_url)) >= MIRRORS * 0.9

    await wait_until_async(all_told, 30, "every mirror to have answered")


async def late(instance: Instance) -> tuple[float, float]:
    """Looks at how late the loop of control is: all, and those up to 50 ms."""
    name = "mirrorgate_control_loop_delay_seconds_bucket"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{instance.admin_url}/metrics") as answer:
            text = await answer.text()
    found = {
        bound: float(value)
        for bound, value in re.findall(rf'^{name}{{le="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    }
    return found["+Inf"], found["0.05"]


async def scraped(instance: Instance) -> tuple[float, list[float], list[float]]:
    """Scrape again and again, with pages beside: looks that came late, and seconds of both."""
    seconds: list[float] = []
    pages: list[float] = []
    before = await late(instance)
    async with aiohttp.ClientSession() as session:

        async def scrape() -> None:
            for _ in range(SCRAPES):
                began = time.monotonic()
                async with session.get(f"{instance.admin_url}/metrics") as answer:
                    await answer.read()
                seconds.append(time.monotonic() - began)

        scraping = asyncio.create_task(scrape())
        while not scraping.done():
            pages.append(await page(session, instance))
    after = await late(instance)
    return (after[0] - after[1]) - (before[0] - before[1]), seconds, pages


async def page(session: aiohttp.ClientSession, instance: Instance) -> float:
    began = time.monotonic()
    async with session.get(f"{instance.dashboard_url}/api/v1/health") as answer:
        await answer.read()
    await asyncio.sleep(0.01)
    return time.monotonic() - began - 0.01


async def without_scrapes(instance: Instance, seconds: float) -> tuple[float, list[float]]:
    """The same for so long without a scrape."""
    before, pages, until = await late(instance), [], time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            pages.append(await page(session, instance))
    after = await late(instance)
    return (after[0] - after[1]) - (before[0] - before[1]), pages


def test_counting_a_request_takes_less_than_3_microseconds(measured: Measure) -> None:
    stats, rounds = Stats(MetricRegistry(metrics.FAMILIES)), 100_000
    end = ("hk", "chat", 200, "success", True)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(rounds):
            stats.answered("hk", "chat", 0.2, 0.0, 0.0003)
            stats.first_token("hk", "gpt-4o", 0.4)
            stats.attempt_ended("hk", True)
            stats.finished(b"mg_1", end, False, 1.2, 100, 2000)
        best = min(best, (time.perf_counter() - began) / rounds)
    measured("microseconds to count a streamed request", best * 1e6)
    assert best < 3e-6
