"""A text in the two languages that texts of the program itself have."""

from __future__ import annotations

from typing import NamedTuple

LANGUAGES = ("zh", "en")


class Text(NamedTuple):
    """One text in both languages, perhaps with placeholders."""

    zh: str
    en: str

    def said(self, language: str) -> str:
        """The text in one language; in English for any that it is not written in."""
        return self.zh if language == "zh" else self.en
