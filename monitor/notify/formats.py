"""Shapes of a message for each service, and the meaning of the service's answers. Pure.

Feishu, DingTalk and WeCom answer 200 to what they refuse; the code in the body tells. All text is
sent as plain text, or escaped: nothing in it becomes a mention, a link or markup.

Sources: open.feishu.cn "Custom bot usage guide", open.dingtalk.com "Custom robot access",
developer.work.weixin.qq.com 91770 "Group robot", core.telegram.org/bots/api#sendmessage and
#making-requests, api.slack.com "Incoming webhooks" and "Rate limits".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from monitor.notify.config import NotifyConfig
from monitor.notify.message import Message

DEFAULT_PAUSE = 60.0
"""Seconds of rest where a service says "too many" without saying for how long: their limits are
per minute."""
_LONGEST_REASON = 200
_TRANSIENT = (408, 425, 429)


class Post(NamedTuple):
    """One HTTP POST of JSON."""

    url: str
    body: bytes
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of an attempt; `problem` is empty if it was taken."""

    problem: str = ""
    permanent: bool = False
    """True if the same message would be refused again."""
    pause: float | None = None
    """Seconds that the service wants to be left alone."""


@dataclass(frozen=True, slots=True)
class _Service:
    shape: Callable[[Message, NotifyConfig, float], dict[str, Any]]
    judge: Callable[[Mapping[str, Any]], Outcome] = field(default=lambda answer: Outcome())
    """Reads the body of a 2xx answer."""


def post_of(message: Message, config: NotifyConfig, now: float) -> Post:
    """The request that carries a message. `now`: seconds since the epoch, for signatures."""
    body = json.dumps(_SERVICES[config.format].shape(message, config, now), ensure_ascii=False)
    data = body.encode()
    fields = {"Content-Type": "application/json; charset=utf-8"}
    url = config.url
    if config.secret and config.format == "dingtalk":
        stamp = str(round(now * 1000))
        sign = _signed(config.secret.encode(), f"{stamp}\n{config.secret}".encode())
        url += f"{'&' if '?' in url else '?'}timestamp={stamp}&sign={quote_plus(sign)}"
    elif config.secret and config.format == "json":
        stamp = str(int(now))
        mac = hmac.new(config.secret.encode(), f"{stamp}.".encode() + data, hashlib.sha256)
        fields["X-Mirrorgate-Timestamp"] = stamp
        fields["X-Mirrorgate-Signature"] = f"sha256={mac.hexdigest()}"
    return Post(url, data, fields)


def judge(config: NotifyConfig, status: int, retry_after: str, body: bytes) -> Outcome:
    """Read the service's answer; `retry_after`: that field, or ""."""
    answer = _parsed(config, body)
    if 200 <= status < 300:
        return _SERVICES[config.format].judge(answer)
    said = answer.get("description") or answer.get("msg") or body.decode("utf-8", "replace")
    problem = _problem(f"HTTP {status}", config.without_secrets(str(said)))
    pause = _seconds(retry_after)
    if pause is None and status == 429:
        parameters = answer.get("parameters")
        given = parameters.get("retry_after") if isinstance(parameters, dict) else None
        pause = _seconds(given)
        pause = DEFAULT_PAUSE if pause is None else pause
    return Outcome(problem, 300 <= status < 500 and status not in _TRANSIENT, pause)


def _json(message: Message, config: NotifyConfig, now: float) -> dict[str, Any]:
    return message.to_json()


def _feishu(message: Message, config: NotifyConfig, now: float) -> dict[str, Any]:
    lines = [[{"tag": "text", "text": line}] for line in _within(message.lines, 18_000)]
    post = {"zh_cn": {"title": message.title, "content": lines}}
    shaped: dict[str, Any] = {"msg_type": "post", "content": {"post": post}}
    if config.secret:
        stamp = str(int(now))
        sign = _signed(f"{stamp}\n{config.secret}".encode(), b"")
        shaped = {"timestamp": stamp, "sign": sign, **shaped}
    return shaped


def _dingtalk(message: Message, config: NotifyConfig, now: float) -> dict[str, Any]:
    return {"msgtype": "text", "text": {"content": _cut(message.text, 18_000)}}


def _wecom(message: Message, config: NotifyConfig, now: float) -> dict[str, Any]:
    text = message.text.replace("<@", "< @")
    return {"msgtype": "text", "text": {"content": _cut(text, 2048)}}


def _telegram(message: Message, config: NotifyConfig, now: float) -> dict[str, Any]:
    return {
        "chat_id": config.to[0],
        "text": _cut(message.text, 4096),  # the limit counts characters, each of a byte at least
        "link_preview_options": {"is_disabled": True},
    }


def _slack(message: Message, config: NotifyConfig, now: float) -> dict[str, Any]:
    text = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": _cut(text, 4000), "unfurl_links": False}


def _of_feishu(answer: Mapping[str, Any]) -> Outcome:
    code = answer.get("code", answer.get("StatusCode"))
    limited = code in (9499, 11232)  # "too many requests", "frequency limited"
    return _of_code(code, answer.get("msg"), limited, later=(11247, 1061045, 5000))


def _of_dingtalk(answer: Mapping[str, Any]) -> Outcome:
    code = answer.get("errcode")
    return _of_code(code, answer.get("errmsg"), code in (130101, 410100), later=(-1,))


def _of_wecom(answer: Mapping[str, Any]) -> Outcome:
    code = answer.get("errcode")
    return _of_code(code, answer.get("errmsg"), code == 45009, later=(-1,))


def _of_telegram(answer: Mapping[str, Any]) -> Outcome:
    if answer.get("ok") is True:
        return Outcome()
    return Outcome(_problem("refused", answer.get("description")), permanent=True)


def _of_code(code: Any, words: Any, limited: bool, later: tuple[int, ...]) -> Outcome:
    if code == 0:
        return Outcome()
    if not isinstance(code, int):
        return Outcome("an answer that is none of the service's: a proxy or a portal is in between")
    problem = _problem(f"code {code}", words)
    if limited:
        return Outcome(problem, pause=DEFAULT_PAUSE)
    return Outcome(problem, permanent=code not in later)


_SERVICES: Mapping[str, _Service] = {
    "json": _Service(_json),
    "feishu": _Service(_feishu, _of_feishu),
    "dingtalk": _Service(_dingtalk, _of_dingtalk),
    "wecom": _Service(_wecom, _of_wecom),
    "telegram": _Service(_telegram, _of_telegram),
    "slack": _Service(_slack),
}


def _signed(key: bytes, data: bytes) -> str:
    return base64.b64encode(hmac.new(key, data, hashlib.sha256).digest()).decode()


def _parsed(config: NotifyConfig, body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    return {
        name: config.without_secrets(value) if isinstance(value, str) else value
        for name, value in answer.items()
    }


def _problem(what: str, words: Any) -> str:
    said = " ".join(str(words or "").split())[:_LONGEST_REASON]
    return f"{what}: {said}" if said else what


def _seconds(given: Any) -> float | None:
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        return None
    return seconds if 0.0 <= seconds < 86400.0 else None


def _cut(text: str, most: int) -> str:
    """As much of it as fits into so many bytes."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return text
    return data[: max(0, most - len("…".encode()))].decode("utf-8", "ignore") + "…"


def _within(lines: tuple[str, ...], most: int) -> list[str]:
    kept, left = [], most
    for line in lines:
        kept.append(_cut(line, left))
        left -= len(kept[-1].encode("utf-8", "replace"))
        if left < 100:
            break
    return kept
