"""Sentences of the diagnosis in Chinese. They are made in English, with names and numbers in them.

A sentence that is not here is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dashboard.common.texts import Language

_SENTENCES: Sequence[tuple[str, str]] = (
    ("After the wait: (.+)", "等待之后：{0}"),
    (
        "Our own network was not known to work while this was tried.",
        "测试期间无法确认本机网络正常。",
    ),
    ("(.+) is answered now.", "{0} 现在有应答。"),
    ("(.+) is answered.", "{0} 有应答。"),
    ("It was not before; that has passed.", "此前没有，现已恢复。"),
    (
        "The control name is not answered here and is of no use.",
        "对照域名在此处没有应答，不能作为对照。",
    ),
    (
        "The control name is of no use here: the server may refuse every unknown name.",
        "对照域名在此处不能作为对照：服务器可能拒绝所有未知域名。",
    ),
    ("The server refuses TLS for (.+) with alert (.+).", "服务器拒绝为 {0} 建立 TLS（告警 {1}）。"),
    ("Our TLS hello is answered with something that is not TLS.", "对 TLS 握手的应答不是 TLS。"),
    (
        "The same address and port was cut off shortly before, after a blocked name.",
        "同一地址与端口刚刚因被封锁的域名而中断。",
    ),
    (
        "The handshake was cut off after a part of the server's answer.",
        "握手在收到服务器部分应答后中断。",
    ),
    ("No connection came about: (.+).", "未能建立连接：{0}。"),
    ("With no name in our hello (.+).", "握手中不带域名时，{0}。"),
    ("With bytes that are not TLS (.+).", "发送非 TLS 字节时，{0}。"),
    ("With (\\S+) in our hello (.+).", "握手中带 {0} 时，{1}。"),
    (
        "That may be the after-effect of a block, or concern every name: wait and repeat.",
        "可能是封锁的余波，也可能与域名无关：等待后重试。",
    ),
    (
        "Everything is cut off since the target was tried; the control was answered before.",
        "自测试目标域名后全部中断；此前对照域名有应答。",
    ),
    (
        "Right after it the control is answered again: no residual block.",
        "随后对照域名仍有应答：没有残留封锁。",
    ),
    (
        "Right after it the control is cut off too, on the same address and port, "
        "and is answered again after the wait: servers do not do that.",
        "随后对照域名在同一地址与端口也被中断，等待后又有应答：服务器不会这样。",
    ),
    (
        "Right after it the control is cut off too, on the same address and port, "
        "so far: servers do not do that.",
        "随后对照域名在同一地址与端口至今也被中断：服务器不会这样。",
    ),
    (
        "It ended after (.+) ms, a round trip takes (.+) ms: the server cannot have sent that.",
        "{0} 毫秒后中断，而往返需要 {1} 毫秒：不可能由服务器发出。",
    ),
    ("None of its (.+) paths works.", "{0} 条路径均不可用。"),
    (
        "Only an untrusted resolver gave this address, and the server shows a certificate(.*) for "
        "(.+) to one who asks for (.+).",
        "该地址仅来自不可信的解析器；请求 {2} 时服务器出示的证书{0}属于 {1}。",
    ),
    ("A certificate by (.+) verified here before.", "此前由 {0} 签发的证书在此验证通过。"),
    (
        "(?:Now )?the server shows a certificate(.*) for (.+) to one who asks for (.+), "
        "from an authority that we do not trust.",
        "请求 {2} 时服务器出示属于 {1} 的证书{0}，其签发机构不受信任。",
    ),
    (
        "the server shows a certificate(.*) for (.+) to one who asks for (.+).",
        "请求 {2} 时服务器出示属于 {1} 的证书{0}。",
    ),
    (
        r"OpenSSL refuses the certificate with code (.+)\. It is not valid yet: is a clock wrong\?",
        "证书未通过验证（OpenSSL 代码 {0}）：尚未生效，时钟是否有误？",
    ),
    ("OpenSSL refuses the certificate with code (.+).", "证书未通过验证（OpenSSL 代码 {0}）。"),
    (
        "The certificate(.*) is from a trusted authority, but its time is over.",
        "证书{0}来自受信任的机构，但已过期。",
    ),
    ("It is the same one that was valid before.", "与此前有效的证书相同。"),
    (
        "The median of (.+) transfers is (.+) KB/s; usual: (.+).",
        "最近 {0} 次传输的中位速度为 {1} KB/s；通常为 {2}。",
    ),
    (
        "No other mirror was as quick as usual meanwhile: it may be our own line.",
        "同一时段没有其他镜像速度正常：可能是本机线路的问题。",
    ),
    ("Other mirrors were as quick as usual in the same minutes.", "同一时段其他镜像速度正常。"),
    ("The speed hardly varies, as with a policer.", "速度几乎不变，像是被限速。"),
    (
        "(.+) of the last (.+) longer transfers stopped dead after (.+) to (.+) KB.",
        "最近 {1} 次较长的传输中有 {0} 次在 {2} 至 {3} KB 后停止。",
    ),
)
_CLAUSES: Sequence[tuple[str, str]] = (
    ("the server answers", "服务器有应答"),
    ("no connection came about: (.+)", "未能建立连接：{0}"),
    ("the connection is (.+) after (.+) ms", "连接在 {1} 毫秒后{0}"),
    ("the connection is (.+)", "连接{0}"),
)
_WORDS = {
    "reset": "被重置",
    "closed": "被关闭",
    "met with silence": "没有任何回应",
    "cut off half-way": "中途断开",
    "answered with something that is not TLS": "得到非 TLS 的应答",
    "ended by an unknown fault": "因未知原因中断",
    "nothing known": "未知",
}


def evidence_in(sentence: str, language: Language) -> str:
    """A sentence of the diagnosis in this language, as far as it is known here."""
    return sentence if language == "en" else _translated(sentence)


def _translated(sentence: str) -> str:
    for pattern, chinese in (*_SENTENCES, *_CLAUSES):
        if match := re.fullmatch(pattern.removesuffix("."), sentence.removesuffix(".")):
            return chinese.format(*map(_part, match.groups()))
    return _WORDS.get(sentence, sentence)


def _part(text: str | None) -> str:
    """A part of a sentence: a clause is said in Chinese, a name stays."""
    whole = (text or "").strip()
    issued = re.fullmatch("by (.+)", whole)
    return f"（由 {issued[1]} 签发）" if issued else _translated(whole)
