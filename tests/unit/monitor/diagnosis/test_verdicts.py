"""The registry of verdicts: complete, the same as what the code finds, and as documented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import monitor
from monitor.diagnosis import verdicts
from monitor.diagnosis.verdicts import BLOCKS, VERDICTS
from tools.verdict_tables import renewed

PACKAGE = Path(monitor.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "diagnosis.md"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
MAKERS = {"Finding", "Meaning", "Meaning.of", "_fact"}


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _verdicts_in(tree: ast.AST) -> Iterator[str | None]:
    """First arguments of what makes findings, verdicts chosen for these, and rows of tables."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=func, args=[first, *_]) if ast.unparse(func) in MAKERS:
                yield _text(first)
            case ast.Assign(targets=[ast.Name(id="verdict")], value=ast.IfExp(body=a, orelse=b)):
                yield from (_text(a), _text(b))
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    match value:
                        case ast.Tuple(elts=[ast.Constant(), ast.Constant()]):
                            yield _text(value.elts[0])
                        case ast.Tuple(elts=[ast.Name(), ast.Constant(), ast.Constant()]):
                            yield _text(value.elts[1])
                        case ast.Constant() if isinstance(key, ast.Attribute):
                            yield _text(value)


def _found() -> set[str]:
    files = [f for room in ("diagnosis", "engine") for f in (PACKAGE / room).glob("*.py")]
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    named = {verdict for tree in trees for verdict in _verdicts_in(tree)}
    constants = {"ok", "unknown"}  # `OK`, `UNKNOWN`
    return {verdict for verdict in named if verdict is not None} | constants


def test_the_registry_has_exactly_the_verdicts_that_the_code_finds():
    assert _found() == set(VERDICTS)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_has_words_in_both_languages_a_meaning_and_a_reaction(verdict):
    entry = VERDICTS[verdict]
    assert CHINESE.search(entry.words.zh)
    assert entry.words.en
    assert not CHINESE.search(entry.words.en)
    assert entry.seen
    assert entry.may_mean
    assert entry.reaction.act


def test_groups_are_of_known_verdicts():
    groups = [value for value in vars(verdicts).values() if isinstance(value, frozenset)]
    assert len(groups) > 5
    assert all(group < set(VERDICTS) for group in groups)


@pytest.mark.parametrize("verdict", sorted(BLOCKS - {"residual_block"}))
def test_what_interferes_is_on_the_path_and_only_likely(verdict):
    zh, en = VERDICTS[verdict].words
    assert "很可能" in zh
    assert "on the path" in en
    assert "(likely)" in en


def test_the_tables_in_the_documentation_are_those_of_the_code():
    text = DOCUMENT.read_text("utf-8")
    assert text == renewed(text), "renew it: python -m tools.verdict_tables"


def test_the_place_for_measured_results_is_marked():
    text = DOCUMENT.read_text("utf-8")
    assert text.index("<!-- prove -->") < text.index("<!-- /prove -->")
