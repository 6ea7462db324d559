"""Documents about the settings say the same as the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from monitor.common.settings import read
from router.cli.main import command_names
from router.control.sections import Config, Section, sections
from tests.e2e.clients import catalogue
from tools import example, reference

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.toml").read_text("utf-8")
SETTING = re.compile(r"^#(?=[a-z_0-9]+ = )", re.MULTILINE)
HEADER = re.compile(r"^#(?=\[)", re.MULTILINE)


def body(text: str) -> str:
    return text.partition("\n\n")[2]


def test_the_example_file_is_the_one_made_from_the_declarations():
    assert example.render() == EXAMPLE, "python -m tools.example > config.example.toml"


def test_the_reference_is_the_one_made_from_the_declarations():
    written = (ROOT / "docs/configuration.md").read_text("utf-8")
    assert reference.render() == written, "python -m tools.reference > docs/configuration.md"


def test_the_table_of_clients_is_the_one_made_from_the_catalogue():
    written = (ROOT / "docs/apps.md").read_text("utf-8")
    assert catalogue.renewed(written) == written, "python -m tests.e2e.clients.catalogue"


def test_the_example_file_as_it_is_has_one_mirror_and_every_default():
    config = read(Config, tomllib.loads(EXAMPLE))
    assert [(m.id, m.url) for m in config.mirrors] == [("openai", "https://api.openai.com")]
    assert config == read(Config, {"mirrors": [{"id": "openai", "url": "https://api.openai.com"}]})


def test_every_setting_of_the_example_file_uncommented_is_still_the_default():
    """The blocks under a commented header are examples and stay out."""
    plain = "\n\n".join(b for b in body(EXAMPLE).split("\n\n") if not HEADER.search(b))
    uncommented = tomllib.loads(SETTING.sub("", plain))
    assert read(Config, uncommented) == read(Config, tomllib.loads(EXAMPLE))


def test_with_its_examples_uncommented_too_the_example_file_is_valid():
    config = read(Config, tomllib.loads(HEADER.sub("", SETTING.sub("", body(EXAMPLE)))))
    assert config.notify
    assert config.prices
    assert config.router.classes


def test_every_declared_setting_is_in_the_example_file():
    everything = tomllib.loads(HEADER.sub("", SETTING.sub("", body(EXAMPLE))))
    named = set(_paths(everything))
    declared = {f"{_path(s)}.{d.key}" for s in sections() for d in s.settings}
    assert declared == named


def _path(section: Section) -> str:
    return section.header.strip("[]").replace('."gpt-4"', ".*")


def _paths(table: object, path: str = "") -> list[str]:
    if isinstance(table, list) and table and isinstance(table[0], dict):
        return _paths(table[0], path)
    if not isinstance(table, dict) or (not table and path not in ("",)):
        return [path]
    keys = {key: "*" if path == "prices" else key for key in table}
    return [
        inner
        for key, value in table.items()
        for inner in _paths(value, f"{path}.{keys[key]}" if path else key)
    ]


def test_every_setting_has_a_meaning_and_every_section_too():
    for section in sections():
        assert section.doc
        for declared in section.settings:
            assert declared.doc, f"{section.header} {declared.key}"


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_within_the_project_lead_somewhere(name: str):
    text = (ROOT / name).read_text("utf-8")
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_is_in_both_readmes():
    for name in ("README.md", "README.zh.md"):
        text = (ROOT / name).read_text("utf-8")
        assert [c for c in command_names() if f"mirrorgate {c}" not in text] == []


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "docs/operations.md"])
def test_no_command_is_named_that_does_not_exist(name: str):
    text = (ROOT / name).read_text("utf-8")
    named = set(re.findall(r"(?:`|bin/)mirrorgate ([a-z-]+)", text))
    assert named
    assert named <= {*command_names(), "is"}, "`mirrorgate is already running here`"


@pytest.mark.parametrize(("name", "least"), [("security.md", 30), ("operations.md", 10)])
def test_every_test_that_a_document_names_exists(name: str, least: int):
    named = re.findall(
        r"`((?:unit|integration|e2e|properties|prove)/\w+\.py)(?:::(\w+?)\*?)?`",
        (ROOT / "docs" / name).read_text("utf-8"),
    )
    assert len(named) > least
    for file, test in named:
        text = (ROOT / "tests" / file).read_text("utf-8")
        assert not test or f"def {test}" in text, f"{file}::{test}"
