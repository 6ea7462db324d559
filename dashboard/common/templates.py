"""The templates of both applications.

`base.html` is the frame of every page; it needs `words`, and what it shows beside stands in blocks.
"""

from __future__ import annotations

from functools import cache

import jinja2
from markupsafe import Markup, escape

from dashboard.common.assets import THEME_SCRIPT, address
from dashboard.common.printable import printable_lines
from dashboard.i18n.catalogues import LANGUAGES
from dashboard.i18n.texts import Words


@cache
def templates() -> jinja2.Environment:
    """The templates; everything put into them is escaped, and loses what cannot be seen."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dashboard"),
        autoescape=True,
        finalize=_clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    environment.globals["asset"] = address
    environment.globals["theme_script"] = Markup(THEME_SCRIPT)
    environment.globals["all_words"] = {language: Words(language) for language in LANGUAGES}
    return environment


def prose(text: str) -> Markup:
    """A text of a catalogue, filled, with `code` in backticks."""
    parts = [escape(part) for part in printable_lines(text).split("`")]
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup().join(parts)


def _clean(value: object) -> object:
    """Text of others loses what cannot be seen; markup of our own macros stays."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable_lines(value)
    return value
