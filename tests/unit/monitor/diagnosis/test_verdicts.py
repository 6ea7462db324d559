"""The registry of verdicts: complete, the same as what the code finds, and as documented."""

import ast
import re
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest

import monitor
from monitor.common.languages import LANGUAGES
from monitor.diagnosis import verdicts
from monitor.diagnosis.evidence import Code
from monitor.diagnosis.finding import Level
from monitor.diagnosis.reactions import Scope
from monitor.diagnosis.telling import Situation, tell
from monitor.diagnosis.verdicts import BLOCKS, VERDICTS
from monitor.diagnosis.words_en import ENGLISH
from monitor.diagnosis.words_zh import CHINESE as CHINESE_WORDS
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
                        case ast.Tuple(elts=[ast.Constant(), ast.Attribute()]):
                            yield _text(value.elts[0])
                        case ast.Tuple(elts=[ast.Name(), ast.Constant(), ast.Attribute()]):
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


def test_every_verdict_has_its_words_in_both_languages_and_no_other_has():
    assert set(ENGLISH) == set(CHINESE_WORDS) == set(VERDICTS)


@pytest.mark.parametrize("situation", Situation)
@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_is_told_whole_in_both_languages(verdict, level, situation):
    zh, en = (tell(verdict, each, level, situation) for each in LANGUAGES)
    for ours, theirs in zip(astuple(zh), astuple(en), strict=True):
        assert bool(ours) == bool(theirs)
        assert not CHINESE.search(theirs)
        assert not ours or CHINESE.search(ours)
        assert not re.search(r"[{}]|[Rr]ule [A-I]\b|\b0 (s|ms)\b", f"{ours}{theirs}")
    assert en.what
    assert en.now
    assert en.todo or verdict in ("ok", "dns_inconsistent")
    assert VERDICTS[verdict].seen
    assert en.paragraph("en").count(".") >= 2


def test_groups_are_of_known_verdicts():
    groups = [value for value in vars(verdicts).values() if isinstance(value, frozenset)]
    assert len(groups) > 5
    assert all(group < set(VERDICTS) for group in groups)


LIKELY = {
    Level.none: ("可能", "possibly", "不确定", "Unsure"),
    Level.suspected: ("疑似", "probably", "还缺", "Proof would be "),
    Level.confirmed: ("已确认", "", "已确认", "Confirmed"),
}


@pytest.mark.parametrize("level", LIKELY)
@pytest.mark.parametrize("verdict", sorted((BLOCKS | {"tls_mitm"}) - {"residual_block"}))
def test_interference_is_told_as_on_the_path_and_as_likely_as_its_level(verdict, level):
    zh, en = (tell(verdict, each, level) for each in LANGUAGES)
    assert "on the path" in en.what
    for found, wanted in zip((zh.what, en.what, zh.sure, en.sure), LIKELY[level], strict=True):
        assert wanted in found
    assert ("疑似" in zh.what) is ("probably" in en.what) is (level is Level.suspected)
    assert ("possibly" in en.what) is (level is Level.none)


@pytest.mark.parametrize(
    "verdict", [name for name, each in VERDICTS.items() if each.reaction.scope != Scope.none]
)
def test_the_told_consequence_depends_on_other_mirrors_and_paths(verdict):
    """Where there are other mirrors nothing is said for the case that there are none."""
    beside = {each: tell(verdict, "en", "none", each).now for each in (*Situation,)}
    if "again after" in beside[Situation.alone]:
        assert "no other mirror" in beside[Situation.alone]
        assert not re.search(r"with n(one|either)|if there is none", beside[Situation.others])


def test_an_expired_certificate_is_as_sure_as_the_clock():
    sure = [tell("cert_expired", each, "confirmed", clock="NOW").sure for each in LANGUAGES]
    assert sure == [
        "已确认，前提是本机时钟准确（现为 NOW）。",
        "Confirmed, if this machine's clock is right: it reads NOW.",
    ]
    assert tell("cert_expired", "en", "confirmed").sure == (
        "Confirmed, if this machine's clock is right."
    )


@pytest.mark.parametrize("evidence", [Code.link_is_down(names=("eth0",)), Code.no_route_anywhere()])
def test_dns_is_not_blamed_where_the_network_is_down(evidence):
    zh, en = (tell("local_network_down", each, evidence=[evidence]) for each in LANGUAGES)
    assert (zh.what, en.what) == ("本机已断网", "this machine is offline")
    assert "DNS" not in f"{zh}{en}"
    silent = Code.resolvers_silent(names=("example.org",))
    assert "DNS" in tell("local_network_down", "en", evidence=[silent]).what


@pytest.mark.parametrize("verdict", ["ip_unreachable", "connection_refused", "http_timeout"])
def test_another_address_is_only_spoken_of_where_one_works(verdict):
    for situation in (Situation.others, Situation.alone):
        assert "address" not in tell(verdict, "en", "none", situation).now
    assert "address" in tell(verdict, "en", "none", Situation.beside).now


def test_the_tables_in_the_documentation_are_those_of_the_code():
    text = DOCUMENT.read_text("utf-8")
    assert text == renewed(text), "renew it: python -m tools.verdict_tables"


def test_the_place_for_measured_results_is_marked():
    text = DOCUMENT.read_text("utf-8")
    assert text.index("<!-- prove -->") < text.index("<!-- /prove -->")
