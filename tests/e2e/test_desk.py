"""The operators' desk in a real browser: attacks fail in it, and an operator's work gets done."""

import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from dashboard.admin.app import build_admin_app
from dashboard.admin.desk import TABS
from dashboard.admin.passwords import hashed
from dashboard.common.config import AdminConfig
from tests.testkit.dashboard import NOW, FakeCommands, FakeSources, serving_at
from tests.testkit.hostile_texts import PAYLOADS, hostile
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.programs import require
from tests.testkit.wait import wait_until_async

pytestmark = pytest.mark.e2e

PASSWORD = "correct horse battery"
HASH = hashed(PASSWORD)
PAGES = ("", *TABS[1:], "nodes/sg", "keys/k0")


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    program = require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


@dataclasses.dataclass
class Tab:
    """A page of a browser, and what it complained of."""

    page: Page
    origin: str
    complaints: list[str] = dataclasses.field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", self.logged)
        self.page.on("pageerror", lambda error: self.told(str(error)))
        self.page.on("dialog", lambda dialog: self.told(f"dialog: {dialog.message}"))
        self.page.on("request", self.asked)

    def logged(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.told(message.text)

    def told(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def asked(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.origin, "data:")):
            self.told(f"asked elsewhere: {url}")

    async def sign_in(self) -> None:
        await self.page.goto(f"{self.origin}/admin/")
        await self.page.fill("#password", PASSWORD)
        await self.page.click("main button")
        await self.page.wait_for_selector(".tabs")

    async def confirm(self) -> str:
        """Answer the question; what was done."""
        await self.page.click(".ask button")
        return await self.page.inner_text(".flash")


@asynccontextmanager
async def tab(browser: Browser, origin: str, **more: object) -> AsyncIterator[Tab]:
    context: BrowserContext = await browser.new_context(locale="en-US", **more)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    opened = Tab(await context.new_page(), origin)
    opened.watch()
    yield opened
    await context.close()


@pytest.fixture
async def hostile_desk() -> AsyncIterator[str]:
    """A desk whose every text is a stranger's."""
    commands = FakeCommands()
    sources = hostile(FakeSources(admin_=AdminConfig(password_hash=HASH)), commands)
    app = build_admin_app(sources, commands, trusted=False, clock=lambda: NOW)
    async with serving_at(app) as origin:
        yield origin


async def test_no_text_of_a_stranger_becomes_script_or_markup(chromium, hostile_desk):
    async with tab(chromium, hostile_desk) as opened:
        page = opened.page
        await opened.sign_in()
        for path in PAGES:
            await page.goto(f"{hostile_desk}/admin/{path}")
            await page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            await page.mouse.move(300, 400)
            assert "owned" not in await page.title(), path
            foreign = "main :is(script, iframe, object, embed, base, meta, link, style, video, x)"
            assert await page.locator(foreign).count() == 0, path
            assert await page.evaluate("location.origin") == hostile_desk
        text = await page.inner_text("main")
        assert opened.complaints == []
        await page.goto(f"{hostile_desk}/admin/audit")
        text = await page.inner_text("main")
        for payload in PAYLOADS:
            assert payload.replace("\0", "") in text


@pytest.mark.parametrize("script", [True, False])
async def test_every_page_fits_every_screen_and_has_no_complaint(chromium, hostile_desk, script):
    size = {"width": 1280, "height": 800}
    async with tab(
        chromium, hostile_desk, viewport=size, java_script_enabled=script, color_scheme="dark"
    ) as opened:
        await opened.sign_in()
        for path in PAGES:
            await opened.page.goto(f"{hostile_desk}/admin/{path}")
            for width in (1280, 390, 320):
                await opened.page.set_viewport_size({"width": width, "height": 800})
                needed = await opened.page.evaluate("document.documentElement.scrollWidth")
                assert needed <= width, (path, width)
        assert opened.complaints == []


async def test_pages_of_others_can_neither_frame_the_desk_nor_post_its_forms(chromium):
    """The other page is on another port of the same host: for cookies that is the same site."""
    commands = FakeCommands()
    sources = FakeSources(admin_=AdminConfig(password_hash=HASH))
    app = build_admin_app(sources, commands, trusted=False, clock=lambda: NOW)
    async with serving_at(app) as origin:
        fields = {"mirror": "hk", "wish": "drain", "sure": "yes", "csrf": "guessed"}
        inputs = "".join(f'<input name="{n}" value="{v}">' for n, v in fields.items())
        evil = web.Application()

        async def frame(request: web.Request) -> web.Response:
            text = f'<iframe src="{origin}/admin/nodes"></iframe>'
            return web.Response(text=text, content_type="text/html")

        async def form(request: web.Request) -> web.Response:
            text = f'<form method="post" action="{origin}/admin/do/wish">{inputs}<button>x</button>'
            return web.Response(text=text, content_type="text/html")

        evil.router.add_get("/frame", frame)
        evil.router.add_get("/form", form)
        async with serving_at(evil) as other, tab(chromium, origin) as opened:
            await opened.sign_in()
            await opened.page.goto(f"{other}/frame")
            (inner,) = opened.page.frames[1:]
            await inner.wait_for_load_state()
            assert "chrome-error" in inner.url
            await opened.page.goto(f"{other}/form")
            await opened.page.click("button")
            await opened.page.wait_for_url(f"{origin}/admin/do/wish")
            assert "Refused" in await opened.page.inner_text("main")
            reading = await opened.page.evaluate(
                "fetch('/admin/nodes', {redirect: 'manual'}).then(r => r.status)"
            )
            assert reading == 200, "the session itself holds"
    assert not any(what[0] == "wish" for what in commands.told)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder: Path = tmp_path_factory.mktemp("desk")
    with MirrorProcess("a", folder) as mirror, MirrorProcess("b", folder) as other:
        mirrors = [
            {"id": each.name, "url": each.base_url, "addresses": ["127.0.0.1"], "name": name}
            for each, name in ((mirror, PAYLOADS[1]), (other, "Second"))
        ]
        config = {
            "router": {"workers": 1},
            "mirrors": mirrors,
            "admin": {"password_hash": HASH},
            "monitor": {"interval": "1s"},
        }
        with Instance(config, folder / "instance") as instance:
            yield instance


def told(instance: Instance, *command: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(instance.command(*command, "--json", check=True).stdout)
    return answer


async def test_an_operator_does_a_days_work(chromium, instance):
    async with tab(chromium, instance.admin_url) as opened:
        page, origin = opened.page, instance.admin_url
        await opened.sign_in()
        await page.goto(f"{origin}/admin/nodes")
        await page.click("li.node:has-text('Second') button:has-text('Drain')")
        assert "gets no new requests" in await opened.confirm()
        nodes = {n["id"]: n for n in told(instance, "status")["nodes"]}
        assert nodes["b"]["wish"] == "drain"
        await page.click("li.node:has-text('onerror') button:has-text('Drain')")
        assert "every request will be refused (503)" in await page.inner_text(".ask")
        await page.click("text=Cancel")
        await page.click("li.node:has-text('Second') button:has-text('Enable')")
        await page.wait_for_selector("text=is used again")

        await page.goto(f"{origin}/admin/nodes/a")
        await page.click("button:has-text('Probe')")
        await page.wait_for_selector("#diagnosis >> text=request")  # arrives without a reload
        await page.wait_for_selector("#diagnosis:not([data-live])")

        await page.goto(f"{origin}/admin/bans")
        await page.fill("form[action$='/ban'] [name=network]", "198.51.100.7")
        await page.fill("form[action$='/ban'] [name=reason]", PAYLOADS[0])
        await page.click("form[action$='/ban'] button")
        assert "198.51.100.7/32 is banned" in await opened.confirm()
        (ban,) = told(instance, "bans", "list")["bans"]
        assert (ban["network"], ban["reason"]) == ("198.51.100.7/32", PAYLOADS[0])
        await page.click("tr:has-text('198.51.100.7') >> text=Unban")
        await page.wait_for_selector("text=1 ban was lifted")

        await page.goto(f"{origin}/admin/keys")
        await page.fill("[name=name]", PAYLOADS[2])
        await page.fill("[name=quota]", "10")
        await page.click("form[action$='create-key'] button")
        key = await page.inner_text("#new-key")
        assert key.startswith("mg-")
        await page.reload()
        assert key not in await page.content()
        await page.click("tbody a")
        await page.click("text=Revoke >> nth=-1")
        assert "was revoked" in await opened.confirm()

        await page.goto(f"{origin}/admin/incidents")
        await page.check("[name=mirrors][value=b]")
        await page.fill("[name=for]", "1h")
        await page.fill("[name=title_en]", PAYLOADS[4])
        await page.click("form[action$='/plan'] button")
        assert "is planned" in await opened.confirm()
        (planned,) = told(instance, "incidents", "list")["maintenances"]
        assert (planned["status"], planned["title"]["en"]) == ("in_progress", PAYLOADS[4])
        await page.click("text=End now")
        assert "is over" in await opened.confirm()

        told(instance, "incidents", "open", "--impact", "major", "--title-en", PAYLOADS[0])
        await page.reload()
        row = page.locator("li:has-text('by hand')")
        await row.locator("text=Add an update").click()
        await row.locator("[name=status]").select_option("resolved")
        await row.locator("[name=text_en]").fill("Fixed")
        await row.locator("text=Publish").click()
        await page.wait_for_selector("text=The update was published")
        (incident,) = [i for i in told(instance, "incidents", "list")["incidents"] if i["manual"]]
        assert (incident["status"], incident["title"]["en"]) == ("resolved", PAYLOADS[0])

        await page.goto(f"{origin}/admin/audit")
        text = await page.inner_text("main")
        for what in ("sign in", "drain b", "probe a", "ban 198.51.100.7/32", "create key", "open"):
            assert what in text
        assert key not in text
        await page.click("text=Sign out >> nth=0")
        await page.wait_for_selector("#password")
        assert opened.complaints == []


async def test_the_overview_keeps_itself_current(chromium, instance):
    async with tab(chromium, instance.admin_url) as opened:
        await opened.sign_in()
        row = opened.page.locator("tr:has-text('Second')")
        await row.wait_for()
        instance.command("maintenance", "b", check=True)

        async def is_shown() -> bool:
            return "Maintenance" in await row.inner_text()

        await wait_until_async(is_shown, 20)
        instance.command("enable", "b", check=True)
