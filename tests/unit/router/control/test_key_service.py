"""Notes beside a new key that could not be used."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.common.keys import KeyOrder
from monitor.common.settings import read
from router.control.key_service import key_notes
from router.control.sections import Config

MIRROR = {"id": "hk", "url": "https://a.example", "api_key": "sk-own"}
PRICED = {"prices": {"o3": {"from": "2026-01-01", "input": 2, "output": 8}}}


@pytest.mark.parametrize(
    ("table", "order", "named"),
    [
        ({"mirrors": [MIRROR]}, KeyOrder("n"), []),
        ({"mirrors": [MIRROR]}, KeyOrder("n", tokens=1), []),
        ({"mirrors": [MIRROR]}, KeyOrder("n", quota=1), ["[prices]"]),
        ({"mirrors": [MIRROR], **PRICED}, KeyOrder("n", quota=1), []),
        ({"mirrors": [{**MIRROR, "enabled": False}]}, KeyOrder("n"), ["mirrors.api_key"]),
        ({"mirrors": [], "router": {"callers": ["own"]}}, KeyOrder("n"), ["callers", "api_key"]),
    ],
)
def test_each_note_names_the_setting(table: dict[str, Any], order: KeyOrder, named: list[str]):
    notes = key_notes(read(Config, table), order)
    assert len(notes) == len(named)
    assert all(name in note for name, note in zip(named, notes, strict=True))
