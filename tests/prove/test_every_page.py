"""Every public page in both languages, light and dark, at three widths."""

from itertools import product
from typing import Any

import pytest

from dashboard.public.app import build_public_app
from tests.prove.conftest import Measure
from tests.testkit.browser import Look, axe, chromium, complaints
from tests.testkit.dashboard import NOW, serving_at
from tests.testkit.many_nodes import sources_of

pytestmark = pytest.mark.prove

PAGES = (
    "/",
    "/nodes/hk",
    "/nodes/sg",
    "/nodes/de",
    "/history",
    "/incidents/c0ffee000001",
    "/banned",
    "/banned/me",
    "/docs",
)
WIDTHS = (1280, 390, 320)


async def test_a_browser_has_no_complaint_about_any_page(tmp_path, measured: Measure):
    source = axe()
    app = build_public_app(sources_of(tmp_path, 7), lambda: NOW)
    found: dict[Any, list[str]] = {}
    looked = 0
    schemes: tuple[Any, ...] = ("light", "dark")
    every = product(PAGES, ("zh", "en"), schemes, WIDTHS, (True, False))
    async with serving_at(app) as url, chromium() as browser:
        for path, language, scheme, width, script in every:
            look = Look(width, scheme, script)
            told = await complaints(browser, f"{url}{path}?lang={language}", look, source)
            looked += 1
            if told:
                found[path, language, look] = told
    measured("pages looked at", looked)
    assert not found
