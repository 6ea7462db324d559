"""`/docs` and `/key` as users have them: every snippet works as printed, and nothing overflows."""

import asyncio
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from dashboard.public.app import build_public_app
from tests.scenarios.guide_snippets import RUNS, SLOW, Reader, Snippets
from tests.testkit.dashboard import NOW, FakeSources, serving_at
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.programs import require

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("guide")
    with MirrorProcess("mirror", folder, keys=[TEST_KEY]) as mirror:
        config = {
            "router": {"workers": 1, "legacy": True},
            "mirrors": [
                {
                    "id": "hk",
                    "url": mirror.base_url,
                    "allow_private": True,
                    "api_key": TEST_KEY,
                }
            ],
        }
        found = Instance(config, folder / "instance")
        found.write({**config, "dashboard": {"public_url": found.dashboard_url}})
        with found:
            yield found


def shown(instance: Instance, language: str) -> dict[str, str]:
    """The snippets of the page in a language."""
    url = f"{instance.dashboard_url}/docs?lang={language}"
    browser = urllib.request.Request(url, headers={"Accept": "text/html"})
    with urllib.request.urlopen(browser, timeout=20) as page:
        return Snippets(page.read().decode()).found


@pytest.fixture(scope="module")
def snippets(instance: Instance) -> dict[str, str]:
    return shown(instance, "en")


def test_every_snippet_of_the_page_is_run_and_is_the_same_in_both_languages(instance, snippets):
    assert set(snippets) == {*RUNS, *SLOW}
    assert shown(instance, "zh") == snippets


@pytest.mark.parametrize("name", RUNS)
def test_a_snippet_works_as_printed(instance, snippets, tmp_path: Path, name):
    RUNS[name](Reader(tmp_path, TEST_KEY), snippets[name])


@pytest.mark.prove
@pytest.mark.parametrize("name", SLOW)
def test_a_snippet_for_a_compiler_works_as_printed(instance, snippets, tmp_path: Path, name):
    SLOW[name](Reader(tmp_path, TEST_KEY), snippets[name])


def test_the_key_page_shows_the_balance_and_stores_the_key_nowhere(instance):
    created = instance.command("keys", "create", "--name", "alice", "--quota", "12.50", check=True)
    key = created.stdout.strip()
    form = urllib.parse.urlencode({"key": key}).encode()
    with urllib.request.urlopen(f"{instance.dashboard_url}/key?lang=en", form, 20) as answer:
        told = answer.read().decode()
        assert answer.headers["Cache-Control"] == "no-store"
    assert "12.50 of 12.50" in told
    kept = b"".join(file.read_bytes() for file in instance.directory.iterdir() if file.is_file())
    assert key not in told + instance.logs()
    assert key.encode() not in kept


WIDTHS = (320, 390, 768, 1280)
FRAMES = """<!DOCTYPE html><body><pre id="told"></pre><script>
const told = {};
let open = 0;
for (const path of PATHS) for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0`;
  open += 1;
  frame.onload = () => {
    const page = frame.contentDocument;
    const boxes = [...page.querySelectorAll("main *:not(pre, pre *)")];
    told[`${path} ${width}`] = [
      page.documentElement.scrollWidth - width,
      ...boxes.filter((box) => box.getBoundingClientRect().right > width + 0.5)
        .map((box) => box.className || box.tagName),
    ];
    if (--open === 0) document.getElementById("told").textContent = JSON.stringify(told);
  };
  frame.src = path;
  document.body.append(frame);
}
</script>"""


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_the_instructions_and_the_form_fit_every_screen(tmp_path: Path, language):
    """Frames of several widths measure the pages, served without their framing ban for this."""
    sources = FakeSources(legacy_days_=90)
    app = build_public_app(sources, lambda: NOW)

    async def frames(_: web.Request) -> web.Response:
        paths = json.dumps([f"/docs?lang={language}", f"/key?lang={language}"])
        page = FRAMES.replace("PATHS", paths).replace("WIDTHS", json.dumps(WIDTHS))
        return web.Response(text=page, content_type="text/html")

    async def allow_framing(_: web.Request, response: web.StreamResponse) -> None:
        del response.headers["Content-Security-Policy"], response.headers["X-Frame-Options"]

    app.router.add_get("/frames", frames)
    app.on_response_prepare.append(allow_framing)
    async with serving_at(app) as url:
        process = await asyncio.create_subprocess_exec(
            require("chromium"),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={tmp_path}", "--hide-scrollbars", "--dump-dom"),
            *("--virtual-time-budget=20000", f"{url}/frames"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 120)
    found = re.search(r'<pre id="told">(.+?)</pre>', printed.decode())
    assert found is not None
    told = json.loads(found[1])
    assert len(told) == 2 * len(WIDTHS)
    assert {name: seen for name, seen in told.items() if seen != [0]} == {}
