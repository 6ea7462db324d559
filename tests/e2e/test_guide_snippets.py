"""Every snippet that `/docs` shows works as printed."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.guide_snippets import RUNS, SLOW, Reader, Snippets
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY

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
