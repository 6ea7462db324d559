"""Columns of the text page."""

import re

import pytest

from dashboard.public.plain import cut, table, width


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("Frankfurt", 9, "Frankfurt"),
        ("Frankfurt", 8, "Frankfu…"),
        ("香港节点", 8, "香港节点"),
        ("香港节点", 7, "香港节…"),
        ("香港节点", 6, "香港…"),
        ("e\u0301" * 9, 9, "e\u0301" * 9),
    ],
)
def test_a_long_text_is_cut_to_its_columns(text: str, most: int, shown: str):
    assert cut(text, most) == shown
    assert width(shown) <= most


def test_a_very_long_name_leaves_the_other_columns_in_sight():
    rows = [("name", "state", "uptime"), ("长" * 5000, "✔", "99 %"), ("hk", "✘", "1 %")]
    lines = table(rows)
    places = {width(re.split("[✔✘]", line)[0]) for line in lines[1:]}
    assert len(places) == 1
    assert max(map(width, lines)) < 60
