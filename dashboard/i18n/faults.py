"""Faults as a code and values, which each reader is told in the own language."""

from __future__ import annotations

from dashboard.i18n.catalogues import SOURCE
from dashboard.i18n.texts import Words
from monitor.common.audit import LONGEST_TEXT, cleaned


class Fault(Exception):
    """Something that was not taken or not done: `fault.CODE` of the catalogues, with its values.

    As text it is English, for the API and the command line.
    """

    def __init__(self, code: str, field: str = "", **values: object) -> None:
        """`field`: the name of the input that is at fault, as JSON has it; empty: none is.

        `values` may be what a stranger typed.
        """
        self.code = code
        self.field = field
        self.values = {
            name: cleaned(value, LONGEST_TEXT) if isinstance(value, str) else value
            for name, value in values.items()
        }
        sentence = self._sentence(Words(SOURCE))
        super().__init__(f"{field}: {sentence}" if field else sentence)

    def said(self, words: Words) -> str:
        """The sentence in a reader's language, with the field as pages call it."""
        sentence, label = self._sentence(words), f"desk.field.{self.field}"
        if not words.has(label):
            return sentence
        return words("fault.of_field", field=words(label), fault=sentence)

    def _sentence(self, words: Words) -> str:
        return words(f"fault.{self.code}", **self.values)
