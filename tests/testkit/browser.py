"""Pages in a real browser: Debian's Chromium, driven by playwright, with axe for accessibility."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from playwright.async_api import Browser, async_playwright

from tests.e2e.clients.environments import node_modules
from tests.testkit.programs import require

AXE = "axe-core@4"
CHECKED = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")


_RUN_AXE = """async tags => {
  const found = await axe.run(document, { runOnly: tags });
  const said = nodes => nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(" | ");
  return found.violations.map(each => `${each.id}: ${said(each.nodes)}`);
}"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window."""
    program = require("chromium")
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


def axe() -> str:
    """The source of axe."""
    return (node_modules((AXE,)) / "axe-core" / "axe.min.js").read_text("utf-8")


@dataclass(frozen=True)
class Look:
    """The way in which a page is looked at."""

    width: int = 1280
    scheme: Literal["light", "dark"] = "light"
    script: bool = True


async def complaints(browser: Browser, url: str, look: Look, axe_source: str = "") -> list[str]:
    """All that is wrong with a page: messages of the console, with violations of its policy,
    requests to elsewhere, more width than there is, and what axe finds."""
    found: list[str] = []
    context = await browser.new_context(
        viewport={"width": look.width, "height": 900},
        color_scheme=look.scheme,
        java_script_enabled=look.script,
    )
    page = await context.new_page()
    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    base = "/".join(url.split("/")[:3])
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((base, "data:"))
            else found.append(f"asks elsewhere: {request.url}")
        ),
    )
    await page.goto(url, wait_until="load")
    if look.script:
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            found.append(f"{wide} px too wide")
        if axe_source:
            await page.evaluate(axe_source)
            told = await page.evaluate(_RUN_AXE, list(CHECKED))
            found += [f"axe: {violation}" for violation in told]
    await context.close()
    return found
