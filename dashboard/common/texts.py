"""Every sentence that visitors read, as (Chinese, English)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from monitor.common.languages import LANGUAGES, Language
from monitor.diagnosis.verdicts import VERDICTS

TEXTS: Mapping[str, tuple[str, str]] = {
    "language.name": ("中文", "English"),
    "page.skip": ("跳到正文", "Skip to content"),
    "page.home": ("状态", "Status"),
    "page.docs": ("使用说明", "How to use"),
    "page.languages": ("语言", "Language"),
    "page.navigation": ("导航", "Navigation"),
    "page.updated": ("更新于 {time}（{zone}）", "Updated {time} ({zone})"),
    "page.refresh": ("每 30 秒自动刷新", "Refreshes every 30 seconds"),
    "page.refresh.pause": ("暂停刷新", "Pause"),
    "page.refresh.resume": ("恢复自动刷新", "Resume refreshing"),
    "page.paused": ("自动刷新已暂停", "Refreshing is paused"),
    "page.notice": ("公告", "Notice"),
    "page.times": ("时间均为 {zone}", "Times are in {zone}"),
    "page.contact": ("联系方式：{contact}", "Contact: {contact}"),
    "banner.ok": ("全部 {total} 个节点工作正常", "All {total} nodes are working"),
    "banner.one": ("节点工作正常", "The node is working"),
    "banner.planned": (
        "{serving}/{total} 个节点在服务，其余由管理员安排停用",
        "{serving} of {total} nodes in service, the rest paused by the operator",
    ),
    "banner.some": (
        "服务可用：{serving}/{total} 个节点在服务",
        "Service available: {serving} of {total} nodes in service",
    ),
    "banner.slow": (
        "服务可用，但有节点性能下降",
        "Service available, with some nodes degraded",
    ),
    "banner.last": (
        "所有节点的探测都失败；请求暂时发往问题最小的节点",
        "Probes of all nodes fail; requests go to the least bad of them",
    ),
    "banner.none": ("当前没有节点可以服务", "No node can serve at the moment"),
    "banner.early": (
        "状态未知：探测尚未得出结论",
        "State unknown: probing has not come to a conclusion yet",
    ),
    "banner.offline": (
        "状态未知：监测点自身似乎断网",
        "State unknown: the monitor itself seems to be offline",
    ),
    "banner.blind": (
        "状态未知：尚无探测结果",
        "State unknown: no probe results yet",
    ),
    "banner.blind.since": (
        "状态未知：自 {time} 起没有新的探测结果",
        "State unknown: no probe results since {time}",
    ),
    "banner.empty": ("尚未配置节点", "No nodes are configured"),
    "queue.one": (
        "请求较多，请稍候：1 个请求在排队，目前约需等待 {time}",
        "Many requests, please wait: 1 request is in the queue, which takes about {time} now",
    ),
    "queue.more": (
        "请求较多，请稍候：{count} 个请求在排队，目前约需等待 {time}",
        "Many requests, please wait: {count} requests are in the queue, "
        "which takes about {time} now",
    ),
    "entrances.title": ("API 地址", "API base URL"),
    "entrances.hint": (
        "把它设为 SDK 的 base_url，其余不变。",
        "Set it as the base_url of your SDK; nothing else changes.",
    ),
    "entrances.cdn": ("经 CDN", "via CDN"),
    "entrances.direct": ("直连", "direct"),
    "entrances.more": ("用法示例", "Examples"),
    "nodes.title": ("节点", "Nodes"),
    "nodes.caption": (
        "各节点的状态、诊断与延迟，来自监测点 {vantage}",
        "State, diagnosis and latency of every node, as seen from {vantage}",
    ),
    "nodes.state": ("状态", "State"),
    "nodes.name": ("节点", "Node"),
    "nodes.host": ("主机", "Host"),
    "nodes.region": ("地区", "Region"),
    "nodes.cdn": ("CDN", "CDN"),
    "nodes.since": ("自", "Since"),
    "nodes.verdict": ("诊断", "Diagnosis"),
    "nodes.latency": ("延迟", "Latency"),
    "nodes.probed": ("最近探测", "Last probe"),
    "nodes.rotation": ("调度", "Rotation"),
    "nodes.details": ("{name} 的详情", "Details of {name}"),
    "nodes.since.phrase": ("自 {time}", "since {time}"),
    "nodes.last_known": ("此前为：{state}", "last known: {state}"),
    "nodes.never": ("尚未探测", "not probed yet"),
    "cdn.declared": ("声明", "declared"),
    "cdn.detected": ("检测到", "detected"),
    "cdn.yes": ("是", "yes"),
    "cdn.no": ("否", "no"),
    "cdn.none": ("未见", "none seen"),
    "state.up": ("正常", "Up"),
    "state.degraded": ("性能下降", "Degraded"),
    "state.down": ("故障", "Down"),
    "state.maintenance": ("维护中", "Maintenance"),
    "state.unknown": ("未知", "Unknown"),
    "rotation.in": ("参与调度", "In rotation"),
    "rotation.out": ("已移出", "Out of rotation"),
    "rotation.drain": ("管理员停用", "Drained by operator"),
    "rotation.maintenance": ("管理员维护", "Operator maintenance"),
    "rotation.ejected": ("因请求失败移出", "Ejected, as requests failed"),
    "ejection.unreachable": ("无法建立连接", "no connection could be opened"),
    "ejection.unanswered": ("没有及时响应", "no answer came in time"),
    "ejection.failing": ("响应出错", "its answers were failures"),
    "ejection.trying": ("正以个别请求试探是否恢复", "single requests try whether it has recovered"),
    "rotation.until": ("至 {time}", "until {time}"),
    "phase.resolve": ("域名解析", "DNS"),
    "phase.connect": ("连接", "TCP"),
    "phase.tls": ("TLS", "TLS"),
    "phase.first_byte": ("首字节", "First byte"),
    "phase.total": ("合计", "Total"),
    "node.vantages": ("各监测点", "By vantage"),
    "node.vantage": ("监测点", "Vantage"),
    "node.phases": ("最近一次成功探测的各阶段", "Phases of the last good probe"),
    "node.phase": ("阶段", "Phase"),
    "node.duration": ("耗时", "Duration"),
    "node.paths": ("路径", "Paths"),
    "node.paths.caption": (
        "每个主机名与地址的组合，按使用顺序排列",
        "Every host name over every address, in the order of use",
    ),
    "node.address": ("地址", "Address"),
    "node.standing": ("状况", "Standing"),
    "node.evidence": ("依据", "Evidence"),
    "node.hidden": ("第 {number} 条", "no. {number}"),
    "node.dns": ("域名解析诊断", "Name resolution"),
    "node.certificate": ("证书", "Certificate"),
    "node.certificate.days": ("还有 {days} 天到期", "ends in {days} days"),
    "node.certificate.over": ("已过期", "has ended"),
    "standing.ok": ("可用", "works"),
    "standing.suspected": ("存疑", "suspected"),
    "standing.held": ("暂不使用", "left alone"),
    "standing.untested": ("未测试", "not tested yet"),
    "level.none": ("未判定", "undecided"),
    "level.suspected": ("疑似", "suspected"),
    "level.confirmed": ("已证实", "confirmed"),
    "level.cleared": ("已排除", "cleared"),
    "node.back": ("返回全部节点", "Back to all nodes"),
    "uptime.title": ("可用率", "Uptime"),
    "uptime.short": ("30 天可用率 {percent}%", "{percent} % over 30 d"),
    "uptime.caption": (
        "按时间加权，向下取整；维护与未知时间不计",
        "Weighed by time, rounded down; maintenance and unknown time are left out",
    ),
    "uptime.window": ("时段", "Window"),
    "uptime.percent": ("可用率", "Uptime"),
    "uptime.coverage": ("已监测", "Watched"),
    "uptime.24h": ("24 小时", "24 hours"),
    "uptime.7d": ("7 天", "7 days"),
    "uptime.30d": ("30 天", "30 days"),
    "uptime.90d": ("90 天", "90 days"),
    "uptime.days": ("最近 {count} 天，每天一格（{zone}）", "The last {count} days ({zone})"),
    "uptime.day": (
        "{day}：可用 {percent}，故障 {down}，未知 {unknown}",
        "{day}: up {percent}, down {down}, unknown {unknown}",
    ),
    "uptime.trouble": ("有故障的日子", "Days with failures"),
    "uptime.date": ("日期", "Day"),
    "uptime.down": ("故障时长", "Down for"),
    "incidents.open.title": ("正在发生的故障", "Open incidents"),
    "incidents.title": ("近 14 天的故障", "Incidents of the last 14 days"),
    "incidents.none": ("近 14 天没有已结束的故障。", "None ended in the last 14 days."),
    "incidents.history": ("故障历史", "Incident history"),
    "incidents.more": ("更早的故障", "Older incidents"),
    "incidents.empty": ("尚无记录的故障。", "No incident has been recorded."),
    "incidents.and": ("、", ", "),
    "incidents.among": ("{names} 等 {count} 个节点", "{names} and others, {count} nodes"),
    "incidents.what": ("{names}：{what}", "{names}: {what}"),
    "incidents.open": ("进行中", "open"),
    "incidents.resolved": ("已恢复", "resolved"),
    "incidents.since": ("自 {time} 起，已 {length}", "since {time}, for {length}"),
    "incidents.lasted": ("{begin} 至 {end}，历时 {length}", "{begin} to {end}, {length}"),
    "incidents.times": ("（{times} 次）", "({times} times)"),
    "incidents.fell": ("{name} 故障：{what}。", "{name} is down: {what}."),
    "incidents.rose": ("{name} 已恢复。", "{name} has recovered."),
    "incidents.over": ("所有受影响的节点均已恢复。", "All nodes concerned have recovered."),
    "impact.minor": ("部分节点", "some nodes"),
    "impact.major": ("半数以上节点", "half of the nodes or more"),
    "impact.critical": ("全部节点", "all nodes"),
    "feed.title": ("{title} 的故障", "Incidents of {title}"),
    "feed.link": ("订阅（Atom）", "Atom feed"),
    "bans.title": ("被封禁的客户端", "Banned clients"),
    "bans.caption": (
        "正在生效的封禁，新的在前；地址已隐去一部分",
        "Bans in force, newest first; addresses are partly hidden",
    ),
    "bans.caption.full": ("正在生效的封禁，新的在前", "Bans in force, newest first"),
    "bans.none": ("当前没有被封禁的客户端。", "No client is banned at the moment."),
    "bans.ip": ("地址", "Address"),
    "bans.user_agent": ("客户端标识", "User agent"),
    "bans.location": ("归属地", "Location"),
    "bans.attribution": ("归属地数据：", "Locations:"),
    "bans.reason": ("原因", "Reason"),
    "bans.since": ("起", "Since"),
    "bans.until": ("止", "Until"),
    "bans.id": ("编号", "Id"),
    "bans.forever": ("直至人工解除", "until lifted"),
    "bans.all": ("查看全部 {count} 条", "See all {count}"),
    "bans.count": ("共 {count} 条", "{count} in force"),
    "bans.more": ("更早的封禁", "Older bans"),
    "bans.contact": (
        "认为有误？请联系 {contact}，并附上编号。",
        "A mistake? Contact {contact} and give the id.",
    ),
    "reason.too_many_connections": ("并发连接过多", "too many connections"),
    "reason.rate_limit_exceeded": ("请求过于频繁", "requests too frequent"),
    "reason.invalid_api_key": ("反复使用无效密钥", "invalid keys, again and again"),
    "reason.malformed_request": ("反复发送畸形请求", "malformed requests, again and again"),
    "reason.operator": ("管理员封禁", "by the operator"),
    "api.title": ("JSON 接口", "JSON API"),
    "api.nodes": ("所有节点", "all nodes"),
    "api.incidents": ("故障", "incidents"),
    "api.bans": ("封禁列表", "banned clients"),
    "api.health": ("总体健康，不可用时为 503", "overall health, 503 when nothing serves"),
    "docs.title": ("使用说明", "How to use this service"),
    "docs.intro": (
        "与 OpenAI API 完全相同，只需更换 base URL。API 密钥照常放在 Authorization 里。",
        "The same as the OpenAI API: only the base URL differs. "
        "Your API key goes into Authorization as usual.",
    ),
    "docs.base": ("Base URL", "Base URL"),
    "docs.curl": ("命令行 curl", "curl"),
    "docs.python": ("Python（openai 库）", "Python (openai package)"),
    "docs.node": ("Node.js（openai 库）", "Node.js (openai package)"),
    "docs.environment": ("环境变量", "Environment variable"),
    "docs.legacy": ("旧接口", "Legacy interface"),
    "docs.legacy.chat": (
        "由服务器保存对话：最后一条消息之后保留一段时间，只存在内存中。",
        "The conversation is kept here for a while after the last message, in memory only.",
    ),
    "docs.legacy.balance": (
        "余额是总额减去最近 {days} 天的用量，只是近似值：更早的用量不计在内，节点的统计有延迟。",
        "The balance is what was granted less the use of the last {days} days. It is not exact: "
        "earlier use is not counted, and nodes count late.",
    ),
    "docs.errors": ("出错时", "When something fails"),
    "docs.errors.429": (
        "节点在限流：请稍后再试；若有 Retry-After，按它等待。",
        "A node limits requests: try again later; where there is a Retry-After, after that.",
    ),
    "docs.errors.403": (
        "client_banned：地址被封禁，消息里写有期限与编号。",
        "client_banned: your address is banned; the message has the end and the id.",
    ),
    "docs.errors.503": (
        "no_mirror_available：没有可用的节点，稍后再试，并查看状态页。",
        "no_mirror_available: no node can take it; try again later and see the status page.",
    ),
    "error.404.title": ("没有这个页面", "No such page"),
    "error.404": (
        "这里没有您要找的内容。",
        "There is nothing at this address.",
    ),
    "error.405.title": ("不支持的方法", "Method not allowed"),
    "error.405": ("此处只能读取。", "This address can only be read."),
    "error.429.title": ("访问过于频繁", "Too many requests"),
    "error.429": (
        "您的地址短时间内请求了过多页面，请稍后再试。",
        "Too many pages were asked for from your address; please try again in a moment.",
    ),
    "error.503.title": ("访问者过多", "Too many visitors"),
    "error.503": (
        "此页目前访问量过大，请稍后再试；API 服务不受影响。",
        "Too many visitors at the moment, please try again soon; the API itself is not affected.",
    ),
    "error.500.title": ("内部错误", "Internal error"),
    "error.500": (
        "页面暂时无法生成，请稍后再试。",
        "The page cannot be made right now; please try again.",
    ),
    "error.home": ("前往状态页", "Go to the status page"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """The texts in one language."""

    language: Language

    def __call__(self, key: str, **values: object) -> str:
        """The text of `key`, with its placeholders filled. Raises KeyError."""
        text = TEXTS[key][LANGUAGES.index(self.language)]
        return text.format(**values) if values else text

    def verdict(self, code: str) -> str:
        """Return the meaning of a verdict; empty for a code that has no words yet."""
        verdict = VERDICTS.get(code)
        return "" if verdict is None else verdict.words.said(self.language)

    def reason(self, code: str) -> str:
        """The reason of a ban in words; an operator's own words stay as they are."""
        key = f"reason.{code}"
        return self(key) if key in TEXTS else code


def choose(wanted: str | None, accept: str, offered: tuple[str, ...]) -> Language:
    """The language of a page: asked for by `?lang=`, else by Accept-Language, else the first."""
    if wanted in offered:
        return cast(Language, wanted)
    for tag in _by_preference(accept):
        primary = tag.split("-", 1)[0]
        if primary in offered:
            return cast(Language, primary)
    return cast(Language, offered[0])


def _by_preference(accept: str) -> list[str]:
    """Language tags of an Accept-Language field (RFC 9110 section 12.5.4), the best first."""
    ranked = []
    for item in accept[:200].split(","):
        tag, _, parameters = item.partition(";")
        quality = _quality(parameters)
        if quality > 0:
            ranked.append((-quality, tag.strip().lower()))
    return [tag for _, tag in sorted(ranked, key=lambda pair: pair[0])]


def _quality(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
