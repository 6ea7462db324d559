"""Evidence as people read it: every code in both languages, with its parameters."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from string import Formatter

import pytest

import monitor
from monitor.common.languages import LANGUAGES
from monitor.diagnosis.certificates import Memory, judge_certificate
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.evidence import Code, Evidence, said
from monitor.diagnosis.interpret import interpret
from monitor.diagnosis.throughput import Sample, judge_throughput
from monitor.diagnosis.timing import NORMAL
from monitor.probes.results import TIMED_OUT, Operation, StepResult, TlsEvidence
from monitor.probes.trial_results import Role, Trial

NAME, CONTROL = "api.example.com", "example.org"
FIELD_TERMS = {"TLS", "OpenSSL", "KB", "SNI", "ClientHello", "DNS", "split"}


def trial(role: Role, failure: str | None, at: float) -> Trial:
    tls = TlsEvidence(since_hello=0.012)
    step = StepResult(Operation.tls_handshake, failure, 0.02, "192.0.2.1", tls=tls)
    sni = {Role.target: NAME, Role.control: CONTROL}.get(role, "")
    return Trial(role, NAME, "192.0.2.1", 443, sni, step, at, rtt=0.04)


def _experiments() -> list[tuple[Evidence, ...]]:
    t, c = Role.target, Role.control
    scripts: list[list[tuple[Role, str | None]]] = [
        [(t, "connection_reset"), (c, None), (t, "connection_reset"), (c, "connection_reset")],
        [(t, TIMED_OUT), (c, None), (t, None)],
        [(t, "eof_error"), (c, "eof_error"), (t, "eof_error"), (Role.no_sni, "eof_error")],
        [(t, "connection_reset"), (c, None), (t, "connection_reset"), (c, None)],
        [(t, "connection_reset"), (c, "connection_reset")],
        [(t, "eof_error")],
    ]
    found = []
    for script in scripts:
        trials = [trial(role, failure, 1.0 * n) for n, (role, failure) in enumerate(script)]
        found.append(interpret(trials, NORMAL).evidence)
        found.append(
            interpret(
                [*trials, trial(c, None, 300.0), trial(t, "connection_reset", 301.0)], NORMAL
            ).evidence
        )
    return found


def refused(code: int, issuer: str = "Evil CA") -> TlsEvidence:
    return TlsEvidence(verify_code=code, issuer=issuer, subject_names=("else.test",))


def _certificates() -> list[tuple[Evidence, ...]]:
    known = Memory("Some CA", "ab")
    return [
        judge_certificate(refused(20, "Some CA"), NAME, known).evidence,
        *(
            judge_certificate(refused(code), NAME, memory).evidence
            for code in (9, 10, 18, 20, 62)
            for memory in (known, Memory(), Memory(trusted_address=False))
        ),
    ]


def _speeds() -> list[tuple[Evidence, ...]]:
    slow = [Sample(70_000, 2000.0)] * 5
    frozen = [Sample(16_000, 5000.0, True)] * 4
    return [
        judge_throughput(slow, 100_000.0, True).evidence,
        judge_throughput(slow, None, False).evidence,
        judge_throughput(frozen, None, True).evidence,
    ]


FOUND = {e for found in (*_experiments(), *_certificates(), *_speeds()) for e in found}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def parameters(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def words(text: str) -> str:
    return re.sub(r"{.*?}", "", text)


@pytest.mark.parametrize("code", [*Code, *Clause])
def test_every_code_has_a_text_in_both_languages_with_the_same_parameters(
    code: Code | Clause,
) -> None:
    zh, en = code.value
    assert zh
    assert en
    assert parameters(zh) == parameters(en)
    assert not CHINESE.search(en)
    assert CHINESE.search(zh) or not re.search("[A-Za-z]", words(en))


def _calls() -> list[tuple[str, set[str]]]:
    """The codes that are called anywhere in the monitor, with the parameters that they get."""
    found = []
    for file in Path(monitor.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called = {id(each): call for call in calls for each in (call.func, *call.args)}
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id="Code" | "Clause"), attr=name):
                    call = called.get(id(node))
                    found.append((name, {k.arg or "**" for k in call.keywords} if call else set()))
    return found


def test_every_code_is_produced_somewhere_with_its_parameters() -> None:
    """One that is chosen first and called later, as of two, is called with the same."""
    calls = _calls()
    texts = {code.name: code.value.en for code in (*Code, *Clause)}
    assert {name for name, _ in calls} == set(texts)
    assert len(texts) == len(Code) + len(Clause), "both are found by their names"
    chosen_first = {"certificate_not_valid_yet", "refused_certificate"}
    for name, given in calls:
        assert name in chosen_first or given == parameters(texts[name]), name


@pytest.mark.parametrize("evidence", sorted(FOUND, key=str), ids=str)
def test_findings_are_told_in_chinese_and_names_stay(evidence: Evidence) -> None:
    zh, en = evidence.said("zh"), evidence.said("en")
    for name in (NAME, CONTROL, "else.test", "Evil CA", "Some CA"):
        assert (name in zh) == (name in en)
        zh = zh.replace(name, "")
    assert not set(re.findall(r"[A-Za-z]{2,}", zh)) - FIELD_TERMS, zh


@pytest.mark.parametrize("evidence", sorted(FOUND, key=str), ids=str)
def test_evidence_survives_the_way_to_another_process(evidence: Evidence) -> None:
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json()))) == evidence


def test_a_sentence_of_an_earlier_release_stays_as_it_is() -> None:
    old = Evidence.from_json("With {braces} in it.")
    assert [old.said(language) for language in LANGUAGES] == ["With {braces} in it."] * 2


def test_a_part_of_a_sentence_is_said_in_the_language_of_the_whole() -> None:
    trial = Code.sent_name(name="{a}.test", end=Code.end_answered())
    waited = Code.after_the_wait(trial=trial)
    assert said([waited]) == ("After the wait: With SNI {a}.test, the server answers.",)
    assert said([waited], "zh") == ("等待之后：SNI 为 {a}.test 时，服务器有应答。",)
    listed = Code.cannot_be_true(addresses=("192.0.2.1", "192.0.2.2"))
    assert said([listed]) == ("192.0.2.1, 192.0.2.2 cannot be true.",)
    assert said([listed], "zh") == ("192.0.2.1、192.0.2.2 不可能是真实地址。",)
