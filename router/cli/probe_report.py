"""A diagnosis as text for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from monitor.common.languages import LANGUAGES, Text
from monitor.diagnosis.block_test import TOO_LONG
from monitor.diagnosis.cdn import share_fate
from monitor.diagnosis.certificates import day_of, days_left, ends_soon
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.evidence import INNOCENT, Code, said
from monitor.diagnosis.finding import Finding
from monitor.diagnosis.interpret import came_of
from monitor.diagnosis.rollup import cdn_findings, endpoint_findings, hostname_findings
from monitor.diagnosis.telling import Situation, Told, tell, what
from monitor.diagnosis.verdicts import BLOCKS, NO_FAULT, reaction_to
from monitor.engine.diagnose import INTERRUPTED, Inspection
from monitor.health.snapshot import endpoint_of
from monitor.probes.results import DnsObservation, Operation, PathResult, StepResult, TlsEvidence
from monitor.probes.trial_results import Role, Trial
from monitor.probes.verify_codes import EXPIRED
from router.cli.console import aligned, folded, plain

COLUMNS = 100
"""Of a line on a terminal; tables may be wider."""

_SURE = Text("可信度", "confidence")
_NOW = Text("自动处理", "automatic")
_TODO = Text("建议", "you can")
_OR = Text("其他可能", "or")
_VERDICT = Text("结论", "verdict")
_BECAUSE = Text("依据", "because")
_NETWORK = Text("CDN", "CDN")
_YET = Text("可用，但{what}", "works, but {what}")
_INSTANCE = Text(
    "本次探测正常；以下为运行中的实例此前观测到的数据（截至 {time}）。",
    "This probe succeeded; the rest was observed by the running instance (until {time}).",
)
_FINDINGS = frozenset(
    each.name
    for each in (
        Code.slow,
        Code.slow_without_past,
        Code.frozen,
        Code.link_is_down,
        Code.no_route_anywhere,
        Code.resolvers_silent,
    )
)
"""Codes of evidence that says more than the usual cause of its verdict."""
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
        f"{seen.mirror.id}  {seen.mirror.url}",
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
        f"### {_escaped(seen.mirror.id)}: {_escaped(seen.mirror.url)}",
        "",
        f"**{_escaped(plain(told.sentence(language)))}**",
        "",
        *(f"- **{name}**: {_escaped(plain(text))}" for name, text in named),
        "",
        f"| {' | '.join(names)} |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|`*_<>[]" else c for c in text)


def summary(
    seen: Inspection, language: str, situation: Situation = Situation.unknown
) -> tuple[Told, list[tuple[str, str]]]:
    """Return what is wrong; then how sure that is, what mirrorgate does, what a person can do,
    what else it may be and why, each with its name, which is empty where the one before goes on."""
    concern = _concern(seen)
    told = tell(concern.verdict, language, concern.level, situation, seen.cdn)
    found = next((each for each in concern.evidence if each.code in _FINDINGS), None)
    if found is not None:
        told = replace(told, cause=_clause(found.said(language)))
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
        *([_INSTANCE.said(language).format(time=seen.instance_at)] * (concern is seen.instance)),
        *said([e for e in concern.evidence if e is not found and e not in innocent], language),
        *_in_common(seen, language),
        *_asides(seen, language, concern),
    ]
    groups = [
        (_SURE, [told.sure]),
        (_NOW, [told.now]),
        (_TODO, [*hints(seen, language), told.todo]),
        (_OR, said(innocent, language)),
        (_BECAUSE, because),
        (_NETWORK, [seen.cdn]),
        (_VERDICT, [concern.verdict]),
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


def _clause(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.。')}"


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
    if seen.experiment is not None and seen.experiment.why in (TOO_LONG, INTERRUPTED):
        return [_PATIENT.said(language)]
    if seen.experiment is None and seen.finding.verdict in ("tls_reset", "tls_eof", "tls_timeout"):
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
        "interrupted": seen.interrupted,
        "instance": _finding_json(seen.instance) if seen.instance else None,
        **_finding_json(finding),
        "meaning": what(finding.verdict, "en", finding.level),
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
        "experiment": None if seen.experiment is None else {"ended": seen.experiment.why},
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


HEADER = {
    "zh": ("步骤", "目标", "用时", "结果"),
    "en": ("STEP", "TARGET", "TIME", "RESULT"),
}
_STEPS = {
    Operation.resolve: Text("解析", "resolve"),
    Operation.connect: Text("连接", "connect"),
    Operation.tls_handshake: Text("握手", "handshake"),
    Operation.http_round_trip: Text("请求", "request"),
}
_ROLES = {
    Role.target: Text("镜像域名", "mirror's name"),
    Role.control: Text("对照域名", "control name"),
    Role.no_sni: Text("无 SNI", "no SNI"),
    Role.not_tls: Text("非 TLS", "not TLS"),
    Role.elsewhere: Text("其他地址", "elsewhere"),
}
_SHOWN = 4
"""Addresses of an answer that are listed."""
_ALL = Text("全部", "all")
_SYSTEM = Text("系统解析器", "system resolver")
_PROBLEM = Text("{result}  ← 问题所在", "{result}  <- the problem")
_WRONG = Text("{addresses}（地址疑似有误）", "{addresses} (wrong address?)")
_SPARED = Text("未尝试：暂不触碰，或数量已达上限", "not tried: left alone, or one too many")
_CONFIGURED = Text("配置指定：{addresses}", "as configured: {addresses}")
_ALIAS = Text("{addresses}（{name} 的别名）", "{addresses} (alias of {name})")
_MORE = Text("{addresses} 和另外 {count} 个", "{addresses} and {count} more")
_ACCEPTS = Text("TCP 连接成功", "TCP connection opened")
_STATUS = Text("状态码 {status}：{meaning}", "status {status}: {meaning}")
_WORKS = {
    200: Text("状态码 200，有模型列表：正常", "status 200, a list of models: works"),
    401: Text(
        "状态码 401（探测不带密钥，属预期）：正常",
        "status 401, as expected (the probe sends no key): works",
    ),
}
_NO_LIST = Text(
    "状态码 {status}（没有模型列表）：正常", "status {status}, without a list of models: works"
)
_GOOD_CERTIFICATE = Text("{version}，证书有效", "{version}, the certificate is good")
_CERTIFICATE = Text(
    "{version}，证书由 {issuer} 签发，还剩 {days} 天",
    "{version}, certificate issued by {issuer}, {days} left",
)
_RENEW = Text("：请尽快续期", ": renew it soon")
_REFUSED = Text("（证书域名：{names}；由 {issuer} 签发）", " (names: {names}; issued by {issuer})")
_EXPIRED = Text(
    "证书已于 {date} 过期，已有 {days} 天", "the certificate expired on {date}, {days} ago"
)
_NO_NAME = Text("无名称", "none")
_NOBODY = Text("未知机构", "an unknown authority")
_COMMA = Text("、", ", ")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    step: str
    way: str
    seconds: float | None
    meaning: str
    failure: str | None = None
    problem: bool = False
    """True for the step that is the trouble."""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As text."""
        return (self.step, plain(self.way), time_of(self.seconds), plain(self.meaning))


def time_of(seconds: float | None) -> str:
    """ "12 ms", "< 1 ms", "4.0 s", or "-"."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "< 1 ms"


def rows_of(seen: Inspection, now: float, language: str) -> list[Row]:
    """The whole table; `now` in seconds since the epoch."""
    return list(_Table(language, now).rows(seen))


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows in one language at one moment."""

    language: str
    now: float

    def _say(self, text: Text, **values: object) -> str:
        return text.said(self.language).format(**values)

    def rows(self, seen: Inspection) -> Iterator[Row]:
        """All of them, in the order of the steps."""
        many = len(seen.resolutions) > 1
        for resolution in seen.resolutions:
            yield from self._resolved(resolution, many, seen.disbelieved)
            for path, _ in seen.paths:
                if path.hostname == resolution.hostname:
                    yield from self._path(path, many, seen.mirror.port)
        for vantage, path in seen.elsewhere:
            way = f"{path.hostname} {path.address}" if many else path.address
            yield from (self._step(step, f"{vantage}: {way}") for step in path.steps)
        for vantage, why in seen.lost:
            yield Row("-", vantage, None, why.said(self.language))
        for left in seen.spared:
            yield Row("-", f"{left.hostname} {left.address}", None, self._say(_SPARED))
        trials = seen.experiment.trials if seen.experiment else ()
        routine = 1 if trials and trials[0].role is Role.target else 0
        yield from (self._trial(trial) for trial in trials[routine:])

    def _path(self, path: PathResult, many: bool, port: int) -> Iterator[Row]:
        """The steps, of which the last one is the trouble if the path does not work."""
        name = f"{path.hostname} " if many else ""
        for step in path.steps:
            connects = step.operation is Operation.connect
            way = endpoint_of(path.address, port) if connects else path.address
            failed = step is path.last and judge_step(step).verdict not in ("ok", "unknown")
            yield self._step(step, f"{name}{way}", problem=failed)

    def _resolved(
        self, resolution: StepResult, many: bool, disbelieved: frozenset[tuple[str, str]]
    ) -> Iterator[Row]:
        name = f"{resolution.hostname} " if many else ""
        step = self._say(_STEPS[Operation.resolve])
        for seen in resolution.dns:
            wrong = (resolution.hostname, seen.resolver) in disbelieved
            result = self._answer(seen)
            if wrong and seen.failure is None:
                result = self._say(_WRONG, addresses=result)
            resolver = self._say(_SYSTEM) if seen.resolver == "system" else seen.resolver
            failed = wrong or resolution.failure is not None
            yield self._row(step, f"{name}{resolver}", seen.seconds, result, seen.failure, failed)
        if not resolution.dns:
            text = self._say(_CONFIGURED, addresses=self._listed(resolution.addresses))
            yield Row(step, f"{name}-", None, text)
        elif resolution.failure and len(resolution.dns) > 1:
            yield Row(step, f"{name}{self._say(_ALL)}", None, self._seen(resolution))

    def _answer(self, seen: DnsObservation) -> str:
        if seen.failure is not None:
            return self._seen(StepResult(Operation.resolve, seen.failure, seen.seconds))
        listed = self._listed(seen.addresses)
        return self._say(_ALIAS, addresses=listed, name=seen.chain[-1]) if seen.chain else listed

    def _listed(self, addresses: tuple[str, ...]) -> str:
        listed = ", ".join(addresses[:_SHOWN])
        more = len(addresses) - _SHOWN
        return self._say(_MORE, addresses=listed, count=more) if more > 0 else listed

    def _step(self, step: StepResult, way: str, *, problem: bool = False) -> Row:
        name = self._say(_STEPS[step.operation])
        return self._row(name, way, step.seconds, self._meaning(step), step.failure, problem)

    def _row(
        self, step: str, way: str, seconds: float, text: str, failure: str | None, problem: bool
    ) -> Row:
        shown = self._say(_PROBLEM, result=text) if problem else text
        return Row(step, way, seconds, shown, failure, problem)

    def _meaning(self, step: StepResult) -> str:
        if step.failure is None and step.operation is Operation.connect:
            return self._say(_ACCEPTS)
        if step.failure is None and step.tls is not None:
            return self._certificate(step.tls)
        if step.http is not None:
            return self._status(step.http.status, self._seen(step))
        return self._seen(step) + (self._refused(step.tls) if step.tls else "")

    def _status(self, status: int, meaning: str) -> str:
        if not meaning:
            return self._say(_WORKS.get(status, _NO_LIST), status=status)
        told = str(status) in meaning
        return meaning if told else self._say(_STATUS, status=status, meaning=meaning)

    def _seen(self, step: StepResult) -> str:
        if step.tls and step.tls.verify_code == EXPIRED and step.tls.not_after is not None:
            days = self._days(-days_left(step.tls.not_after, self.now))
            return self._say(_EXPIRED, date=day_of(step.tls.not_after), days=days)
        seen = judge_step(step).seen
        return seen.said(self.language) if seen else ""

    def _certificate(self, seen: TlsEvidence) -> str:
        """Version, issuer and days left of a good handshake."""
        if seen.not_after is None:
            return self._say(_GOOD_CERTIFICATE, version=seen.version)
        days = self._days(days_left(seen.not_after, self.now))
        renew = self._say(_RENEW) if ends_soon(seen.not_after, self.now) else ""
        told = {"version": seen.version, "issuer": seen.issuer or "?", "days": days}
        return self._say(_CERTIFICATE, **told) + renew

    def _days(self, days: float) -> str:
        count = round(days)
        return str(count) if self.language == "zh" else f"{count} day{'s' * (count != 1)}"

    def _refused(self, seen: TlsEvidence) -> str:
        """Return the fields of the refused certificate, if one was."""
        if not seen.verify_code:
            return ""
        names = self._say(_COMMA).join(seen.subject_names[:3]) or self._say(_NO_NAME)
        return self._say(_REFUSED, names=names, issuer=seen.issuer or self._say(_NOBODY))

    def _trial(self, trial: Trial) -> Row:
        way = f"{trial.sni} {trial.address}" if trial.sni else trial.address
        came, step = came_of(trial).said(self.language), trial.step
        return Row(self._say(_ROLES[trial.role]), way, step.seconds, came, step.failure)


def not_after_of(path: PathResult) -> float | None:
    """When the certificate that a path showed ends."""
    shaken = path.step(Operation.tls_handshake)
    return shaken.tls.not_after if shaken and shaken.tls else None
