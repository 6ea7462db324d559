"""Every text exists in both languages; moments are said as people say them."""

import re
import string
from importlib import resources

import pytest

from dashboard.common.moments import ago, iso, lasting, said
from dashboard.common.texts import TEXTS, Words, choose
from monitor.common.languages import LANGUAGES
from monitor.diagnosis.verdicts import VERDICTS
from monitor.health.snapshot import Override, State
from router.balancing.ejection import Cause
from tests.testkit.dashboard import NOW


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_there_in_both_languages_with_the_same_placeholders(key):
    zh, en = TEXTS[key]
    assert zh.strip()
    assert en.strip()
    assert placeholders(zh) == placeholders(en)


def test_every_text_that_templates_name_exists():
    folder = resources.files("dashboard") / "templates"
    named = set()
    for entry in folder.iterdir():
        named |= set(re.findall(r"""words\(["']([a-z0-9_.]+[a-z0-9])["'][,)]""", entry.read_text()))
    assert len(named) > 40
    assert named <= TEXTS.keys()


COMPOSED = (
    "banner.",
    "state.",
    "rotation.",
    "ejection.",
    "phase.",
    "reason.",
    "error.",
    "uptime.",
    "impact.",
    "standing.",
    "level.",
)
"""Their keys are put together from a state, a phase, a window or a code."""


def test_every_text_is_used():
    package = resources.files("dashboard")
    folders = [package / "templates", package / "public"]
    files = [f for folder in folders for f in folder.iterdir() if f.name.endswith(("html", "py"))]
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert not [key for key in TEXTS if key not in source and not key.startswith(COMPOSED)]


def test_states_and_wishes_have_words():
    for language in LANGUAGES:
        words = Words(language)
        assert all(words(f"state.{state}") for state in State)
        assert all(words(f"rotation.{wish}") for wish in Override if wish is not Override.use)
        assert all(words(f"ejection.{cause}") for cause in Cause)


def test_a_verdict_is_said_in_the_words_of_the_registry():
    for code, verdict in VERDICTS.items():
        assert (Words("zh").verdict(code), Words("en").verdict(code)) == verdict.words


def test_an_unknown_verdict_has_no_words_but_does_not_fail():
    assert Words("zh").verdict("something_new") == ""


@pytest.mark.parametrize(
    ("wanted", "accept", "offered", "expected"),
    [
        (None, "", ("zh", "en"), "zh"),
        (None, "", ("en", "zh"), "en"),
        ("en", "zh", ("zh", "en"), "en"),
        ("fr", "en", ("zh", "en"), "en"),
        (None, "en-US,en;q=0.9,zh;q=0.8", ("zh", "en"), "en"),
        (None, "fr, zh-TW;q=0.4, en;q=0.3", ("en", "zh"), "zh"),
        (None, "en;q=0, zh;q=0.1", ("en", "zh"), "zh"),
        (None, "en;q=x,,;;=", ("zh", "en"), "zh"),
        (None, "en", ("zh",), "zh"),
        ("en", "en", ("zh",), "zh"),
    ],
)
def test_the_language_is_chosen_by_query_then_by_preference(wanted, accept, offered, expected):
    assert choose(wanted, accept, offered) == expected


def test_moments_are_in_the_operators_zone():
    assert said(NOW, NOW, "Asia/Shanghai", "zh") == "11月21日 17:00"
    assert said(NOW, NOW, "UTC", "en") == "21 Nov 09:00"
    assert said(NOW - 400 * 86400, NOW, "UTC", "en") == "17 Oct 2025 09:00"
    assert iso(NOW + 0.9) == "2026-11-21T09:00:00Z"


def test_durations_are_rounded_down_to_their_largest_unit():
    assert lasting(59.9, "en") == "59 s"
    assert lasting(7199, "zh") == "1 小时"
    assert ago(-5, "en") == "0 s ago"
    assert ago(180000, "zh") == "2 天前"
