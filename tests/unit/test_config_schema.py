"""The schema for editors says what the reader of configurations says, as far as a schema can."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tools import schema as made

ROOT = Path(__file__).parents[2]
WRITTEN = (ROOT / "docs/config.schema.json").read_text("utf-8")
EXAMPLE = (ROOT / "config.example.toml").read_text("utf-8")
VALIDATOR = Draft7Validator(json.loads(WRITTEN))


def faults(text: str) -> list[str]:
    """Paths of what the schema finds wrong with a configuration."""
    found = VALIDATOR.iter_errors(tomllib.loads(text))
    return sorted(".".join(map(str, error.absolute_path)) for error in found)


def test_it_is_the_one_made_from_the_declarations() -> None:
    assert made.render() == WRITTEN
    Draft7Validator.check_schema(json.loads(WRITTEN))


def test_the_example_is_valid_as_it_is_and_with_every_setting_uncommented() -> None:
    assert faults(EXAMPLE) == []
    settings = re.sub(r"^#(?=[a-z_]+ = |\[)", "", EXAMPLE, flags=re.MULTILINE)
    assert len(settings) < len(EXAMPLE) - 100
    assert faults(settings) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[router]\nlisten = 8080", "router.listen"),
        ("[router.timeouts]\nidle = '5 minutes'", "router.timeouts.idle"),
        ("[router.timeouts]\nidel = '5m'", "router.timeouts"),
        ("[[mirrors]]\nid = 'a'", "mirrors.0"),
        ("[router.balance]\npolicy = 'random'", "router.balance.policy"),
        ("[router]\ncors_origins = '*'", "router.cors_origins"),
        ("[router]\nmax_body = '4MB'", "router.max_body"),
    ],
)
def test_a_slip_is_marked_where_it_is(text: str, path: str) -> None:
    assert path in faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "[router.timeouts]\nidle = '5m'\ntotal = 3600",
        "[[mirrors]]\nid = 'a'\nurl = 'https://a.example'\napi_key = 'env:KEY'",
        "[router]\nmax_body = '4MiB'",
    ],
)
def test_every_way_to_write_a_value_is_taken(text: str) -> None:
    assert faults(text) == []


def test_every_setting_says_what_it_means() -> None:
    def unexplained(table: dict[str, Any], path: str) -> list[str]:
        found = []
        for name, one in table.get("properties", {}).items():
            inner = one.get("items", one)
            if "description" not in one and "description" not in inner:
                found.append(f"{path}{name}")
            found += unexplained(inner, f"{path}{name}.")
        return found

    assert unexplained(json.loads(WRITTEN), "") == []
