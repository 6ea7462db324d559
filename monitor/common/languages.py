"""The languages that people read, and a text in both of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")


class Text(NamedTuple):
    """One text in both languages, perhaps with placeholders."""

    zh: str
    en: str

    def said(self, language: Language) -> str:
        """The text in one language."""
        return self.zh if language == "zh" else self.en
