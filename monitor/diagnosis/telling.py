"""Texts on a verdict in a reader's language: what is wrong, how sure that is, what
mirrorgate does about it, and what a person can do.

From codes and parameters alone; the texts are `words_en.py`, `words_zh.py` and the few below.
Commands, logs, pages and JSON all say it with these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.common.languages import Text
from monitor.diagnosis import words_en, words_zh
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Level
from monitor.diagnosis.reactions import Scope
from monitor.diagnosis.verdict_words import Words
from monitor.diagnosis.verdicts import BLOCKS, VERDICTS, reaction_to

_WORDS: Mapping[str, Mapping[str, Words]] = {"zh": words_zh.CHINESE, "en": words_en.ENGLISH}
_OFFLINE: Mapping[str, Mapping[str, Words]] = {"zh": words_zh.OFFLINE, "en": words_en.OFFLINE}


class Situation(StrEnum):
    """The rest beside a path or mirror that is not to be used."""

    unknown = "unknown"
    beside = "beside"
    """Another path of the mirror works."""
    others = "others"
    """There are other mirrors."""
    alone = "alone"
    """There is no other mirror."""


OFFLINE: frozenset[str] = frozenset(words_en.OFFLINE)
"""Codes of evidence that this machine is offline, whatever its DNS does."""
INNOCENT: frozenset[str] = frozenset(
    {
        Code.may_be_the_server.name,
        Code.nothing_is_answered.name,
        Code.may_be_capped.name,
        Code.may_be_cut_by_server.name,
        Code.may_be_stale.name,
    }
)
"""Codes of evidence that names another explanation than interference."""
_LIKELY = {
    Level.none: Text("可能", "possibly "),
    Level.cleared: Text("可能", "possibly "),
    Level.suspected: Text("疑似", "probably "),
    Level.confirmed: Text("已确认", ""),
}
_UNSURE = Text(
    "不确定：服务器故障也会是同样的现象。", "Unsure: a fault of the server would look the same."
)
_SUSPECTED = Text(
    "疑似，尚未证实；还缺：{proof}。", "Suspected, not proven. Proof would be {proof}."
)
_REPEATED = Text(
    "已确认：多次对比，结果一致。", "Confirmed: compared repeatedly, with the same result."
)
_OBSERVED = Text("已确认：由观测直接得出。", "Confirmed: observed directly.")
_FACT = Text(
    "已确认：由观测直接得出；其原因尚不确定。",
    "Confirmed: observed directly; its cause is not certain.",
)
_GIVEN = Text("已确认，{given}。", "Confirmed, {given}.")
_CLOCK = Text("（现为 {clock}）", ": it reads {clock}")
_COMPARED = BLOCKS - {"dns_blocked", "dns_poisoned", "dns_injection"}
"""Verdicts on what is known from comparisons alone."""
_NOW = {
    Situation.unknown: Text(
        "请求改走该镜像的其他域名或地址，或其他镜像（如有），否则仍尝试此处；{hold}后再试。",
        "Requests take another name or address of the mirror, or another mirror, and with neither "
        "still try this one; it is tried again after {hold}.",
    ),
    Situation.beside: Text(
        "请求改走该镜像的其他域名或地址；{hold}后再试此路径。",
        "Requests take another name or address of this mirror; this one is tried again after "
        "{hold}.",
    ),
    Situation.others: Text(
        "请求改走其他镜像；{hold}后再试此镜像。",
        "Requests go to other mirrors; this one is tried again after {hold}.",
    ),
    Situation.alone: Text(
        "没有其他镜像：请求仍会尝试该镜像，恢复之前会失败；{hold}后再次探测。",
        "There is no other mirror: requests still try this one, and fail until it is back; it is "
        "tried again after {hold}.",
    ),
}
_OF_MIRROR = Text(
    "请求改走其他镜像（如有），否则仍发往该镜像；{hold}后再试。",
    "Requests go to other mirrors, and with none still to this one; it is tried again after "
    "{hold}.",
)
_LEFT_ALONE = Text(
    "因此暂时不去连接其所有地址，请求改走其他镜像（如有）。下次尝试：{time}。",
    "Because of this all its addresses are left alone for now, and requests go to other mirrors, "
    "if there are any. Next try: {time}.",
)
_CDN = Text(" {cdn} ", " ({cdn})")
_NO_CDN = Text(" ", "")
_UNITS = (
    (7200.0, 3600.0, Text("{count} 小时", "{count} h")),
    (120.0, 60.0, Text("{count} 分钟", "{count} min")),
    (0.0, 1.0, Text("{count} 秒", "{count} s")),
)


@dataclass(frozen=True, slots=True)
class Told:
    """The texts on one verdict in one language; empty where there is nothing to say."""

    what: str
    cause: str
    sure: str
    now: str
    todo: str

    def sentence(self, language: str) -> str:
        """The fault and what may be behind it, as one sentence."""
        both = ("：" if language == "zh" else ": ").join(filter(None, (self.what, self.cause)))
        return _as_sentence(both, language)

    def because(self, language: str) -> str:
        """That which may be behind it, as a sentence of its own; empty where nothing is said."""
        return _as_sentence(self.cause, language) if self.cause else ""

    def summary(self, language: str) -> str:
        """The fault, how sure it is, and what is done about it."""
        said = (self.sentence(language), self.sure, self.now)
        return ("" if language == "zh" else " ").join(filter(None, said))

    def paragraph(self, language: str) -> str:
        """The same, with what a person can do."""
        gap = " " if language != "zh" and self.todo else ""
        return f"{self.summary(language)}{gap}{self.todo}"


def _as_sentence(clause: str, language: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}{'。' if language == 'zh' else '.'}"


def tell(
    verdict: str,
    language: str,
    level: str = Level.suspected,
    situation: Situation = Situation.unknown,
    cdn: str = "",
    evidence: Sequence[Evidence] = (),
    clock: str = "",
    next_try: str = "",
) -> Told:
    """The texts on a verdict that is as sure as `level` says, on this evidence.

    `cdn`: the network it speaks of; `clock`: the time here, for verdicts that rest on it;
    `next_try`: for a mirror all of whose addresses are left alone, the moment when that ends.
    """
    words = _words(verdict, language, evidence)
    now = words.now or "{now}"
    if next_try:
        now = _LEFT_ALONE.said(language).format(time=next_try)
    elif "{now}" in now:
        now = now.replace("{now}", _now(verdict, language, situation))
    return Told(
        what(verdict, language, level, cdn, evidence),
        words.cause.replace("{likely}", _LIKELY[Level(level)].said(language)),
        _sure(verdict, language, Level(level), clock),
        now,
        words.todo,
    )


def what(
    verdict: str,
    language: str,
    level: str = Level.suspected,
    cdn: str = "",
    evidence: Sequence[Evidence] = (),
) -> str:
    """The fault as a clause; the code itself for a verdict of another release."""
    likely = _LIKELY[Level(level)].said(language)
    network = (_CDN if cdn else _NO_CDN).said(language).format(cdn=cdn)
    text = _words(verdict, language, evidence).what
    return text.replace("{likely}", likely).replace("{cdn}", network)


def observed(language: str, *, open_: bool) -> str:
    """Certainty of what is not graded, for it is seen as it is; `open_`: its cause is not."""
    return (_FACT if open_ else _OBSERVED).said(language)


def is_graded(verdict: str) -> bool:
    """True if a verdict is at first suspected only."""
    return bool(_words(verdict, "en").proof)


def _sure(verdict: str, language: str, level: Level, clock: str) -> str:
    """Certainty of a verdict in words; empty where that is not graded."""
    words = _words(verdict, language)
    if level is Level.confirmed and words.given:
        at = _CLOCK.said(language).format(clock=clock) if clock else ""
        return _GIVEN.said(language).format(given=words.given.replace("{clock}", at))
    if level is Level.confirmed:
        return (_REPEATED if verdict in _COMPARED else _OBSERVED).said(language)
    if level is Level.suspected and words.proof:
        return _SUSPECTED.said(language).format(proof=words.proof)
    return _UNSURE.said(language) if "{likely}" in words.what else ""


def is_known(verdict: str) -> bool:
    """True if the registry has this verdict."""
    return verdict in VERDICTS


def span(seconds: float, language: str) -> str:
    """A length of time in words, in one unit: "3 min"."""
    _, size, text = next(each for each in _UNITS if seconds >= each[0])
    return text.said(language).format(count=round(seconds / size))


def _words(verdict: str, language: str, evidence: Sequence[Evidence] = ()) -> Words:
    if verdict == "local_network_down":
        offline = _OFFLINE.get(language, words_en.OFFLINE)
        if found := next((offline[each.code] for each in evidence if each.code in offline), None):
            return found
    return _WORDS.get(language, words_en.ENGLISH).get(verdict) or Words(verdict)


def _now(verdict: str, language: str, situation: Situation) -> str:
    reaction = reaction_to(verdict)
    whole = reaction.scope in (Scope.mirror, Scope.cdn)
    of_mirror = whole and situation in (Situation.unknown, Situation.beside)
    text = _OF_MIRROR if of_mirror else _NOW[situation]
    return text.said(language).format(hold=span(reaction.hold, language))
