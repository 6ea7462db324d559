"""The status page in a real browser: nothing is blocked, nothing overflows, all of it is read."""

from dataclasses import replace
from itertools import cycle

import pytest
from aiohttp import web
from playwright.async_api import Request

from dashboard.common.config import DashboardConfig, EntranceConfig, LinkConfig
from dashboard.public.app import build_public_app
from monitor.common.bans import Ban
from monitor.common.config import MirrorConfig
from monitor.common.languages import Text
from monitor.diagnosis.evidence import Code
from monitor.health.announcements import Announced, IncidentEdit, Maintenance, Update
from monitor.health.incidents import Incident, Part
from monitor.health.past import Past
from monitor.health.snapshot import MirrorHealth, State
from tests.cases.hostile_texts import HOSTILE_TEXTS
from tests.testkit.browser import Look, axe, chromium, complaints
from tests.testkit.dashboard import HEALTH, NOW, FakeSources, serving_at
from tests.testkit.hostile_texts import PAYLOADS
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
    ("/incidents/c0ffee000001?lang=zh", Look(320, "light")),
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


async def test_the_page_checker_finds_faults():
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
        await page.wait_for_selector("html[data-live-state=live]", timeout=LIMIT)
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


async def test_unfolded_details_stay_open_across_updates(forty):
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


async def test_a_day_under_the_pointer_is_told_in_the_language_of_the_page(forty):
    app = build_public_app(replace(forty, mirrors_=forty.mirrors_[:6]), lambda: NOW)
    async with serving_at(app) as url, chromium() as browser:
        page = await browser.new_page(viewport={"width": 1280, "height": 2000})
        told = []
        for path, share in (("/", 0.995), ("/", 0.895), ("/nodes/sg", 0.895)):
            for lang in ("en", "zh"):
                await page.goto(f"{url}{path}?lang={lang}")
                days = page.locator("#node-sg .days, .wide-days .days").first
                box = await days.bounding_box()
                assert box is not None
                await page.mouse.move(box["x"] + share * box["width"], box["y"] + 6)
                told.append((await page.locator(".tip").inner_text()).split("\n")[1])
    assert told[:2] == ["No downtime", "没有故障"]
    assert told[2::2] == ["Down 180 min"] * 2
    assert told[3::2] == ["故障 180 分钟"] * 2


async def test_the_contents_of_the_instructions_follow_the_reader():
    current = "[...document.querySelectorAll('.contents [aria-current]')].map(each => each.hash)"
    async with (
        serving_at(build_public_app(FakeSources(), lambda: NOW)) as url,
        chromium() as browser,
    ):
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(f"{url}/docs?lang=en")
        assert await page.evaluate(current) == ["#start"]
        for place in ("limits", "status", "start"):
            await page.click(f".contents a[href='#{place}']")
            await page.wait_for_selector(
                f".contents a[href='#{place}'][aria-current]", timeout=LIMIT
            )
            assert len(await page.evaluate(current)) == 1


HOSTILE = tuple(dict.fromkeys((*HOSTILE_TEXTS, *PAYLOADS)))
SCRIPTS = (
    "for (const name of ['alert', 'prompt', 'confirm']) window[name] = () => console.error(name);"
)


def hostile_sources() -> FakeSources:
    """All that others can write is hostile: one node, incident, ban and message for each text."""
    text = cycle(HOSTILE).__next__
    ids = [f"n{number}" for number in range(len(HOSTILE))]
    mirrors = [MirrorConfig(id, "https://a.example.com", name=text(), region=text()) for id in ids]
    health = [
        MirrorHealth(id, State.down, NOW - 60, text(), last_probe=NOW, cdn_detected=text())
        for id in ids
    ]
    health = [replace(each, evidence=(Code.as_written(text=text()),)) for each in health]
    incidents = [
        Incident(
            id, "v", text(), text(), "minor", NOW - 60, end, NOW, (Part(id, text(), NOW - 60),)
        )
        for id, end in zip(ids, cycle((None, NOW - 30)), strict=False)
    ]
    updates = {id: (Update(1, id, NOW, "identified", Text(text(), text())),) for id in (*ids, "m1")}
    edits = {id: IncidentEdit(id, Text(text(), ""), "major") for id in ids[::2]}
    plan = Maintenance("m1", Text(text(), text()), tuple(ids), NOW + 60, NOW + 90, NOW, NOW)
    every = "\n".join(HOSTILE)
    return FakeSources(
        tuple(mirrors),
        tuple(health),
        [Ban(id, "192.0.2.1/32", NOW, None, text(), "operator", user_agent=text()) for id in ids],
        DashboardConfig(
            title=every,
            notice={"zh": every, "en": every},
            contact=every,
            entrances=tuple(EntranceConfig("https://api.example.com/v1", each) for each in HOSTILE),
            links=tuple(LinkConfig(each, "https://example.com/") for each in HOSTILE),
        ),
        past_=Past(incidents=tuple(incidents)),
        announced_=Announced(edits, updates, (plan,)),
    )


async def test_hostile_texts_do_nothing_in_a_browser_even_without_our_policy():
    """The page as it is loaded, and each part of it that is put in later; every fold is open."""
    sources, clock, found = hostile_sources(), [NOW], []
    app = build_public_app(sources, lambda: clock[0])
    async with serving_at(app) as url, chromium() as browser:
        context = await browser.new_context(bypass_csp=True)
        await context.add_init_script(SCRIPTS)
        page = await context.new_page()
        page.on("console", lambda message: found.append(message.text))
        page.on("pageerror", lambda error: found.append(str(error)))
        page.on("framenavigated", lambda frame: found.append(frame.url))
        page.on("request", lambda request: found.append(request.url))
        await page.goto(f"{url}/?lang=en")
        await page.wait_for_selector("html[data-live-state=live]", timeout=LIMIT)
        open_all = "document.querySelectorAll('details').forEach(each => { each.open = true })"
        await page.evaluate(open_all)
        for change in (slice(0, 20), slice(0, None)):  # some parts, and a page anew
            sources.health = (
                tuple(replace(each, state=State.up, since=NOW) for each in sources.health[change])
                + sources.health[change.stop or len(sources.health) :]
            )
            clock[0] += 1
            await page.wait_for_selector("#node-n0[data-state=up]", timeout=LIMIT)
        await page.wait_for_selector(
            f"#node-{sources.mirrors_[-1].id}[data-state=up]", timeout=LIMIT
        )
        await page.evaluate(open_all)
        tags = await page.evaluate(
            "[...new Set([...document.querySelectorAll('*')].map(each => each.localName))]"
        )
        handlers = await page.evaluate(
            "[...document.querySelectorAll('*')].flatMap(each => each.getAttributeNames())"
            ".filter(name => name.startsWith('on') || name === 'style')"
        )
        scripts = await page.locator("script").count()
        shown = await page.inner_text("main")
    ours = (f"{url}/?", f"{url}/static/", f"{url}/events", "data:image/svg+xml")
    assert [each for each in found if not each.startswith(ours)] == []
    assert not set(tags) & {"img", "iframe", "object", "embed", "form", "base", "video", "marquee"}
    assert (handlers, scripts) == ([], 2)
    assert "<script>alert(1)</script>" in shown
