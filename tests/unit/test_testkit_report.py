"""The measured table must go where the document says, and must not be of other cells."""

import re

import pytest

from tests.scenarios.diagnosis_cells import NEGATIVE, SYMPTOMS
from tests.scenarios.diagnosis_matrix import BEGIN, DOCUMENT, END, Tally, put, rows, variants


def test_the_table_stands_between_its_marks_and_replaces_the_one_before():
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = put(document, "new\n")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert put(once, "new\n") == once


def test_without_marks_nothing_is_written():
    with pytest.raises(AssertionError, match="prove"):
        put("no marks", "new")


def test_the_variants_of_a_cell_are_one_row():
    cell = SYMPTOMS[1]
    table = {(cell, variant): Tally(trials=20, right=19) for variant in variants(cell)}
    assert rows(table) == f"| {cell.name} | 76/80 |  | 0 | 0 |\n"


def test_the_documented_table_is_of_the_cells_that_are_tested():
    measured = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    named = re.findall(r"^\| ([^|]+) \| \d+/\d+ \|", measured, re.MULTILINE)
    assert named == [cell.name for cell in (*SYMPTOMS, *NEGATIVE)]
