"""Evidence for a verdict: codes with parameters, and the catalogue of their texts.

Diagnosis names what was observed by a code, or by a clause (`clauses.py`); people read it in their
language, from these two tables. The names of parameters are the same in both languages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, TypeAlias, cast

from monitor.common.languages import Text
from monitor.diagnosis.clauses import Clause

Value: TypeAlias = "str | int | float | Evidence | tuple[Value, ...]"
"""A name, a number, a part of the sentence that is evidence of its own, or several of them."""
_COMMA = Text("、", ", ")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation; made by calling its code, or of a clause."""

    code: str
    """The name of a `Code` or of a `Clause`."""
    values: tuple[tuple[str, Value], ...] = ()
    """The parameters by name."""

    def __str__(self) -> str:
        return self.said("en")

    def said(self, language: str) -> str:
        """The sentence, or part of one, in a language."""
        values = {name: _shown(value, language) for name, value in self.values}
        return _TEXTS[self.code].said(language).format(**values)

    @classmethod
    def of(cls, code: Code | Clause, /, **values: Value) -> Evidence:
        """The evidence of a code or clause with its parameters."""
        return cls(code.name, tuple(values.items()))

    def to_json(self) -> dict[str, Any]:
        """Plain values for another process."""
        return {"code": self.code, "values": [(n, _to_json(value)) for n, value in self.values]}

    @classmethod
    def from_json(cls, data: Any) -> Evidence:
        """The evidence that `to_json` was made from; a sentence, as earlier releases sent them,
        stays as it is."""
        if isinstance(data, str):
            return Code.as_written(text=data)
        return cls(data["code"], tuple((name, _from_json(value)) for name, value in data["values"]))

    def to_text(self) -> str:
        """The same for a column of text."""
        return json.dumps(self.to_json(), ensure_ascii=False).replace("\\u0000", "")

    @classmethod
    def from_text(cls, text: str) -> Evidence | None:
        """The evidence that `to_text` wrote; a sentence of an earlier release, or a code of a later
        one, stays as it is; None for nothing."""
        if not text:
            return None
        try:
            evidence = cls.from_json(json.loads(text))
            evidence.said("en")
        except (ValueError, KeyError, TypeError, IndexError):
            return Code.as_written(text=text)
        return evidence


def _to_json(value: Value) -> Any:
    if isinstance(value, Evidence):
        return value.to_json()
    return list(map(_to_json, value)) if isinstance(value, tuple) else value


def _from_json(value: Any) -> Value:
    if isinstance(value, Mapping):
        return Evidence.from_json(value)
    return tuple(map(_from_json, value)) if isinstance(value, list) else cast(Value, value)


def _shown(value: Value, language: str) -> str | int | float:
    if isinstance(value, Evidence):
        return value.said(language)
    if isinstance(value, tuple):
        return _COMMA.said(language).join(str(_shown(each, language)) for each in value)
    return value


@unique
class Code(Enum):
    """The catalogue: every kind of evidence with its texts, Chinese and English."""

    _value_: Text

    # Trials

    sent_name = Text("SNI 为 {name} 时，{end}。", "With SNI {name}, {end}.")
    sent_control = Text(
        "SNI 为对照域名 {name} 时，{end}。",
        "With SNI {name} (a control name, for comparison), {end}.",
    )
    sent_no_name = Text("不带 SNI 时，{end}。", "Without SNI, {end}.")
    sent_not_tls = Text("发送非 TLS 字节时，{end}。", "With bytes that are not TLS, {end}.")
    not_connected = Text("未能建立连接：{failure}。", "No connection: {failure}.")
    after_the_wait = Text("等待之后：{trial}", "After the wait: {trial}")

    # Ends of a trial, parts of the sentences above

    end_not_connected = Text("未能建立连接：{failure}", "no connection: {failure}")
    end_answered = Text("服务器有应答", "the server answers")
    end_cut = Text("连接{how}", "the connection is {how}")
    end_cut_after = Text("连接在 {ms:.0f} 毫秒后{how}", "the connection is {how} after {ms:.0f} ms")
    end_silent = Text("{seconds:.0f} 秒内没有任何回应", "no reply within {seconds:.0f} s")
    end_cut_at_once = Text("连接立即{how}", "the connection is {how} at once")
    cut_reset = Text("被重置", "reset")
    cut_closed = Text("被关闭", "closed")
    cut_alert = Text("被 TLS 告警中断", "ended with a TLS alert")
    cut_halfway = Text("中途断开", "cut off half-way")
    cut_plain = Text("得到非 TLS 的应答", "answered with something that is not TLS")
    cut_unknown = Text("因未知原因中断", "ended by an unknown fault")

    # Block tests

    network_in_doubt = Text(
        "测试期间无法确认本机网络正常。",
        "This machine's network was not known to work during the test.",
    )
    name_answered = Text("{name} 有应答。", "{name} is answered.")
    name_answered_now = Text("{name} 现在有应答。", "{name} is answered now.")
    passed = Text("此前没有，现已恢复。", "It was not before; that has passed.")
    control_unanswered = Text(
        "对照域名在此处没有应答，不能作为对照。",
        "The control name is not answered here and is of no use.",
    )
    control_of_no_use = Text(
        "对照域名在此处不能作为对照：服务器可能拒绝所有未知域名。",
        "The control name is of no use here: the server may refuse every unknown name.",
    )
    control_unproven = Text(
        "{name} 此前在此处从未有过应答：对照意义不大。",
        "{name} has not been answered here before: it compares with little.",
    )
    alert = Text(
        "服务器拒绝为 {name} 建立 TLS（告警 {alert}）。",
        "The server refuses TLS for {name} with alert {alert}.",
    )
    not_tls_answer = Text(
        "对 ClientHello 的应答不是 TLS。",
        "The ClientHello is answered with something that is not TLS.",
    )
    cut_shortly_before = Text(
        "同一地址与端口刚刚因被封锁的域名而中断。",
        "The same address and port was cut off shortly before, after a blocked name.",
    )
    cut_within_handshake = Text(
        "握手在收到服务器部分应答后中断。",
        "The handshake was cut off after a part of the server's answer.",
    )
    after_effect_or_every_name = Text(
        "可能是封锁的余波，也可能与域名无关：等待后重试。",
        "That may be the after-effect of a block, or concern every name: wait and repeat.",
    )
    not_shown_again = Text(
        "其他域名随后也在此中断，现已恢复。暂不再试 {name}，以免这唯一的地址再次中断：仅为疑似。",
        "Other names were cut off there too, and are answered again. {name} is not shown again for "
        "now, as it might shut their only address: so this stays a suspicion.",
    )
    all_cut_since_target = Text(
        "自测试镜像域名后全部中断；此前对照域名有应答。",
        "Since the mirror's name was tried all is cut off; the control name was answered before.",
    )
    no_residual = Text(
        "每次失败后，对照域名随即又有应答：该地址本身没有被封锁。",
        "After each failure the control name is answered again: the address as such is not "
        "blocked.",
    )
    residual_passed = Text(
        "失败后，对照域名在同一地址与端口随即也被中断，等待后又有应答：服务器很少这样。",
        "Right after a failure the control name is cut off too, on the same address and port, and "
        "is answered again after the wait: servers hardly ever do that.",
    )
    residual_so_far = Text(
        "失败后，对照域名在同一地址与端口至今也被中断：服务器很少这样。",
        "Right after the failure the control name is cut off too, on the same address and port, so "
        "far: servers hardly ever do that.",
    )
    residual_at_times = Text(
        "有时紧接着对照域名也被中断，有时则有应答：可能是服务器在多次失败后暂时封禁本机地址。",
        "Right after it the control name is cut off too at some times, and answered at others: a "
        "server may do that which bans this machine's address for a while after several failures.",
    )
    counts_connections = Text(
        "等待后对照域名先有应答，随后未出现镜像域名也被中断：与域名无关，更像是服务器限制本机的连接数。",
        "After the wait the control name is answered and then cut off, though the mirror's name "
        "was not shown: not the name is cut off; a server that limits connections does so.",
    )
    too_soon = Text(
        "{after:.1f} 毫秒后中断，而往返需要 {round_trip:.1f} 毫秒：不可能由服务器发出。",
        "It ended after {after:.1f} ms, a round trip takes {round_trip:.1f} ms: "
        "the server cannot have sent that.",
    )
    not_too_soon = Text(
        "用时不短于一次往返：可能由服务器发出。",
        "That is no sooner than a round trip: the server may have sent it.",
    )
    cut_each_time = Text(
        "对比测试 {name} {count} 次，{count} 次均失败；每次测试前，对照域名均有应答。",
        "In the comparison {name} failed {count} times of {count}, each right after an answered "
        "control name.",
    )
    lost_on_the_way = Text(
        "对端从未确认收到 SNI 为 {name} 的 ClientHello：它在途中丢失，并非服务器不应答。",
        "The ClientHello with {name} was not even acknowledged: it was lost on the way, the server "
        "did not ignore it.",
    )
    may_be_the_server = Text(
        "也可能是服务器自身的问题：服务器上已没有该域名的配置，或其后端已宕机。",
        "The server itself may do that: it no longer has this name, or its backend is down.",
    )
    answered_elsewhere = Text(
        "{name} 在 {address} 有应答：该域名本身没有被封锁。",
        "{name} is answered at {address}: the name as such is not blocked.",
    )
    cut_off_elsewhere = Text(
        "{name} 在 {address} 同样被中断。", "{name} is cut off at {address} as well."
    )
    control_by_the_server = Text(
        "对照域名的中断可能来自服务器：它可能拒绝未知域名；该地址的其他域名也许可用。",
        "The control name is cut off no sooner than the server can do that: it may refuse unknown "
        "names, and other names of the mirror may work.",
    )
    nothing_is_answered = Text(
        "此时在该地址尝试的一切都没有应答：负载均衡器的后端失效时也是这样。从其他网络访问，"
        "或试一个已知可用的域名，可以区分。",
        "Nothing that was tried is answered here at present: a load balancer with dead backends "
        "looks the same. A test from another network, or of a name known to work here, would tell.",
    )
    no_path_works = Text("{count} 条路径均不可用。", "None of the {count} paths works.")
    path_judged = Text("{address}：{sentence}。", "{address}: {sentence}.")

    # Certificates

    certificate = Text("属于 {names} 的证书", "a certificate for {names}")
    certificate_by = Text(
        "属于 {names} 的证书（由 {issuer} 签发）", "a certificate for {names}, issued by {issuer}"
    )
    names_unreadable = Text("无法读取的域名", "names that cannot be read")
    issuer_trusted = Text("受信任的机构", "a trusted authority")
    wrong_certificate = Text(
        "请求 {name} 时服务器出示{certificate}。",
        "When asked for {name}, the server shows {certificate}.",
    )
    untrusted_certificate = Text(
        "请求 {name} 时服务器出示{certificate}，其签发机构不受信任。",
        "When asked for {name}, the server shows {certificate}; the issuer is not trusted.",
    )
    untrusted_certificate_now = Text(
        "现在请求 {name} 时服务器出示{certificate}，其签发机构不受信任。",
        "Now, when asked for {name}, the server shows {certificate}; the issuer is not trusted.",
    )
    untrusted_address = Text(
        "该地址仅来自不可信的解析器；请求 {name} 时服务器出示{certificate}。",
        "Only an untrusted resolver gave this address, and when asked for {name}, "
        "the server shows {certificate}.",
    )
    verified_before = Text(
        "此前由 {issuer} 签发的证书在此验证通过。",
        "A certificate issued by {issuer} passed verification here before.",
    )
    link_not_sent = Text(
        "服务器没有发送其签发者的证书：若由公共机构签发，则是缺少中间证书。",
        "The server does not send the certificate of that issuer: if it is a public authority, "
        "the intermediate certificate is missing.",
    )
    refused_certificate = Text(
        "证书未通过验证（OpenSSL 代码 {code}）。",
        "OpenSSL refuses the certificate with code {code}.",
    )
    certificate_not_valid_yet = Text(
        "证书未通过验证（OpenSSL 代码 {code}）：尚未生效，时钟是否有误？",
        "OpenSSL refuses the certificate with code {code}. It is not valid yet: is a clock wrong?",
    )
    certificate_expired = Text(
        "证书由受信任的机构签发，但已过期。",
        "The certificate is from a trusted authority, but has expired.",
    )
    certificate_expired_on = Text(
        "证书由{issuer}签发，已于 {date} 过期。",
        "The certificate, issued by {issuer}, expired on {date}.",
    )
    trusted_issuer = Text("受信任的 {name} ", "{name} (trusted)")
    certificate_same = Text("与此前有效的证书相同。", "It is the same one that was valid before.")

    # Our own surroundings

    clock_ahead = Text(
        "本机时钟比其他 {count} 台服务器快 {hours:.0f} 小时，而它们彼此一致。",
        "This machine's clock is {hours:.0f} hours ahead of those of {count} servers, which agree.",
    )
    clock_behind = Text(
        "本机时钟比其他 {count} 台服务器慢 {hours:.0f} 小时，而它们彼此一致。",
        "This machine's clock is {hours:.0f} hours behind those of {count} servers, which agree.",
    )
    certificate_for_all = Text(
        "无论连接哪台服务器，看到的都是同一张{certificate}。",
        "Whichever server is asked, it shows one and the same: {certificate}.",
    )
    page_for_all = Text(
        "无论连接哪台服务器，对 ClientHello 的应答都是明文页面。",
        "Whichever server is asked, the ClientHello is answered with a plain page.",
    )
    link_is_down = Text(
        "除 lo 外的网络接口均未连接：{names}。", "All interfaces but lo are down: {names}."
    )
    no_interface = Text("没有其他接口", "this machine has no other")

    # Throughput

    slow = Text(
        "最近 {count} 次传输的速度中位数为 {speed:.1f} KB/s，而平时为 {usual:.0f} KB/s。",
        "The last {count} transfers ran at {speed:.1f} KB/s (median) instead of the usual "
        "{usual:.0f} KB/s.",
    )
    slow_without_past = Text(
        "最近 {count} 次传输的速度中位数为 {speed:.1f} KB/s；平时的速度未知。",
        "The last {count} transfers ran at {speed:.1f} KB/s (median); the usual speed is not "
        "known.",
    )
    others_slow = Text(
        "同一时段没有其他镜像速度正常：可能是本机线路的问题。",
        "No other mirror was as fast as usual meanwhile: it may be this machine's own line.",
    )
    others_normal = Text(
        "同一时段其他镜像速度正常。", "Other mirrors were as fast as usual in the same minutes."
    )
    speed_constant = Text(
        "各次速度几乎没有波动，符合限速设备的特征。",
        "The speed hardly varies between transfers, as under a rate limiter.",
    )
    frozen = Text(
        "最近 {of} 次较长的传输中有 {stopped} 次在 {least:.0f} 至 {most:.0f} KB 后停止。",
        "{stopped} of the last {of} longer transfers stopped after {least:.0f} to {most:.0f} KB.",
    )
    may_be_capped = Text(
        "也可能是服务器或其上行带宽本身受限或过载。",
        "The server or its uplink may be capped or overloaded.",
    )
    may_be_cut_by_server = Text(
        "也可能是服务器或其前面的代理自行截断较长的应答。",
        "The server, or a proxy in front of it, may itself cut longer responses off.",
    )

    # Resolvers

    addresses_and_more = Text("{addresses} 和另外 {count} 个", "{addresses} and {count} more")
    known_forged = Text(
        "{resolver} 给出 {addresses}，已知是伪造的。",
        "{resolver} gives {addresses}, known to be forged.",
    )
    address_verified = Text(
        "来自 {resolver} 的一个地址的证书验证通过。",
        "The certificate of an address from {resolver} passes verification.",
    )
    address_refused = Text(
        "{resolver} 给出的 {addresses} 证书未通过验证；可信的解析器（{trusted}）未返回该地址。",
        "{addresses}, from {resolver}, shows a certificate that fails verification; trusted "
        "resolvers ({trusted}) do not return this address.",
    )
    answered_twice = Text(
        "向 {resolver} 的一次 {kind} 查询得到两次应答：{replies}。",
        "One {kind} query to {resolver} was answered twice: {replies}.",
    )
    reply = Text("{ms:.0f} 毫秒后 {answer}", "{answer} after {ms:.0f} ms")
    one_answer_only = Text(
        "解析器对一次查询只应答一次：另一个应答来自他处。",
        "A resolver answers a query once: the other answer is from somebody else.",
    )
    cannot_be_true = Text("{addresses} 不可能是真实地址。", "{addresses} cannot be true.")
    not_public = Text(
        "{resolver} 给出 {addresses}，公网服务器不会有这样的地址。",
        "{resolver} gives {addresses}, which no public server has.",
    )
    trusted_gives_public = Text(
        "可信的解析器给出公网地址。", "A trusted resolver gives public addresses."
    )
    as_trusted = Text(
        "{resolver} 给出的与可信来源一致。", "{resolver} gives what a trusted source gives."
    )
    same_network = Text(
        "{resolver} 给出同一网络的其他地址。",
        "{resolver} gives other addresses of the same network.",
    )
    nothing_to_compare = Text(
        "{resolver} 给出 {addresses}；没有可对照的结果。",
        "{resolver} gives {addresses}; there is nothing to compare it with.",
    )
    differs_from_trusted = Text(
        "{resolver} 给出 {addresses}，可信来源给出 {trusted}。",
        "{resolver} gives {addresses}, a trusted source {trusted}.",
    )
    may_be_stale = Text(
        "也可能是该解析器的记录已过期，或它对内网另有应答（split DNS）。",
        "The resolver may have a stale record, or one of its own for a private network (split "
        "DNS).",
    )
    resolver_fails = Text(
        "{resolver} 查询失败：{failure}。", "The query to {resolver} failed: {failure}."
    )
    trusted_answers = Text("可信的解析器有应答。", "A trusted resolver answers.")
    trusted_fails = Text("可信的解析器也没有应答。", "No trusted resolver answers either.")
    none_trusted = Text(
        "没有配置可信的解析器，无法对照。", "No trusted resolver is configured to compare it with."
    )

    # Other vantages

    works_from = Text(
        "从 {vantage} 以 {name} 连接同一地址 {address} 得到应答：服务器正常，"
        "问题在从本机出发的途中，或服务器专门拒绝本机地址。",
        "From {vantage} the same address {address} answers as {name}: the server works, and what "
        "fails is on the way from this machine, or a rule of the server against it.",
    )
    fails_from_too = Text(
        "从 {vantage} 以 {name} 连接 {address} 同样失败：更像是服务器故障。",
        "From {vantage} {address} fails as {name} as well: that speaks for a fault of the server.",
    )
    works_by_name_from = Text(
        "从 {vantage} 以 {name} 经 {address} 得到应答，但那里可能使用了其他地址。",
        "From {vantage} {name} answers over {address}, perhaps at another address than from here.",
    )
    vantage_down = Text("观测点不可用：{reason}", "the vantage cannot be used: {reason}")
    from_vantage = Text("{name}：从 {vantage} 探测", "{name}: probing from {vantage}")

    # Activities of a diagnosis

    asking_others = Text(
        "向其他服务器询问时间和证书", "asking others for their time and certificate"
    )
    resolving = Text("{name}：解析中", "{name}: resolving")
    trying = Text("{name}：尝试 {addresses}", "{name}: trying {addresses}")
    trying_nothing = Text("{name}：没有可尝试的地址", "{name}: there is nothing to try")
    comparing = Text(
        "{name}：在 {address} 上与对照域名比较",
        "{name}: comparing with a control name on {address}",
    )

    # Mirrors as a whole

    cut_before_this = Text(
        "{address} 在 {ago} 秒前的一次探测中被中断，还须等待 {left} 秒。",
        "{address} was cut off {ago} s ago, by a probe before this one; {left} s are left to wait.",
    )
    no_route_anywhere = Text(
        "路由表中没有通往外部的路由，IPv4 与 IPv6 均无。",
        "The routing table leads to no address outside, neither by IPv4 nor by IPv6.",
    )
    resolvers_silent = Text(
        "解析器对任何域名都没有应答，包括对照域名 {names}。",
        "The resolvers answer about no name at all, {names} included.",
    )

    our_network_down = Text("本机网络或 DNS 似乎已断开", "this machine's network or DNS seems down")
    our_resolver_silent = Text("本机的解析器没有应答", "the local resolver does not answer")
    but_requests_served = Text(
        "{sentence}，但用户的请求得到了应答", "{sentence}; but requests of clients are served"
    )
    reached_otherwise = Text("通过另一个域名可达", "the mirror is reached under another name")
    own_key_useless = Text("镜像自己的密钥不被接受", "the mirror's own key is not accepted")
    long_answers_suffer = Text("较长的应答变慢或中断", "longer answers are slow, or stop")
    requests_fail = Text(
        "探测得到应答，但用户的请求失败", "probes are answered, but requests of clients fail"
    )
    left_alone = Text("刚有域名在此被中断，暂不连接", "left alone: a name was just cut off there")

    as_written = Text("{text}", "{text}")

    def __call__(self, **values: Value) -> Evidence:
        """The evidence of this code with its parameters."""
        return Evidence.of(self, **values)


_TEXTS: Mapping[str, Text] = {each.name: each.value for each in (*Code, *Clause)}


def said(evidence: Sequence[Evidence], language: str = "en") -> tuple[str, ...]:
    """Each piece of evidence as a sentence."""
    return tuple(each.said(language) for each in evidence)
