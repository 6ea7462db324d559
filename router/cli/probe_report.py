"""A diagnosis as text for a terminal, as Markdown, and as JSON; its table is `probe_table.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from monitor.common.languages import LANGUAGES, Text
from monitor.diagnosis.block_test import TOO_LONG
from monitor.diagnosis.cdn import share_fate
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import Code, Evidence, said
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.rollup import cdn_findings, endpoint_findings, hostname_findings
from monitor.diagnosis.telling import INNOCENT, Situation, Told, is_graded, observed, tell, what
from monitor.diagnosis.verdicts import BLOCKS, NO_FAULT, POISONED, reaction_to
from monitor.engine.diagnose import INTERRUPTED, Inspection
from monitor.probes.results import Operation
from router.cli.console import aligned, folded, plain
from router.cli.probe_table import HEADER, Row, clause_of, not_after_of, rows_of

COLUMNS = 100
"""Of a line on a terminal; tables may be wider."""

_SURE = Text("可信度", "confidence")
_NOW = Text("自动处理", "automatic")
_TODO = Text("建议", "you can")
_OR = Text("其他可能", "other cause")
_VERDICT = Text("结论", "verdict")
_BECAUSE = Text("依据", "because")
_NETWORK = Text("CDN", "CDN")
_YET = Text("可用，但{what}", "works, but {what}")
_OF_SEVERAL_CAUSES = frozenset({"connection_refused"})
"""Verdicts that are seen as they are, with more than one cause."""
_UNTIL = Text("截至 {time}，{cause}", "up to {time}, {cause}")
_INSTANCE = Text(
    "本次探测正常；其余均由运行中的 mirrorgate 观测到（截至 {time}）。",
    "This probe succeeded; the rest was observed by the running mirrorgate (until {time}).",
)
_TRANSFERS = Text(
    "以上由运行中的 mirrorgate 在传输中测得；本次探测本身正常，且不测量传输。",
    "The running mirrorgate measured that in transfers; this probe itself was normal and does not "
    "measure any.",
)
_UNTESTED = Text("{cause}（未测试密钥与额度）", "{cause} (keys and quotas are not tested)")
_SUSPECTED = Text("{verdict}（疑似）", "{verdict} (suspected)")
_MOVE = Text(
    "把 `{resolver}` 移到 `monitor.dns.resolvers` 首位，或用 `addresses` 固定镜像的地址。",
    "Move `{resolver}` to the first place in `monitor.dns.resolvers`, or pin the mirror's "
    "addresses with `addresses`.",
)
_FINDINGS = frozenset(
    each.name
    for each in (
        Code.slow,
        Code.slow_without_past,
        Code.frozen,
        Code.resolvers_silent,
    )
)
"""Codes of evidence that says more than the usual cause of its verdict."""
_RESOLVERS = POISONED | {"dns_blocked"}
"""Verdicts on a resolver that other resolvers can stand in for."""
_BESIDE = Text("此外，{what}（{verdict}）：{why}", "Beside that, {what} ({verdict}): {why}")
_ON = Text(
    "{address} 上的 {name}：{what}（{verdict}）。", "{name} on {address}: {what} ({verdict})."
)
_NAME_DEAD = Text(
    "{name} 在任何地址上都不可用：{what}（{verdict}）。",
    "No address works for {name}: {what} ({verdict}).",
)
_ADDRESS_DEAD = Text(
    "{address} 上任何域名都不可用：{what}（{verdict}）。",
    "No name works on {address}: {what} ({verdict}).",
)
_NETWORK_DEAD = Text(
    "经 {cdn} 没有一个镜像可用：{what}（{verdict}）",
    "over {cdn} no mirror works: {what} ({verdict})",
)
_OVER = Text(
    "{one} 与 {other} 同命运：都经过 {cdn}", "{one} and {other} share fate: both are over {cdn}"
)
_NEIGHBOURS = Text(
    "{one} 与 {other} 同命运：处在同一网络", "{one} and {other} share fate: both are in one network"
)
_PATIENT = Text(
    "运行 `mirrorgate probe --patient`：等待可能触发的余波过去后再比较一次（最多约 7 分钟），"
    "结论更可靠。",
    "Run `mirrorgate probe --patient`: it waits out what this may have set off and compares once "
    "more, for up to 7 minutes, and is surer.",
)
_GOOD_ADDRESS = Text(
    "已知正确的地址：{addresses}（证书验证通过）。",
    "Known good: {addresses} (the certificate passes verification).",
)
_SO_FAR = Text("注意", "so far")
_INTERRUPTED = Text(
    "被中断：以下是到目前为止的结果。", "Interrupted: this is what is known so far."
)
_NO_CONTROL = Text(
    "monitor.sni.control 为空：没有对照域名就无法识别封锁；请设置一个。",
    "Set `monitor.sni.control`: without a control name a block is not recognised.",
)


def text_of(
    seen: Inspection, now: float, language: str, situation: Situation = Situation.unknown
) -> list[str]:
    """Lines for a terminal; `now` in seconds since the epoch."""
    told, lines = summary(seen, language, situation)
    time = time_of_day(seen.at)
    side = max(len(name) * 2 if language == "zh" else len(name) for name, _ in lines) + 2
    rows = aligned(
        [
            (name, part)
            for name, text in lines
            for name, part in _parts(name, folded(plain(text), COLUMNS - side - 2))
        ]
    )
    table = aligned([HEADER[language], *(row.cells for row in rows_of(seen, now, language))])
    return [
        f"{seen.mirror.id}  {seen.mirror.url}  {time}",
        "",
        *(f"  {line}" for line in folded(plain(told.sentence(language)), COLUMNS - 2)),
        "",
        *(f"  {line}" for line in rows),
        "",
        *(f"  {line}" for line in table),
    ]


def _parts(name: str, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines):
        yield ("" if number else name), line


def markdown_of(
    seen: Inspection, now: float, language: str, situation: Situation = Situation.unknown
) -> list[str]:
    """Lines of Markdown."""
    told, lines = summary(seen, language, situation)
    rows = [tuple(map(_escaped, row.cells)) for row in rows_of(seen, now, language)]
    names = [name.lower() for name in HEADER[language]]
    named, last = [], ""
    for name, text in lines:
        last = name or last
        named.append((last, text))
    return [
        f"### {_escaped(seen.mirror.id)}: {_escaped(seen.mirror.url)} ({time_of_day(seen.at)})",
        "",
        f"**{_escaped(plain(told.sentence(language)))}**",
        "",
        *(f"- **{name}**: {_escaped(plain(text))}" for name, text in named),
        "",
        f"| {' | '.join(names)} |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def time_of_day(at: float) -> str:
    """A moment in seconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in text)


def summary(
    seen: Inspection, language: str, situation: Situation = Situation.unknown
) -> tuple[Told, list[tuple[str, str]]]:
    """Return what is wrong; then how sure that is, what mirrorgate does, what a person can do,
    what else it may be and why, each with its name, which is empty where the one before goes on."""
    concern = _concern(seen)
    of_instance = concern is seen.instance
    found = next((each for each in concern.evidence if each.code in _FINDINGS), None)
    told = _told(seen, concern, found, language, situation)
    if concern.verdict != seen.finding.verdict:
        gap = " " if language == "zh" and told.what[:1].isascii() else ""
        told = replace(told, what=_YET.said(language).format(what=f"{gap}{told.what}"))
    from_there = [
        Code.works_by_name_from(vantage=vantage, name=path.hostname, address=path.address)
        for vantage, path in seen.elsewhere
        if not seen.paths and judge_step(path.last).alive
    ]
    innocent = [each for each in concern.evidence if each.code in INNOCENT]
    because = [
        *said(from_there, language),
        *([_watched(found).said(language).format(time=seen.instance_at)] * of_instance),
        *said([e for e in concern.evidence if e is not found and e not in innocent], language),
        *_in_common(seen, language),
        *_asides(seen, language, concern),
    ]
    verdict = concern.verdict
    if concern.level is Level.suspected and is_graded(verdict):
        verdict = _SUSPECTED.said(language).format(verdict=verdict)
    groups = [
        (_SURE, [told.sure]),
        (_NOW, [told.now]),
        (_TODO, [*hints(seen, language), told.todo]),
        (_OR, said(innocent, language)),
        (_BECAUSE, because),
        (_NETWORK, [seen.cdn]),
        (_VERDICT, [verdict]),
    ]
    if seen.interrupted:
        groups.insert(0, (_SO_FAR, [_INTERRUPTED.said(language)]))
    return told, [
        ("" if number else name.said(language), text)
        for name, texts in groups
        for number, text in enumerate(filter(None, texts))
    ]


def _concern(seen: Inspection) -> Finding:
    """The finding to speak of: where a probe is answered as it should be, what may be wrong all
    the same."""
    if seen.finding.verdict != "ok":
        return seen.finding
    instance = seen.instance if seen.instance and seen.instance.verdict not in NO_FAULT else None
    forged = next((finding for finding in seen.dns if finding.verdict in BLOCKS), None)
    return instance or forged or seen.finding


def _told(
    seen: Inspection,
    concern: Finding,
    found: Evidence | None,
    language: str,
    situation: Situation,
) -> Told:
    """The texts on a finding, with what this probe knows better than its verdict says."""
    clock = time_of_day(seen.at)
    told = tell(
        concern.verdict, language, concern.level, situation, seen.cdn, concern.evidence, clock
    )
    cause, sure, todo = told.cause, told.sure, told.todo
    if found is not None:
        cause = clause_of(found.said(language))
    if found is not None and concern is seen.instance and seen.instance_at:
        cause = _UNTIL.said(language).format(cause=cause, time=seen.instance_at)
    if concern.verdict == "ok":
        cause = _UNTESTED.said(language).format(cause=cause)
    if not sure and concern.verdict not in NO_FAULT - {"ok"}:
        either = bool(concern.blocked and concern.down) or concern.verdict in _OF_SEVERAL_CAUSES
        sure = observed(language, open_=either)
    if better := _trusted_later(seen, concern):
        todo = _MOVE.said(language).format(resolver=better)
    return replace(told, cause=cause, sure=sure, todo=todo)


def _watched(found: Evidence | None) -> Text:
    """The origin of what a running instance has found."""
    return _INSTANCE if found is None else _TRANSFERS


def _trusted_later(seen: Inspection, concern: Finding) -> str:
    """A resolver over TLS that is believed but not asked first, where another one is at fault."""
    for resolution in seen.resolutions if concern.verdict in _RESOLVERS else ():
        believed = [
            each.resolver
            for each in resolution.dns
            if (resolution.hostname, each.resolver) not in seen.disbelieved
        ]
        over_tls = [resolver for resolver in believed if resolver.startswith("https://")]
        if over_tls and over_tls[0] != resolution.dns[0].resolver:
            return over_tls[0]
    return ""


def _about(text: Text, language: str, finding: Finding, **values: str) -> str:
    meant = what(finding.verdict, language, finding.level)
    return text.said(language).format(what=meant, verdict=finding.verdict, **values)


def _asides(seen: Inspection, language: str, concern: Finding) -> list[str]:
    """Further findings: false DNS answers, and paths that fail though others work."""
    if seen.ours is not None:
        return []
    texts = [
        _about(_BESIDE, language, finding, why=" ".join(said(finding.evidence, language)))
        for finding in seen.dns
        if finding.verdict not in ("ok", "unknown", seen.finding.verdict, concern.verdict)
    ]
    if not seen.ok:
        return texts
    return texts + [
        _about(_ON, language, finding, name=path.hostname, address=path.address)
        for path, finding in seen.paths
        if path.last.failure is not None
        and finding.verdict not in (seen.finding.verdict, concern.verdict)
    ]


def across(found: Sequence[Inspection], language: str) -> list[str]:
    """Return common findings of several mirrors: networks, neighbourhoods, and whether those
    work."""
    paths = [finding for seen in found for finding in seen.findings()]
    lines = [
        _about(_NETWORK_DEAD, language, finding, cdn=cdn)
        for cdn, finding in sorted(cdn_findings(paths).items())
    ]
    for one, other in combinations(found, 2):
        if any(share_fate(a, b) for a in one.places() for b in other.places()):
            text = _OVER if one.cdn and one.cdn == other.cdn else _NEIGHBOURS
            names = {"one": one.mirror.id, "other": other.mirror.id, "cdn": one.cdn}
            lines.append(text.said(language).format(**names))
    return lines


def _in_common(seen: Inspection, language: str) -> list[str]:
    """Addresses and names of the mirror over which nothing works, where there are others."""
    paths = seen.findings()
    names = {path.hostname for path in paths}
    addresses = {path.address for path in paths}
    lines = []
    if len(names) > 1:
        dead = sorted(hostname_findings(paths).items())
        lines += [_about(_NAME_DEAD, language, found, name=name) for name, found in dead]
    if len(addresses) > 1 and len(names) > 1:
        gone = sorted(endpoint_findings(paths).items())
        lines += [_about(_ADDRESS_DEAD, language, found, address=on[0]) for on, found in gone]
    return lines


def hints(seen: Inspection, language: str = "en") -> list[str]:
    """Return the next steps that would tell more."""
    if seen.disbelieved and (good := _good_addresses(seen)):
        return [_GOOD_ADDRESS.said(language).format(addresses=", ".join(good))]
    if seen.block_test is not None and seen.block_test.why in (TOO_LONG, INTERRUPTED):
        return [_PATIENT.said(language)]
    if seen.block_test is None and seen.finding.verdict in ("tls_reset", "tls_eof", "tls_timeout"):
        return [_NO_CONTROL.said(language)]
    return []


def _good_addresses(seen: Inspection) -> list[str]:
    """Addresses that showed a good certificate for a name about which a resolver is disbelieved."""
    names = {name for name, _ in seen.disbelieved}
    shaken = [
        (path.address, step.tls)
        for path, _ in seen.paths
        if path.hostname in names and (step := path.step(Operation.tls_handshake))
    ]
    return sorted({f"`{address}`" for address, tls in shaken if tls and tls.verified})


def json_of(
    seen: Inspection, now: float, situation: Situation = Situation.unknown
) -> dict[str, Any]:
    """Plain values; texts that stand alone are in English."""
    finding = seen.finding
    told = {each: summary(seen, each, situation)[0] for each in LANGUAGES}
    return {
        "id": seen.mirror.id,
        "url": seen.mirror.url,
        "ok": seen.ok,
        "at": time_of_day(seen.at),
        "interrupted": seen.interrupted,
        "instance": _finding_json(seen.instance) if seen.instance else None,
        **_finding_json(finding),
        "meaning": what(finding.verdict, "en", finding.level, evidence=finding.evidence),
        "may_mean": told["en"].cause,
        "told": {
            each: {
                **asdict(text),
                "evidence": list(said(finding.evidence, each)),
                "hints": hints(seen, each),
            }
            for each, text in told.items()
        },
        "cdn": seen.cdn,
        "reaction": {**asdict(reaction_to(finding.verdict)), "act": told["en"].now},
        "steps": [_row_json(row) for row in rows_of(seen, now, "en")],
        "names": [
            {"hostname": resolution.hostname, **_finding_json(found)}
            for resolution, found in zip(seen.resolutions, seen.dns, strict=True)
        ],
        "paths": [
            {
                "hostname": path.hostname,
                "address": path.address,
                "cdn": seen.cdn_of(path),
                "not_after": not_after_of(path),
                "seconds": {str(step.operation): step.seconds for step in path.steps},
                "status": path.last.http.status if path.last.http else None,
                "failed_operation": None if path.last.failure is None else path.last.operation,
                "failure": path.last.failure,
                **_finding_json(found),
            }
            for path, found in seen.paths
        ],
        "vantages": [
            {
                "vantage": vantage,
                "hostname": path.hostname,
                "address": path.address,
                "verdict": judge_step(path.last).verdict,
                "ok": judge_step(path.last).alive,
                "failure": path.last.failure,
            }
            for vantage, path in seen.elsewhere
        ]
        + [{"vantage": vantage, "problem": str(why)} for vantage, why in seen.lost],
        "experiment": None if seen.block_test is None else {"ended": seen.block_test.why},
        "hints": hints(seen),
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "verdict": finding.verdict,
        "level": str(finding.level),
        "weights": {"blocked": finding.blocked, "down": finding.down, "ok": finding.ok},
        "rule": finding.rule,
        "evidence": list(said(finding.evidence)),
        "residual": finding.residual,
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "step": row.step,
        "way": row.way,
        "seconds": row.seconds,
        "failure": row.failure,
        "meaning": row.meaning,
        "problem": row.problem,
    }
