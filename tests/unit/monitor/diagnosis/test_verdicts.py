"""The names of verdicts: known to the code, and explained to people."""

import re
from pathlib import Path

import pytest

import monitor
from monitor.diagnosis.verdicts import GLOSSARY, VERDICTS
from tools.verdict_tables import renewed

PACKAGE = Path(monitor.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "diagnosis.md"
IN_CODE = re.compile(r'(?:Meaning\(\s*|: \(\s*|\(_[A-Z]+, )"([a-z_]+)",')


@pytest.mark.parametrize(
    "file", ["diagnosis/answer.py", "diagnosis/classify.py", "engine/state_evaluation.py"]
)
def test_every_verdict_in_the_code_is_a_known_name(file):
    used = set(IN_CODE.findall((PACKAGE / file).read_text()))
    assert used
    assert used <= set(VERDICTS)


def test_every_verdict_is_explained():
    assert list(GLOSSARY) == list(VERDICTS)
    assert all(
        entry.seen and (entry.may_mean or verdict == "ok") for verdict, entry in GLOSSARY.items()
    )


def test_what_leaves_a_mirror_alive_is_what_the_judge_calls_alive():
    source = (PACKAGE / "diagnosis/answer.py").read_text("utf-8")
    alive = set(re.findall(r'Meaning\(\s*"([a-z_]+)", True', source))
    assert {verdict for verdict, entry in GLOSSARY.items() if entry.alive} == alive


def test_the_tables_in_the_documentation_are_those_of_the_code():
    text = DOCUMENT.read_text("utf-8")
    assert text == renewed(text), "renew it: python -m tools.verdict_tables"


def test_the_place_for_measured_results_is_marked():
    text = DOCUMENT.read_text("utf-8")
    assert text.index("<!-- prove -->") < text.index("<!-- /prove -->")
