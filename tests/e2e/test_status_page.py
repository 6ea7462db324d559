"""The status page in a real browser: nothing is blocked, nothing overflows, all of it is read."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from dashboard.public.app import build_public_app
from tests.testkit.dashboard import NOW, FakeSources, serving_at
from tests.testkit.programs import require

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
PAGES = ("/", "/nodes/jp", "/banned", "/docs", "/nowhere")


@pytest.fixture
async def address():
    async with serving_at(build_public_app(FakeSources(), lambda: NOW)) as url:
        yield url


async def browse(chromium: str, folder: Path, *arguments: str) -> tuple[str, str]:
    """Return Chromium's output and log."""
    process = await asyncio.create_subprocess_exec(
        chromium,
        *QUIET,
        f"--user-data-dir={folder}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, logged = await asyncio.wait_for(process.communicate(), 45)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    return printed.decode(), logged.decode(errors="replace")


@pytest.mark.e2e
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("path", PAGES)
async def test_a_browser_shows_the_page_and_has_no_complaint(address, tmp_path, path, language):
    chromium = require("chromium")
    url = f"{address}{path}?lang={language}"
    printed, logged = await browse(chromium, tmp_path, "--dump-dom", url)
    assert "小鹿 API" in printed
    assert f'lang="{ {"zh": "zh-CN", "en": "en"}[language] }"' in printed
    complaints = [line for line in logged.splitlines() if "CONSOLE" in line]
    expected = [line for line in complaints if "404" in line and path == "/nowhere"]
    assert complaints == expected


FRAME = """<!DOCTYPE html><body><pre id="told"></pre><script>
const told = {};
const widths = [320, 390, 768, 1024, 1151, 1280];
let open = widths.length;
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  frame.onload = () => {
    const page = frame.contentDocument;
    const name = page.querySelector(".nodes tbody th a");
    told[width] = {
      overflow: page.documentElement.scrollWidth - width,
      scrolled: Math.max(...[...page.querySelectorAll(".scroll")].map(
        (box) => box.scrollWidth - box.clientWidth)),
      rules: page.styleSheets.length && page.styleSheets[0].cssRules.length,
      icons: page.querySelectorAll("svg.icon").length,
      rows: page.querySelectorAll(".nodes tbody tr").length,
      inline: page.querySelectorAll("[style], script:not([type=module]), style").length,
      target: name.getBoundingClientRect().height,
    };
    if (--open === 0) document.getElementById("told").textContent = JSON.stringify(told);
  };
  frame.src = PAGE;
  document.body.append(frame);
}
</script>"""


@pytest.mark.e2e
@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_page_fits_a_phone_and_a_desktop(tmp_path, language):
    """Frames of several widths measure the page, served without its framing ban for this."""
    chromium = require("chromium")
    app = build_public_app(FakeSources(), lambda: NOW)

    async def frames(request):
        page = json.dumps(f"/?lang={language}&refresh=off")
        return web.Response(text=FRAME.replace("PAGE", page), content_type="text/html")

    async def allow_framing(request, response):
        del response.headers["Content-Security-Policy"], response.headers["X-Frame-Options"]

    app.router.add_get("/frames", frames)
    app.on_response_prepare.append(allow_framing)
    async with serving_at(app) as url:
        printed, _ = await browse(
            chromium, tmp_path, "--dump-dom", "--virtual-time-budget=10000", f"{url}/frames"
        )
    found = re.search(r'<pre id="told">(.+?)</pre>', printed)
    assert found is not None, printed[:2000]
    for width, seen in json.loads(found[1]).items():
        assert seen["overflow"] <= 0, width
        assert seen["scrolled"] <= 0, width
        assert seen["rules"] > 50
        assert seen["icons"] == 8
        assert seen["rows"] == 5
        assert seen["inline"] == 1  # the theme
        assert seen["target"] > 10
