"""Message: due notices in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from monitor.common.languages import LANGUAGES, Text
from monitor.notify import texts
from monitor.notify.batching import Due
from monitor.notify.config import Kind, NotifyConfig

MOST_LINES = 20
"""Changes that one message tells; of more it says how many."""
_CONTROLS = {code: " " for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_BAD, _GOOD = "🔴", "🟢"


@dataclass(frozen=True, slots=True)
class Style:
    """Settings of all messages of an instance."""

    language: str = "zh"
    """"zh", "en" or "both"."""
    timezone: str = "UTC"
    origin: str = "mirrorgate"
    """Page title and vantage: several instances may write to one chat."""
    link: str = ""
    """The status page."""


def style_of(config: NotifyConfig, style: Style) -> Style:
    """The style of one receiver."""
    language = config.language or style.language
    return Style(language, style.timezone, style.origin, style.link)


@dataclass(frozen=True, slots=True)
class Message:
    """A message for people, and its notices for programs."""

    title: str
    lines: tuple[str, ...]
    origin: str
    at: float
    due: tuple[Due, ...] = ()
    test: bool = False

    @property
    def text(self) -> str:
        """Title and lines."""
        return "\n".join((self.title, *self.lines))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for webhooks of one's own."""
        return {
            "type": "mirrorgate.notification",
            "version": 1,
            "test": self.test,
            "origin": self.origin,
            "at": self.at,
            "title": self.title,
            "text": self.text,
            "changes": [
                {
                    "kind": each.notice.kind.value,
                    "subject": each.notice.subject,
                    "level": each.notice.level,
                    "ended": each.notice.ended,
                    "at": each.notice.at,
                    "count": each.changes,
                    "text": each.notice.said._asdict(),
                }
                for each in self.due
            ],
        }


def compose(due: Sequence[Due], style: Style, now: float) -> Message:
    """Put notices into words."""
    told = due[:MOST_LINES]
    lines = [_line(each, language, style) for language in _languages(style) for each in told]
    if len(due) > len(told):
        lines += [texts.more(len(due) - len(told)).said(each) for each in _languages(style)]
    if style.link:
        lines.append(style.link)
    return Message(_title(due, style), tuple(lines), style.origin, now, tuple(due))


def test_message(style: Style, now: float) -> Message:
    """A message that says that it is a test."""
    said = [texts.TEST.said(language) for language in _languages(style)]
    lines = (*said, style.link) if style.link else tuple(said)
    return Message(f"[{style.origin}]", lines, style.origin, now, test=True)


def _title(due: Sequence[Due], style: Style) -> str:
    mark = _GOOD if all(each.notice.ended for each in due) else _BAD
    if len(due) == 1:
        return f"{mark} [{style.origin}]"
    said = " · ".join(texts.title(len(due)).said(each) for each in _languages(style))
    return f"{mark} [{style.origin}] {said}"


def _line(each: Due, language: str, style: Style) -> str:
    notice = each.notice
    moment = datetime.fromtimestamp(notice.at, ZoneInfo(style.timezone))
    said = f"{moment:%m-%d %H:%M:%S %Z} {notice.said.said(language)}".translate(_CONTROLS)
    if each.changes > 1 and notice.kind is not Kind.ban_spike:
        count: Text = texts.changes(each.changes)
        said = f"{said} {count.said(language)}"
    return said


def _languages(style: Style) -> tuple[str, ...]:
    return LANGUAGES if style.language == "both" else (style.language,)
