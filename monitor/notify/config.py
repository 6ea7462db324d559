"""Settings of notifications."""

from __future__ import annotations

import difflib
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from monitor.common import validators
from monitor.common.settings import Duration, setting

Format = Literal["json", "feishu", "dingtalk", "wecom", "telegram", "slack", "email"]
MAIL_SCHEMES = ("smtp", "smtps")
_SHORTEST_TOKEN = 6
"""Characters of a part of a URL that may be a token; shorter ones are words such as "hook"."""


class Kind(StrEnum):
    """Changes that a receiver may want to hear of."""

    down = "down"
    up = "up"
    sni_block = "sni_block"
    nothing_serves = "nothing_serves"
    certificate = "certificate"
    reload_failed = "reload_failed"
    ban_spike = "ban_spike"
    key_quota = "key_quota"


def _kind(text: str) -> str | None:
    if text in set(Kind):
        return None
    near = difflib.get_close_matches(text, list(Kind), 1)
    meant = f' (did you mean "{near[0]}"?)' if near else ""
    return f"expected one of {', '.join(Kind)}{meant}, got {text!r}"


def _receiver_url(text: str) -> str | None:
    if urlsplit(text).scheme not in MAIL_SCHEMES:
        return (fault := validators.webhook_url(text)) and f'{fault}, or "smtp(s)://…"'
    try:
        host, _ = urlsplit(text).hostname, urlsplit(text).port
    except ValueError:
        host = None
    return None if host else 'expected "smtps://USER:PASSWORD@HOST" or "smtp://…"'


def _mailbox(text: str) -> bool:
    name, _, domain = text.rpartition("@")
    return bool(name and domain) and not any(c.isspace() or c in "<>,;" for c in text)


@dataclass(frozen=True, slots=True)
class NotifyConfig:
    """One receiver of notices of changes."""

    url: str = setting(
        doc="where messages go: the webhook's URL; for email smtp://USER:PASSWORD@HOST (STARTTLS) "
        "or smtps://…",
        check=_receiver_url,
        secret=True,
    )
    name: str = setting(
        "",
        "in status, logs and metrics; default: format and host",
        check=validators.name,
    )
    format: Format = setting("json", "the service behind the URL")
    on: tuple[str, ...] = setting(
        tuple(kind.value for kind in Kind), "which changes", check=validators.each(_kind)
    )
    to: tuple[str, ...] = setting((), "telegram: the chat's id; email: the mailboxes")
    sender: str = setting("", "email: the sender's mailbox; default: the first of `to`")
    secret: str = setting(
        "", "feishu, dingtalk: the bot's signing secret; json: the key of a signature", secret=True
    )
    language: Literal["", "zh", "en", "both"] = setting(
        "", "of the text; default: the first of dashboard.languages"
    )
    proxy: str = setting(
        "",
        "an HTTP proxy on the way to the service, where it cannot be reached directly",
        check=validators.optional(validators.webhook_url),
        secret=True,
    )
    group: Duration = setting(
        10.0, "changes within this time are one message", check=validators.between(0.0, 3600.0)
    )
    quiet: Duration = setting(
        600.0,
        "in this time a mirror or key is spoken of twice at most; the rest is summed up after it",
        check=validators.between(0.0, 86400.0),
    )

    def faults(self) -> Iterator[tuple[str, str]]:
        """Settings that a format needs, or cannot use."""
        mail = urlsplit(self.url).scheme in MAIL_SCHEMES
        if mail != (self.format == "email"):
            yield "url", 'format = "email" needs smtp(s)://…, any other an http(s) URL'
        if self.format in ("telegram", "email") and not self.to:
            yield "to", f'format = "{self.format}" needs at least one'
        if self.format == "email":
            for box in filter(None, (*self.to, self.sender)):
                if not _mailbox(box):
                    yield "to" if box in self.to else "sender", f'"{box}" is no mailbox'
        if self.proxy and mail:
            yield "proxy", "only for http(s)"

    @property
    def label(self) -> str:
        """Its name, else format and host: a URL holds the token, so it is never shown."""
        return self.name or f"{self.format} {urlsplit(self.url).hostname or '?'}"

    def without_secrets(self, text: str) -> str:
        """The text without tokens and passwords of these settings: many servers' error pages name
        the path that was asked for, and the token is in it."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "…")
        return text

    def _secrets(self) -> set[str]:
        found = {self.url, self.proxy, self.secret}
        for parts in (urlsplit(self.url), urlsplit(self.proxy)):
            password = parts.password or ""
            plain = f"\0{unquote(parts.username or '')}\0{unquote(password)}"
            found |= {password, unquote(password)}
            if password:
                found.add(b64encode(plain.encode()).decode())  # AUTH PLAIN, RFC 4616
            found |= {parts.path, parts.query} - {"/"}
            pieces = (*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query)))
            found |= {piece for piece in pieces if len(piece) >= _SHORTEST_TOKEN}
        return found - {""}


def names_of(receivers: Sequence[NotifyConfig]) -> list[str]:
    """Names that tell receivers apart: of those that look alike the later ones are numbered."""
    names: list[str] = []
    for each in receivers:
        name, number = each.label, 1
        while name in names:
            number += 1
            name = f"{each.label} ({number})"
        names.append(name)
    return names


_ALIKE: tuple[Callable[[NotifyConfig], object], ...] = (
    lambda each: each,
    lambda each: each.url,
    lambda each: each.name or each,
    lambda each: each.label,
    lambda each: None,
)
"""The marks by which a receiver is known again in other settings, the surest first; at last its
place among those that no mark tells."""


def successors(
    before: Sequence[NotifyConfig], now: Sequence[NotifyConfig]
) -> dict[NotifyConfig, NotifyConfig]:
    """By a receiver of now: the one of before that it stands for."""
    found: dict[NotifyConfig, NotifyConfig] = {}
    gone = list(before)
    for mark in _ALIKE:
        for each in now:
            if each in found:
                continue
            alike = next((other for other in gone if mark(other) == mark(each)), None)
            if alike is not None:
                found[each] = alike
                gone.remove(alike)
    return found
