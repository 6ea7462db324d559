"""The table of a diagnosis: one row for each step of a probe and each trial of a block test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from monitor.common.languages import Text
from monitor.diagnosis.certificates import day_of, days_left, ends_soon
from monitor.diagnosis.classify import judge_step
from monitor.diagnosis.interpret import came_of
from monitor.diagnosis.telling import OFFLINE
from monitor.engine.diagnose import Inspection, Untried
from monitor.health.snapshot import endpoint_of
from monitor.probes.results import DnsObservation, Operation, PathResult, StepResult, TlsEvidence
from monitor.probes.trial_results import Role, Trial
from monitor.probes.verify_codes import EXPIRED
from router.cli.console import plain

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
_AS_SUSPECTED = Text("{result}（即上面疑似有误的地址）", "{result} (the address suspected above)")
_INTERFACES = Text("网络接口", "interfaces")
_THIS_MACHINE = Text("本机", "this machine")
_UNTRIED = {
    Untried.cut_off: Text(
        "未尝试：该地址刚因另一个域名被中断", "not tried: another name has just been cut off here"
    ),
    Untried.held: Text(
        "未尝试：之前的一次探测可能已使该地址被阻断",
        "not tried: a probe before this one may have shut it",
    ),
    Untried.too_many: Text("未尝试：数量已达上限", "not tried: one too many"),
}
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
    "证书已于 {date} 过期（{days} 天前）", "the certificate expired on {date}, {days} ago"
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
    ours = seen.ours.evidence if seen.ours else ()
    unplugged = next((each for each in ours if each.code in OFFLINE), None)
    rows = list(_Table(language, now, unplugged is None).rows(seen))
    if unplugged is None:
        return rows
    step, way = _INTERFACES.said(language), _THIS_MACHINE.said(language)
    told = _PROBLEM.said(language).format(result=clause_of(unplugged.said(language)))
    return [Row(step, way, None, told, problem=True), *rows]


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows in one language at one moment."""

    language: str
    now: float
    marks: bool
    """True if the trouble is one of the steps."""

    def _say(self, text: Text, **values: object) -> str:
        return text.said(self.language).format(**values)

    def rows(self, seen: Inspection) -> Iterator[Row]:
        """All of them, in the order of the steps."""
        many = len(seen.resolutions) > 1
        for resolution in seen.resolutions:
            yield from self._resolved(resolution, many, seen.disbelieved)
            wrong = _disbelieved(resolution, seen.disbelieved)
            for path, _ in seen.paths:
                if path.hostname == resolution.hostname:
                    yield from self._path(path, many, seen.mirror.port, path.address in wrong)
        for vantage, path in seen.elsewhere:
            way = f"{path.hostname} {path.address}" if many else path.address
            yield from (self._step(step, f"{vantage}: {way}") for step in path.steps)
        for vantage, why in seen.lost:
            yield Row("-", vantage, None, why.said(self.language))
        for left, reason in seen.untried:
            yield Row("-", f"{left.hostname} {left.address}", None, self._say(_UNTRIED[reason]))
        trials = seen.block_test.trials if seen.block_test else ()
        routine = 1 if trials and trials[0].role is Role.target else 0
        yield from (self._trial(trial) for trial in trials[routine:])

    def _path(self, path: PathResult, many: bool, port: int, wrong: bool) -> Iterator[Row]:
        """The steps, of which the last one is the trouble if the path does not work; `wrong`: an
        address that is disbelieved, where the trouble is the answer that gave it."""
        name = f"{path.hostname} " if many else ""
        for step in path.steps:
            connects = step.operation is Operation.connect
            way = endpoint_of(path.address, port) if connects else path.address
            failed = step is path.last and judge_step(step).verdict not in ("ok", "unknown")
            row = self._step(step, f"{name}{way}", problem=failed and not wrong)
            suspected = self._say(_AS_SUSPECTED, result=row.meaning)
            yield replace(row, meaning=suspected) if failed and wrong else row

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
        marked = problem and self.marks
        shown = self._say(_PROBLEM, result=text) if marked else text
        return Row(step, way, seconds, shown, failure, marked)

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


def _disbelieved(resolution: StepResult, disbelieved: frozenset[tuple[str, str]]) -> frozenset[str]:
    """Addresses of a name that only resolvers gave whose answer is disbelieved."""
    told: dict[bool, set[str]] = {True: set(), False: set()}
    for seen in resolution.dns:
        told[(resolution.hostname, seen.resolver) in disbelieved].update(seen.addresses)
    return frozenset(told[True] - told[False])


def clause_of(sentence: str) -> str:
    """The sentence as a part of another one."""
    return f"{sentence[:1].lower()}{sentence[1:].rstrip('.。')}"


def not_after_of(path: PathResult) -> float | None:
    """When the certificate that a path showed ends."""
    shaken = path.step(Operation.tls_handshake)
    return shaken.tls.not_after if shaken and shaken.tls else None
