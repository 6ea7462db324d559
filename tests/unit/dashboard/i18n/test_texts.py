"""Every text exists in both languages; moments are said as people say them."""

import re
import string
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from dashboard.i18n import catalogues
from dashboard.i18n.catalogues import LANGUAGES, SOURCE
from dashboard.i18n.moments import ago, iso, lasting, said, said_month
from dashboard.i18n.texts import Words, choose
from monitor.diagnosis.telling import what
from monitor.diagnosis.verdicts import VERDICTS
from monitor.health.snapshot import Override, State
from router.balancing.breaker import Phase
from router.balancing.ejection import Cause
from router.process.explain import WhyNot
from tests.testkit.dashboard import NOW

LOCALE = resources.files("dashboard.i18n") / "locale"


def read(file: Any, language: str) -> Catalog:
    return read_po(file, locale=language, abort_invalid=True)


def messages(language: str) -> dict[str, list[str]]:
    """Every text of a catalogue by key, with all its plural forms."""
    with (LOCALE / f"{language}.po").open("rb") as file:
        found = read(file, language)
    told: dict[str, list[str]] = {}
    for message in found:
        key = message.id if isinstance(message.id, str) else message.id[0]
        if key:
            text = message.string or ""
            told[key] = [text] if isinstance(text, str) else list(text)
    return told


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_with_the_same_placeholders(language):
    mine, english = messages(language), messages(SOURCE)
    assert mine.keys() == english.keys()
    for key, forms in mine.items():
        assert all(form.strip() for form in forms), key
        named = set().union(*map(placeholders, english[key]))
        for form in forms:  # "one" need not say its number
            assert named - placeholders(form) <= {"count"}, key
            assert placeholders(form) <= named, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_says_each_text_once(language):
    text = (LOCALE / f"{language}.po").read_text("utf-8")
    keys = re.findall(r'^msgid "(.+)"', text, re.MULTILINE)
    assert len(keys) == len(set(keys)) > 150


def test_a_third_language_is_one_more_file_and_says_the_rest_in_english(tmp_path, monkeypatch):
    (tmp_path / "de.po").write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
        'msgid "state.up"\nmsgstr "in Ordnung"\n\nmsgid "verdict.ok"\nmsgstr "läuft"\n',
        "utf-8",
    )
    (tmp_path / "en.po").write_text((LOCALE / "en.po").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(catalogues, "_FOLDER", tmp_path)
    words = Words("de")
    assert (words("state.up"), words.verdict("ok")) == ("in Ordnung", "läuft")
    assert (words("state.down"), words.verdict("dns_down")) == (
        Words("en")("state.down"),
        what("dns_down", "en"),
    )
    catalogues.catalogue.cache_clear()


def test_a_text_that_is_not_there_is_an_error():
    for say in (Words("zh"), lambda key: Words("en").plural(key, 2)):
        with pytest.raises(KeyError):
            say("no.such.text")


_SOURCES = [
    file.read_text(encoding="utf-8")
    for folder in ("templates", "templates/admin", "public", "admin", "i18n", "common")
    for file in (resources.files("dashboard") / folder).iterdir()
    if file.name.endswith(("html", "py", "txt"))
]
_NAMED = re.compile(r"""(?:words|other)(?:\.plural)?\(\s*["']([a-z0-9_.]+[a-z0-9])["'][,)]""")


def test_every_text_that_code_names_exists():
    named = {key for source in _SOURCES for key in _NAMED.findall(source)}
    assert len(named) > 40
    assert named <= messages(SOURCE).keys()


_FAULTS = re.compile(r"""\b(?:Fault|BadInput|CommandError|NotThere|KeyFault|UnknownKey)\(([^)]*)""")
_CODES = re.compile(r"""["']([a-z_]+)["']""")


def test_every_fault_has_a_text_and_every_text_of_a_fault_is_raised():
    folders = ("dashboard", "monitor/common", "monitor/store", "router/control")
    root = Path(__file__).parents[4]
    files = [file for folder in folders for file in sorted((root / folder).rglob("*.py"))]
    raised = {
        code
        for file in files
        for call in _FAULTS.findall(file.read_text("utf-8"))
        for code in _CODES.findall(call)
    }
    texts = {key.removeprefix("fault.") for key in messages(SOURCE) if key.startswith("fault.")}
    composed = {"no_quota", "no_token_quota", "large_quota", "large_token_quota"}
    assert texts - raised == {"of_field", *composed}


COMPOSED = (
    "banner.",
    "cdn.said.",
    "state.",
    "rotation.",
    "ejection.",
    "phase.",
    "reason.",
    "error.",
    "uptime.",
    "impact.",
    "severity.",
    "standing.",
    "level.",
    "unit.",
    "planned.",
    "mine.why.",
    *(
        f"desk.{part}."
        for part in (
            *(
                "ask",
                "do",
                "done",
                "fault",
                "key",
                "phase",
                "reload",
                "status",
                "step",
                "tab",
                "why",
            ),
        )
    ),
    "desk.takes.",
    "desk.field.",
    "actor.",
    "fault.",
    "desk.term.",
    "docs.failure.",
    "docs.models.",
    "key.state.",
)
"""Their keys are put together from a state, a phase, a window or a code."""


def test_every_text_is_used():
    source = "\n".join(_SOURCES)
    plain = [key for key in messages(SOURCE) if not key.startswith(COMPOSED)]
    assert not [key for key in plain if not re.search(f"[\"']{re.escape(key)}[\"']", source)]


def test_states_overrides_and_reasons_have_words():
    for language in LANGUAGES:
        words = Words(language)
        assert all(words(f"state.{state}") for state in State)
        assert all(words(f"rotation.{wish}") for wish in Override if wish is not Override.use)
        assert all(words(f"ejection.{cause}") for cause in Cause)
        assert all(words(f"desk.why.{reason.replace(' ', '_')}") for reason in WhyNot)
        assert all(words(f"desk.phase.{phase}") for phase in Phase if phase is not Phase.closed)


def test_a_verdict_is_said_in_the_words_of_the_registry():
    for code in VERDICTS:
        assert [Words(each).verdict(code) for each in LANGUAGES] == [
            what(code, each) for each in LANGUAGES
        ]


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
    assert said(NOW, NOW, "Asia/Shanghai", Words("zh")) == "11月21日 17:00"
    assert said(NOW, NOW, "UTC", Words("en")) == "21 Nov 09:00"
    assert said(NOW - 400 * 86400, NOW, "UTC", Words("en")) == "17 Oct 2025 09:00"
    assert said_month(NOW, "UTC", Words("en")) == "Nov 2026"
    assert said_month(NOW, "UTC", Words("zh")) == "2026年11月"
    assert iso(NOW + 0.9) == "2026-11-21T09:00:00Z"


def test_durations_are_rounded_down_to_their_largest_unit():
    assert lasting(59.9, Words("en")) == "59 s"
    assert lasting(7199, Words("zh")) == "1 小时"
    assert ago(-5, Words("en")) == "0 s ago"
    assert ago(180000, Words("zh")) == "2 天前"


def test_sentences_follow_each_other_as_the_language_writes_them():
    assert Words("zh").together("一。", "", "二。") == "一。二。"
    assert Words("en").together("One.", "", "Two.") == "One. Two."
