"""The catalogues: `locale/LANGUAGE.po`, with keys such as `banner.ok` as message ids.

Keys keep their place when the English changes, and English is a catalogue like the others (what
Weblate calls monolingual gettext). They are compiled in memory when first used, so that there is
no built file that could be old.
"""

from __future__ import annotations

import io
from functools import cache
from gettext import GNUTranslations
from importlib import resources

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

_FOLDER = resources.files("dashboard.i18n") / "locale"

SOURCE = "en"
"""The language that is whole, and stands in for a text that another one lacks."""
LANGUAGES = tuple(
    sorted(
        (entry.name.removesuffix(".po") for entry in _FOLDER.iterdir() if entry.name[-3:] == ".po"),
        reverse=True,
    )
)
"""The languages there are; Chinese comes first where nobody has chosen."""


@cache
def catalogue(language: str) -> GNUTranslations:
    """The texts of one language, with English behind them. Raises OSError for an unknown one."""
    with (_FOLDER / f"{language}.po").open("rb") as file:
        messages = read_po(file, locale=language, abort_invalid=True)
    compiled = io.BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    translations = GNUTranslations(compiled)
    if language != SOURCE:
        translations.add_fallback(catalogue(SOURCE))
    return translations
