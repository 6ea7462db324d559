"""The status page in a real browser: nothing is blocked, nothing overflows, all of it is read."""

from dataclasses import replace

import pytest
from aiohttp import web
from playwright.async_api import Request

from dashboard.public.app import build_public_app
from monitor.health.snapshot import State
from tests.testkit.browser import Look, axe, chromium, complaints
from tests.testkit.dashboard import HEALTH, NOW, FakeSources, serving_at
from tests.testkit.many_nodes import sources_of

pytestmark = pytest.mark.e2e

LIMIT = 20_000
"""Milliseconds for what must happen; the event ends the wait."""
LOOKS = (
    ("/?lang=en", Look(1280, "light")),
    ("/?lang=zh", Look(390, "dark")),
    ("/?lang=zh", Look(320, "light", script=False)),
    ("/nodes/jp?lang=en", Look(390, "light")),
    ("/nodes/sg?lang=zh", Look(1280, "dark")),
    ("/history?lang=en", Look(320, "dark")),
    ("/banned/me?lang=en", Look(390, "dark")),
)


@pytest.fixture(scope="module")
def forty(tmp_path_factory) -> FakeSources:
    """Forty nodes with a past."""
    return sources_of(tmp_path_factory.mktemp("forty"), 40)


async def test_a_browser_has_no_complaint_about_a_page(forty):
    source = axe()
    sources = replace(forty, mirrors_=forty.mirrors_[:6])
    app = build_public_app(sources, lambda: NOW)
    async with serving_at(app) as url, chromium() as browser:
        found = {
            (path, look): told
            for path, look in LOOKS
            if (told := await complaints(browser, url + path, look, source))
        }
    assert not found


async def test_what_is_wrong_with_a_page_is_found():
    page = (
        "<!DOCTYPE html><title>x</title><img src='http://192.0.2.1/x.png' loading=lazy>"
        "<script>console.log('said')</script><div style='width:5000px'>wide</div>"
    )

    async def bad(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", bad)
    async with serving_at(app) as url, chromium() as browser:
        found = " ".join(await complaints(browser, url + "/", Look(), axe()))
    for complaint in ("said", "px too wide", "axe: image-alt"):
        assert complaint in found


@pytest.mark.parametrize(
    ("nodes", "width", "most", "whole"),
    [(5, 390, 1200, 2000), (40, 1280, 2500, 3000), (40, 390, 3700, 4500)],
)
async def test_nodes_fit_and_their_page_takes_four_requests(forty, nodes, width, most, whole):
    """`most`: pixels from the top of the page to the end of its nodes; `whole`: of the page."""
    sources = replace(forty, mirrors_=forty.mirrors_[: nodes + 1])  # one is switched off
    async with serving_at(build_public_app(sources, lambda: NOW)) as url, chromium() as browser:
        page = await browser.new_page(viewport={"width": width, "height": 900})
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))
        await page.goto(url, wait_until="load")
        end = await page.evaluate("document.querySelector('.nodes').getBoundingClientRect().bottom")
        height = await page.evaluate("document.documentElement.scrollHeight")
        shown = await page.locator(".node .days").count()
        real = [request for request in asked if not request.url.startswith("data:")]
        loaded = [request for request in real if "/events" not in request.url]
        sizes = [(await request.sizes())["responseBodySize"] for request in loaded]
    assert shown == nodes
    assert (end < most, height < whole) == (True, True), (end, height)
    assert len(real) <= 4
    assert sum(sizes) < 100 * 1024


async def test_an_open_page_shows_a_change_while_it_is_read():
    sources = FakeSources()
    clock = [NOW]
    app = build_public_app(sources, lambda: clock[0])
    async with serving_at(app) as url, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{url}/?lang=en")
        await page.wait_for_function("document.documentElement.dataset.liveState === 'live'")
        await page.click("#node-hk summary")
        sources.health = (replace(HEALTH[0], state=State.down, verdict="dns_down"), *HEALTH[1:])
        clock[0] += 1
        await page.wait_for_selector("#node-hk[data-state=down]", timeout=LIMIT)
        assert await page.locator("#node-hk details").get_attribute("open") is not None
        assert "1 of 5 nodes in service" in await page.title()
        await page.click("[data-pause]")
        sources.health = HEALTH
        clock[0] += 1
        await page.click("[data-pause]")
        await page.wait_for_selector("#node-hk[data-state=up]", timeout=LIMIT)


async def test_what_a_reader_has_unfolded_stays_open(forty):
    clock = [NOW]
    app = build_public_app(replace(forty, mirrors_=forty.mirrors_[:6]), lambda: clock[0])
    async with serving_at(app) as url, chromium() as browser:
        page = await browser.new_page()
        await page.route("**/events*", lambda route: route.abort())
        await page.goto(f"{url}/?lang=en")
        folds = ("#newest-bans", "#uptime-how", ".past li:nth-child(2) details", "#node-jp details")
        for fold in folds:
            await page.click(f"{fold} > summary")
        await page.evaluate("document.querySelector('.nodes').dataset.old = '1'")
        clock[0] += 1
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.wait_for_selector(".nodes:not([data-old])", timeout=LIMIT)
        opened = [await page.get_attribute(fold, "open") for fold in folds]
        assert opened == [""] * len(folds)
        assert await page.locator("details[open]").count() == len(folds)


async def test_without_events_a_page_asks_again_when_it_is_seen():
    sources, clock = FakeSources(), [NOW]
    app = build_public_app(sources, lambda: clock[0])
    async with serving_at(app) as url, chromium() as browser:
        page = await browser.new_page()
        await page.route("**/events*", lambda route: route.abort())
        await page.goto(f"{url}/?lang=en")
        sources.health = (replace(HEALTH[0], state=State.down, verdict="dns_down"), *HEALTH[1:])
        clock[0] += 1
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await page.wait_for_selector("#node-hk[data-state=down]", timeout=LIMIT)


async def test_a_chosen_theme_is_remembered_and_many_nodes_can_be_searched_and_sorted(forty):
    app = build_public_app(forty, lambda: NOW)
    async with serving_at(app) as url, chromium() as browser:
        context = await browser.new_context(color_scheme="dark")
        page = await context.new_page()
        await page.goto(f"{url}/?lang=en")
        await page.click("[data-theme-switch]")
        light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        await page.goto(f"{url}/history?lang=en")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == light
        await page.goto(f"{url}/?lang=en")
        await page.fill("[data-filter]", "frankfurt")
        assert await page.locator(".node:visible").count() == 1
        assert not await page.locator("[data-none]").is_visible()
        await page.fill("[data-filter]", "nowhere")
        assert await page.locator("[data-none]").inner_text() == "No node matches."
        await page.fill("[data-filter]", "")
        await page.select_option("[data-sort]", "state")
        assert await page.locator(".node").first.get_attribute("data-state") == "down"
        await page.select_option("[data-sort]", "")
        assert await page.locator(".node").first.get_attribute("id") == "node-hk"
