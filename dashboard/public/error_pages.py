"""Errors of the public listener: JSON below /api/, text for terminals, else a page."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from dashboard.common.answers import Answer, html, negotiated, plain, respond
from dashboard.common.context import RENDERINGS, SOURCES
from dashboard.common.printable import printable
from dashboard.common.templates import templates
from dashboard.i18n.catalogues import LANGUAGES
from dashboard.i18n.texts import Words, choose
from dashboard.public.api import fault
from dashboard.public.view import chosen_language, wants_html, words_for

_TOLD = (404, 405, 429, 503)

Form = Literal["json", "text", "html"]


def answer(request: web.Request, status: int) -> web.Response:
    """The answer for `status`, in both languages; it tells nothing of what failed."""
    form: Form = "json" if request.path.startswith("/api/") else "text"
    words, chosen = None, False
    browser = "text/html" in negotiated(request, "Accept")  # whoever takes anything takes text
    if form == "text" and browser and wants_html(request):
        form, words, chosen = "html", words_for(request), chosen_language(request) is not None
    return respond(request, page(request.app, status, form, words, chosen), 0)


def page(
    app: web.Application, status: int, form: Form, words: Words | None = None, chosen: bool = False
) -> Answer:
    """An error in this form; `words`: the reader's language comes first on a page."""
    shown = status if status in _TOLD else 500
    words = words or Words(choose(None, "", app[SOURCES].dashboard().languages))

    def make(_: float) -> Answer:
        key = f"error.{shown}"
        if form == "json":
            return fault(shown, Words("en")(key))
        if form == "text":
            return plain("".join(f"{shown} {Words(lang)(key)}\n" for lang in LANGUAGES), shown)
        values = {
            "words": words,
            "others": [Words(language) for language in LANGUAGES if language != words.language],
            "key": key,
            "status": shown,
            "title": printable(app[SOURCES].dashboard().title),
            "query": f"?lang={words.language}" if chosen else "",
        }
        return html(templates().get_template("error.html").render(values), shown)

    return app[RENDERINGS].at_once(("error", shown, form, words, chosen), make)
