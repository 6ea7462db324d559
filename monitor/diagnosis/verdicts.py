"""The registry of verdicts: words, meaning and reaction of each.

Everything that is said of a verdict or done about it is derived from here: the status page, the
commands, the alerts, and the tables of docs/diagnosis.md. What interferes is only ever "on the
path", and only likely: never a country, never an actor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.common.languages import Text
from monitor.diagnosis.reactions import (
    ADDRESS_BLOCKED,
    BAD_CERTIFICATE,
    CUT_OFF,
    FORGED,
    NAME_BLOCKED,
    NOT_CONNECTED,
    OUR_OWN,
    UNANSWERED,
    WATCHED,
    Reaction,
    Scope,
    elsewhere,
    key_unused,
)
from monitor.diagnosis.timing import NORMAL


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict explained."""

    words: Text
    """Its meaning in a few words, for visitors of the status page."""
    seen: str
    """Observations that lead to it, for operators."""
    may_mean: str
    reaction: Reaction
    alive: bool = False
    """The mirror is alive all the same: it becomes degraded, not down."""
    interferes: bool = False
    """Something on the path interferes (likely)."""


VERDICTS: Mapping[str, Verdict] = {
    "ok": Verdict(
        Text("正常", "works"),
        "401, 404 or 405, or 200 with a list of models",
        "it works",
        Reaction(act="Nothing to do.", score=False),
    ),
    "unknown": Verdict(
        Text("尚无结论", "no conclusion yet"),
        "nothing yet",
        "wait for the first probe",
        Reaction(act="Goes on probing; until then it stays in rotation.", score=False),
    ),
    "local_network_down": Verdict(
        Text("监测点自身断网", "the monitor itself is offline"),
        "no mirror can be reached or resolved",
        "our network or resolver",
        Reaction(act="Freezes all states and leaves every mirror in rotation.", score=False),
    ),
    "local_clock_wrong": Verdict(
        Text("监测点的时钟有误", "the clock of the monitor is wrong"),
        "certificates have expired or are not valid yet, and by the clocks of others, which agree, "
        "they are good",
        "our own clock: set it (NTP), also on the machine below if this is a virtual one",
        OUR_OWN,
    ),
    "captive_portal": Verdict(
        Text("监测点处于需要登录的网络", "the monitor is behind a captive portal"),
        "every server that is asked, mirrors and others, shows one and the same wrong certificate "
        "or page",
        "a network that wants a sign-in first, or a proxy that opens TLS",
        OUR_OWN,
    ),
    "dns_down": Verdict(
        Text("域名无法解析", "the name does not resolve"),
        "no resolver knows an address",
        "the name is gone, or the resolvers fail; one resolver alone may also lie",
        Reaction(Scope.hostname, 60.0, 900.0, change_hostname=True, act="Takes another hostname."),
    ),
    "dns_bogon": Verdict(
        Text("域名解析到内网地址", "the name resolves to private addresses"),
        "private addresses only",
        "a mirror in your own network (set `allow_private`), or a forged answer",
        Reaction(
            Scope.hostname,
            60.0,
            900.0,
            change_hostname=True,
            alert=True,
            act="Does not connect to private addresses unless the mirror has allow_private.",
        ),
    ),
    "dns_blocked": Verdict(
        Text("本地解析很可能被阻断", "local name resolution is blocked on the path (likely)"),
        "our resolver fails, a trusted one answers",
        "resolution is blocked on the path (likely)",
        Reaction(
            change_resolver=True,
            act="Takes the addresses of a trusted resolver or pinned ones; "
            "the mirror stays in use.",
        ),
        interferes=True,
    ),
    "dns_poisoned": Verdict(
        Text("域名应答很可能是伪造的", "answers to name queries are forged on the path (likely)"),
        "our resolver gives an address that cannot be true",
        "answers are forged on the path (likely)",
        FORGED,
        interferes=True,
    ),
    "dns_injection": Verdict(
        Text(
            "链路上很可能注入了域名应答",
            "answers to name queries are injected on the path (likely)",
        ),
        "two different answers to one question, whatever they say",
        "answers are injected on the path (almost certain)",
        FORGED,
        interferes=True,
    ),
    "dns_inconsistent": Verdict(
        Text("各解析器结果不一致", "resolvers disagree"),
        "resolvers disagree",
        "usually a CDN; nothing is done",
        Reaction(act="Nothing: content networks do that.", score=False),
    ),
    "connection_refused": Verdict(
        Text("连接被拒绝", "the connection is refused"),
        "the port is closed",
        "the server is down, or a firewall refuses",
        NOT_CONNECTED,
    ),
    "connection_reset": Verdict(
        Text("连接被重置", "connections are reset"),
        "a reset while connecting",
        "a firewall, often for some minutes after a blocked handshake",
        NOT_CONNECTED,
    ),
    "ip_unreachable": Verdict(
        Text("地址不可达", "the address cannot be reached"),
        "no answer to SYN, or no route",
        "the server is down or its address is blocked; from one place these look alike",
        elsewhere(
            120.0,
            1800.0,
            "Takes another address, of the other IP version too; tries this one again later.",
        ),
    ),
    "connect_failed": Verdict(
        Text("无法建立连接", "no connection can be opened"),
        "another fault while connecting",
        "a firewall on this machine, or no free port",
        NOT_CONNECTED,
    ),
    "residual_block": Verdict(
        Text("封锁的余波，稍后复测", "the after-effect of a block, to be tested again"),
        "a failure on an address and port on which a name was cut off shortly before",
        "the after-effect of a block; not counted against the path",
        Reaction(
            Scope.endpoint,
            NORMAL.residual_hold,
            NORMAL.residual_max,
            quarantine=True,
            change_address=True,
            score=False,
            act="Leaves the address and port alone, for all hostnames, "
            "until the after-effect is over.",
        ),
        interferes=True,
    ),
    "sni_block_rst": Verdict(
        Text(
            "域名很可能在链路上被封锁（重置）",
            "the host name is blocked on the path (likely): reset",
        ),
        "the control is answered, the real name is reset",
        "the hostname is blocked on the path (likely)",
        NAME_BLOCKED,
        interferes=True,
    ),
    "sni_block_fin": Verdict(
        Text(
            "域名很可能在链路上被封锁（断开）",
            "the host name is blocked on the path (likely): closed",
        ),
        "the control is answered, for the real name the connection is closed",
        "the hostname is blocked on the path (likely)",
        NAME_BLOCKED,
        interferes=True,
    ),
    "sni_block_drop": Verdict(
        Text(
            "域名很可能在链路上被封锁（丢包）",
            "the host name is blocked on the path (likely): silence",
        ),
        "the control is answered, the real name is met with silence",
        "the hostname is blocked on the path (likely)",
        NAME_BLOCKED,
        interferes=True,
    ),
    "ip_port_block": Verdict(
        Text(
            "链路上很可能封锁了该地址与端口",
            "this address and port are blocked on the path (likely)",
        ),
        "rule D: everything on this port is reset, sooner than the server can",
        "the address and port are blocked on the path (likely)",
        ADDRESS_BLOCKED,
        interferes=True,
    ),
    "tls_block": Verdict(
        Text("链路上很可能封锁了 TLS", "TLS is blocked on the path (likely)"),
        "rule D: only TLS is reset, whatever the name, sooner than the server can",
        "TLS is blocked on the path (likely)",
        ADDRESS_BLOCKED,
        interferes=True,
    ),
    "tls_reset": Verdict(
        Text("TLS 握手被重置", "the TLS handshake was reset"),
        "a reset after our hello, and no comparison with a control yet, or of every name alike",
        "a blocked name, a blocked address or a broken server",
        CUT_OFF,
    ),
    "tls_reset_late": Verdict(
        Text("TLS 握手中途被重置", "the TLS handshake was reset half-way"),
        "a reset after part of the handshake",
        "the server, or a firewall that reads certificates",
        elsewhere(30.0, 300.0, "Takes another address; tries this one again later."),
    ),
    "tls_eof": Verdict(
        Text("TLS 握手被断开", "the TLS handshake was cut off"),
        "a close after our hello, and no comparison with a control yet",
        "a blocked name, a blocked address or a broken server",
        CUT_OFF,
    ),
    "tls_timeout": Verdict(
        Text("TLS 握手超时", "the TLS handshake timed out"),
        "silence after our hello, and no comparison with a control yet, or for the control too",
        "an overloaded server, a blocked name or a blocked address",
        elsewhere(30.0, 300.0, "Takes another address and tries this one again later."),
    ),
    "tls_alert": Verdict(
        Text("对方拒绝该主机名", "the server refuses this host name"),
        "a TLS alert instead of a certificate",
        "the name is not set up on that server or CDN",
        Reaction(
            Scope.path,
            300.0,
            3600.0,
            change_address=True,
            alert=True,
            act="Does not use this hostname on this address: it is not set up there.",
        ),
    ),
    "tls_failed": Verdict(
        Text("TLS 握手失败", "the TLS handshake failed"),
        "another fault in the handshake",
        "a server that speaks another TLS, or something in between",
        elsewhere(30.0, 300.0, "Takes another address; tries this one again later."),
    ),
    "tls_mitm": Verdict(
        Text("证书很可能在链路上被替换", "the certificate was replaced on the path (likely)"),
        "the issuer is not trusted, and a certificate verified here before",
        "the certificate was replaced on the path (likely)",
        Reaction(
            Scope.path,
            1800.0,
            3600.0,
            change_address=True,
            change_hostname=True,
            alert=True,
            act="Sends nothing there, above all no key; takes another hostname and address.",
        ),
    ),
    "ssl_invalid_hostname": Verdict(
        Text("证书与域名不符", "the certificate is for another name"),
        "the certificate is for another name",
        "wrong address, or a server that does not have the name",
        BAD_CERTIFICATE,
    ),
    "ssl_unknown_authority": Verdict(
        Text("证书颁发者不受信任", "the certificate's issuer is not trusted"),
        "the certificate's issuer is not trusted",
        "a private authority (set `ca_file`), or somebody in between",
        BAD_CERTIFICATE,
    ),
    "ssl_invalid_certificate": Verdict(
        Text("证书无效", "the certificate is not valid"),
        "the certificate is not valid for another reason",
        "a certificate that is not valid yet, revoked or malformed: look at it with openssl",
        BAD_CERTIFICATE,
    ),
    "cert_expired": Verdict(
        Text("证书已过期", "the certificate has expired"),
        "a trusted certificate whose time is over",
        "renew it",
        Reaction(
            Scope.hostname,
            300.0,
            3600.0,
            change_hostname=True,
            alert=True,
            act="Sends nothing there until the certificate is renewed.",
        ),
    ),
    "block_page": Verdict(
        Text("TLS 端口返回了明文页面", "a plain page is returned where TLS is expected"),
        "plain HTTP in answer to TLS",
        "a wrong port in `url`, or a block page",
        Reaction(
            Scope.path,
            600.0,
            3600.0,
            change_address=True,
            change_hostname=True,
            act="Takes another hostname or address.",
        ),
    ),
    "content_block": Verdict(
        Text(
            "握手之后的数据很可能在链路上被丢弃",
            "what follows the handshake is dropped on the path (likely)",
        ),
        "the handshake passes, our request is never acknowledged, and data after a handshake with "
        "the control name are",
        "the hostname is blocked on the path (likely), by something that acts after the handshake",
        NAME_BLOCKED,
        interferes=True,
    ),
    "http_reset": Verdict(
        Text("HTTP 连接被重置", "the HTTP connection was reset"),
        "a reset after our request",
        "the server, or what lies between",
        UNANSWERED,
    ),
    "http_eof": Verdict(
        Text("HTTP 连接被断开", "the HTTP connection was cut off"),
        "a close after our request",
        "the server, or what lies between",
        UNANSWERED,
    ),
    "http_timeout": Verdict(
        Text("HTTP 应答超时", "no HTTP answer in time"),
        "silence after our request",
        "the server, or what lies between",
        UNANSWERED,
    ),
    "http_malformed": Verdict(
        Text("应答不是 HTTP/1", "the answer is not HTTP/1"),
        "an answer that is not HTTP/1",
        "a wrong port",
        UNANSWERED,
    ),
    "http_failed": Verdict(
        Text("HTTP 请求失败", "the HTTP request fails"),
        "another fault in the request",
        "the server, or what lies between",
        UNANSWERED,
    ),
    "http_diff": Verdict(
        Text("内容不符合预期", "the answer is not what is expected"),
        "a redirect, or a page instead of the API",
        "parked domain, sign-in page, wrong path in `url`",
        Reaction(
            Scope.mirror,
            600.0,
            3600.0,
            alert=True,
            act="Takes another mirror: this is not the API.",
        ),
    ),
    "not_openai_api": Verdict(
        Text("不是 OpenAI 接口", "this is not the OpenAI API"),
        "404 or 405 for the list of models and for completions too, in JSON that is not OpenAI's",
        "another API: a wrong path in `url`, or a mirror that was moved",
        Reaction(
            Scope.mirror,
            600.0,
            3600.0,
            alert=True,
            act="Takes another mirror, unless this one serves requests.",
        ),
    ),
    "byte_cap_freeze": Verdict(
        Text(
            "传输到若干字节后很可能在链路上被冻结",
            "transfers are frozen on the path after some bytes (likely)",
        ),
        "three of four long transfers stop dead after 10 to 30 KB",
        "long answers are frozen on the path (likely)",
        Reaction(
            Scope.cdn,
            1800.0,
            3600.0,
            change_address=True,
            streaming=0.2,
            act="Takes another address or network, and other mirrors first for streamed answers.",
        ),
        interferes=True,
    ),
    "throttled": Verdict(
        Text("很可能在链路上被限速", "throttled on the path (likely)"),
        "five transfers at a tenth of the usual speed or less, others as quick as ever",
        "the mirror is slowed down on the path (likely)",
        Reaction(
            Scope.mirror,
            600.0,
            600.0,
            weight=0.2,
            act="Gives it a fifth of its share.",
        ),
        interferes=True,
    ),
    "cdn_challenge": Verdict(
        Text("CDN 要求人机验证", "the CDN asks for a challenge"),
        "the CDN wants a browser's proof",
        "no API client can pass: relax it on the CDN",
        Reaction(
            Scope.mirror,
            300.0,
            1800.0,
            alert=True,
            act="Takes another mirror: no API client can answer a challenge.",
        ),
    ),
    "cdn_access_denied": Verdict(
        Text("CDN 拒绝访问", "the CDN denies access"),
        "the CDN refuses us (Cloudflare 10xx)",
        "a firewall rule on the CDN",
        Reaction(Scope.mirror, 900.0, 3600.0, alert=True, act="Takes another mirror."),
    ),
    "cdn_rate_limited": Verdict(
        Text("CDN 限流", "rate limited by the CDN"),
        "the CDN limits us (Cloudflare 1015)",
        "probe less often, or allow our address on the CDN",
        Reaction(Scope.mirror, 5.0, 60.0, act="Waits as long as it was asked to."),
        alive=True,
    ),
    "cdn_origin_error": Verdict(
        Text("CDN 无法连到源站", "the CDN cannot reach the origin"),
        "the CDN cannot reach its origin (520–526, 530)",
        "the mirror behind the CDN is down",
        Reaction(
            Scope.cdn,
            30.0,
            300.0,
            act="Takes another mirror: other names and addresses lead to the same origin.",
        ),
    ),
    "cdn_origin_timeout": Verdict(
        Text("CDN 等待源站超时", "the origin keeps the CDN waiting"),
        "the origin is too slow for the CDN (524)",
        "an overloaded origin, or a very slow request",
        WATCHED,
    ),
    "upstream_overloaded": Verdict(
        Text("上游过载或出错", "the upstream is overloaded or failing"),
        "any other 5xx",
        "the mirror or the API behind it has a fault or too much to do",
        Reaction(
            Scope.mirror,
            5.0,
            120.0,
            act="Prefers other mirrors for a moment; ejects it by its error rate.",
        ),
    ),
    "requests_fail": Verdict(
        Text("探测正常，但用户的请求失败", "probes are answered, requests fail"),
        "probes are answered as they should be, but requests of clients fail between them again "
        "and again, three or more over three seconds, and none is served",
        "a mirror whose list of models works while its models do not: its account, or the API "
        "behind it",
        Reaction(act="Ejects it by its failures, and tries it with one request at a time."),
        alive=True,
    ),
    "upstream_region_ban": Verdict(
        Text("上游不支持其出口地区", "the upstream refuses its region"),
        "`unsupported_country_region_territory`",
        "the API refuses the mirror's own place",
        Reaction(
            Scope.mirror,
            1800.0,
            3600.0,
            alert=True,
            weight=0.01,
            act="Takes another mirror, if there is one: the API does not "
            "serve the place of this one.",
        ),
        alive=True,
    ),
    "upstream_key_invalid": Verdict(
        Text("镜像自己的密钥无效", "the mirror's own key is not accepted"),
        "401 with the mirror's own key",
        "the key was revoked or mistyped",
        key_unused("it is accepted"),
        alive=True,
    ),
    "upstream_ip_not_allowed": Verdict(
        Text("我方地址不在其白名单中", "our address is not on its list"),
        '"IP not authorized"',
        "our address is not on the account's list",
        key_unused("our address is on its list"),
        alive=True,
    ),
    "upstream_quota": Verdict(
        Text("上游额度用尽", "the upstream quota is used up"),
        "`insufficient_quota` and the like",
        "pay, or wait for the next period",
        key_unused("it has quota"),
        alive=True,
    ),
    "upstream_rate_limited": Verdict(
        Text("上游限流", "rate limited upstream"),
        "429",
        "the key or our address is used too often",
        Reaction(
            Scope.mirror, 5.0, 60.0, act="Waits as long as it was asked to, else some seconds."
        ),
        alive=True,
    ),
    "upstream_forbidden": Verdict(
        Text("上游拒绝访问", "the upstream refuses access"),
        "403 in JSON",
        "a rule of the mirror against our address or against requests without key",
        WATCHED,
        alive=True,
    ),
    "upstream_unexpected": Verdict(
        Text("上游应答异常", "an unexpected answer from upstream"),
        "JSON that is neither a list nor an error we know",
        "another API, or a relay with words of its own",
        WATCHED,
        alive=True,
    ),
}
SNI_BLOCKS: frozenset[str] = frozenset({"sni_block_rst", "sni_block_fin", "sni_block_drop"})
"""Those that say that a hostname is blocked."""
NAME_CUT: frozenset[str] = frozenset({"tls_reset", "tls_eof", "tls_timeout"}) | SNI_BLOCKS
"""Those on a name that was cut off: to show it may set off a blockade."""
BLOCKS: frozenset[str] = frozenset(name for name, each in VERDICTS.items() if each.interferes)
"""Those that say: something on the way interferes (likely)."""
ANSWERED: frozenset[str] = frozenset(
    {
        "http_diff",
        "not_openai_api",
        "cdn_challenge",
        "cdn_access_denied",
        "cdn_origin_error",
        "upstream_overloaded",
    }
)
"""Those on a mirror that answers HTTP, under a certificate that verifies, though not as it should:
the one request that probes make may fail where others do not."""
REACHED: frozenset[str] = ANSWERED | {
    "http_reset",
    "http_eof",
    "http_timeout",
    "http_malformed",
    "http_failed",
}
"""Those, and the ones on a mirror that takes a request but does not answer it."""
AFTER_HANDSHAKE: frozenset[str] = REACHED | {"content_block"}
"""What a handshake that passes says nothing about."""
POISONED: frozenset[str] = frozenset({"dns_poisoned", "dns_injection"})
"""Those on answers of a resolver that are forged."""
CERTIFICATE_REFUSED: frozenset[str] = frozenset(
    {"ssl_invalid_hostname", "ssl_unknown_authority", "tls_mitm", "dns_poisoned"}
)
"""Those on an address that showed a certificate which does not verify for the name."""
CDN_REFUSES: frozenset[str] = frozenset({"cdn_challenge", "cdn_access_denied"})
"""Those that keep a mirror down until somebody does something about it."""
KEY_REFUSED: frozenset[str] = frozenset(
    {"upstream_key_invalid", "upstream_ip_not_allowed", "upstream_quota", "upstream_region_ban"}
)
"""Those on an answer after which the mirror's own key is of no use there."""
OURS: frozenset[str] = frozenset({"local_network_down", "local_clock_wrong", "captive_portal"})
"""Those on our own surroundings: no mirror is blamed."""
NO_FAULT: frozenset[str] = frozenset({"ok", "unknown"}) | OURS
"""Those that say nothing against a path."""


def told(verdict: str) -> str:
    """A verdict in one sentence: what was seen, and what it may mean."""
    entry = VERDICTS[verdict]
    return f"{entry.seen}: {entry.may_mean}"


def reaction_to(verdict: str) -> Reaction:
    """The reaction; a verdict without one leaves everything as it is."""
    entry = VERDICTS.get(verdict)
    return WATCHED if entry is None else entry.reaction
