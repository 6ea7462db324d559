"""Texts of the pages in one language, and the choice of that language."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dashboard.i18n.catalogues import catalogue
from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.telling import Situation, Told, is_known, tell, what

_PRIMARY = re.compile("[-_.]")
"""What follows the language in a tag (`zh-CN`), and in POSIX's locales (`zh_CN.UTF-8`)."""


@dataclass(frozen=True, slots=True)
class Words:
    """The texts in one language."""

    language: str

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of `key`, with its named placeholders filled. Raises KeyError."""
        text = catalogue(self.language).gettext(key)
        if text == key:
            raise KeyError(key)
        return text.format(**values) if values else text

    def plural(self, key: str, count: int, /, **values: object) -> str:
        """The text of `key` for so many, which it may name as `{count}`. Raises KeyError."""
        text = catalogue(self.language).ngettext(key, key, count)
        if text == key:
            raise KeyError(key)
        return text.format(count=count, **values)

    def has(self, key: str) -> bool:
        """True if there is such a text."""
        return catalogue(self.language).gettext(key) != key

    @property
    def tag(self) -> str:
        """The language as HTML and HTTP name it (RFC 5646)."""
        return self("language.tag")

    def verdict(self, code: str, level: str = "suspected") -> str:
        """The meaning of a verdict that is as sure as this; empty for a code without words.

        Those of the registry are Chinese and English; a catalogue of another language has them.
        """
        if self.has(key := f"verdict.{code}"):
            return self(key)
        return what(code, self.language, level) if is_known(code) else ""

    def told(
        self,
        code: str,
        level: str = "suspected",
        situation: Situation = Situation.unknown,
        next_try: str = "",
    ) -> Told:
        """All that is to be said of a verdict: how sure it is, what is done, what can be done.

        `next_try`: for a node all of whose addresses are left alone, when that ends.
        """
        return tell(code, self.language, level, situation, next_try=next_try)

    def together(self, *sentences: str) -> str:
        """Sentences one after the other, as the language writes them; empty ones are left out."""
        return ("" if self.language == "zh" else " ").join(filter(None, sentences))

    def evidence(self, evidence: Evidence) -> str:
        """An observation as a sentence."""
        return evidence.said(self.language)

    def actor(self, who: str) -> str:
        """The author of a change; what is no part of mirrorgate, such as a user's name, as it
        is."""
        key = f"actor.{who}"
        return self(key) if self.has(key) else who

    def reason(self, code: str) -> str:
        """The reason of a ban in words; an operator's own words stay as they are."""
        key = f"reason.{code}"
        return self(key) if self.has(key) else code


def choose(wanted: str | None, accept: str, offered: tuple[str, ...]) -> str:
    """The language of a page: asked for by `?lang=`, else by Accept-Language, else the first.

    A terminal's own name of its language is understood too, so that `curl` can send it:
    `-H "Accept-Language: $LANG"`.
    """
    if wanted is not None and wanted in offered:
        return wanted
    for tag in _by_preference(accept):
        primary = _PRIMARY.split(tag, 1)[0]
        if primary in offered:
            return primary
    return offered[0]


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
