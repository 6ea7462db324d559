"""Errors of the public listener: JSON below /api/, text for terminals, else a page."""

from __future__ import annotations

from aiohttp import web

from dashboard.answers import html, plain, respond
from dashboard.context import SOURCES, TEMPLATES
from dashboard.locale.texts import LANGUAGES, Words
from dashboard.public.api import fault
from dashboard.public.privacy import printable
from dashboard.public.view import chosen_language, wants_html, words_for

_TOLD = (404, 405)


def answer(request: web.Request, status: int) -> web.Response:
    """The answer for `status`, in both languages; it tells nothing of what failed."""
    shown = status if status in _TOLD else 500
    key = f"error.{shown}"
    if request.path.startswith("/api/"):
        return respond(request, fault(shown, Words("en")(key)), 0)
    if not wants_html(request):
        lines = "".join(f"{shown} {Words(language)(key)}\n" for language in LANGUAGES)
        return respond(request, plain(lines, shown), 0)
    words = words_for(request)
    text = (
        request.app[TEMPLATES]
        .get_template("error.html")
        .render(
            words=words,
            others=[Words(language) for language in LANGUAGES if language != words.language],
            key=key,
            status=shown,
            title=printable(request.app[SOURCES].dashboard().title),
            query=f"?lang={words.language}" if chosen_language(request) else "",
        )
    )
    return respond(request, html(text, shown), 0)
