"""The names of verdicts: known to the code, and explained to people."""

import re
from pathlib import Path

import pytest

import monitor
from monitor.diagnosis.names import VERDICTS
from router.main.reaction_table import renewed

PACKAGE = Path(monitor.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "diagnosis.md"
IN_CODE = re.compile(r'(?:Meaning\(\s*|: \(\s*|\(_[A-Z]+, )"([a-z_]+)",')


@pytest.mark.parametrize("file", ["diagnosis/answer.py", "diagnosis/verdict.py", "service.py"])
def test_every_verdict_in_the_code_is_a_known_name(file):
    used = set(IN_CODE.findall((PACKAGE / file).read_text()))
    assert used
    assert used <= set(VERDICTS)


def test_every_verdict_is_explained():
    section = DOCUMENT.read_text("utf-8").partition("## Verdicts\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    explained = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])]
    assert sorted(explained) == sorted(VERDICTS)


def test_the_table_of_reactions_is_that_of_the_code():
    text = DOCUMENT.read_text("utf-8")
    assert text == renewed(text), "renew it: python -m router.main.reaction_table"


def test_the_place_for_measured_results_is_marked():
    text = DOCUMENT.read_text("utf-8")
    assert text.index("<!-- prove -->") < text.index("<!-- /prove -->")
