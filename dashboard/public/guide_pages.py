"""`/docs`, how to use the router, and `/key`, what is left on an issued key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from aiohttp import web

from dashboard.common.answers import plain
from dashboard.common.config import DashboardConfig
from dashboard.common.context import CLOCK, SOURCES, VISITORS
from dashboard.common.printable import printable
from dashboard.common.sources import Offer, Sources
from dashboard.common.steps import all_at_once
from dashboard.common.templates import templates
from dashboard.guide.applications import APPLICATIONS
from dashboard.guide.examples import PLACEHOLDER, Example, examples, model_for
from dashboard.guide.failures import FAILURES
from dashboard.i18n.moments import whole
from dashboard.i18n.texts import Words
from dashboard.public.page import Page, build
from dashboard.public.pages import render, respond_with
from dashboard.public.view import reader_of, wants_html
from monitor.common.config import MirrorConfig
from monitor.common.keys import KeyAccount
from monitor.common.money import written

MODELS_SHOWN = 200
LONGEST_MODEL = 128
LONGEST_KEY = 256


def add_routes(app: web.Application) -> None:
    """The addresses of both."""
    app.router.add_get("/docs", docs)
    app.router.add_get("/key", key_form)
    app.router.add_post("/key", look_up)
    templates().globals.update(applications=APPLICATIONS, failures=FAILURES, whole=whole, size=size)


async def docs(request: web.Request) -> web.Response:
    """Instructions for using the base URL."""
    sources = request.app[SOURCES]
    return await respond_with(request, "docs.html", values=lambda page: guide(sources, page))


@dataclass(frozen=True, slots=True)
class Recipient:
    """A mirror that callers' own keys are sent to."""

    name: str
    region: str
    host: str
    """Empty where the operator hides hosts."""
    patterns: str
    """What keys must look like; empty: anything."""


def guide(sources: Sources, page: Page) -> dict[str, object]:
    """All that the instructions show beside the page itself."""
    config, offers = sources.dashboard(), sources.offers()
    model = model_for([offer.model for offer in offers])
    return {
        "placeholder": "" if page.entrances else PLACEHOLDER,
        "examples": partial(examples, base_url=page.base_url, model=model, page=page_url(config)),
        "recipients": recipients(sources.mirrors(), config),
        "containers": containers(page.base_url),
        "offers": (shown := [Model.of(offer) for offer in offers[:MODELS_SHOWN]]),
        "more": len(offers) - len(shown),
        "priced": any(model.priced for model in shown),
        "public": bool(config.public_url),
    }


def recipients(mirrors: Sequence[MirrorConfig], config: DashboardConfig) -> list[Recipient]:
    """The mirrors that callers' own keys are sent to."""
    return [
        Recipient(
            printable(mirror.label),
            printable(mirror.region),
            mirror.host if config.show_hosts else "",
            "" if "*" in mirror.client_keys else ", ".join(mirror.client_keys),
        )
        for mirror in mirrors
        if mirror.enabled and mirror.client_keys
    ]


class Model(NamedTuple):
    """A model and its price as a table shows them; mirrors name their models themselves."""

    model: str
    input: str
    cached: str
    output: str
    rest: tuple[tuple[str, str], ...]
    """What else is charged: keys of the words, and amounts."""
    note: str

    @classmethod
    def of(cls, offer: Offer) -> Model:
        """The model of an offer."""
        named = {
            "image": offer.image,
            "audio": offer.audio_minute,
            "characters": offer.characters,
        }
        rest = tuple((f"docs.models.{name}", amount) for name, amount in named.items() if amount)
        name, note = printable(offer.model)[:LONGEST_MODEL], printable(offer.note)
        return cls(name, offer.input, offer.cached, offer.output, rest, note)

    @property
    def priced(self) -> bool:
        """True if something is charged, or the operator says something of the price."""
        return any(self[1:])

    def others(self, words: Words) -> str:
        """Other prices, and the operator's note."""
        said = [words(key, amount=amount) for key, amount in self.rest]
        return " · ".join([*said, *filter(None, [self.note])])


def containers(base_url: str) -> list[Example]:
    """The `docker run` lines of apps."""
    return [
        Example(f"docker-{place}", app.name, app.command(base_url))
        for place, app in enumerate(APPLICATIONS)
        if app.docker
    ]


def page_url(config: DashboardConfig) -> str:
    """The public address of the pages without a slash at its end; empty if it is not known."""
    return config.public_url.rstrip("/")


def size(count: int) -> str:
    """So many bytes in the largest unit that they are a whole number of: "512 MiB"."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count and count % (1 << power) == 0:
            return f"{count >> power} {unit}"
    return f"{count} B"


# /key


async def key_form(request: web.Request) -> web.Response:
    """The form."""
    return _key_page(request)


async def look_up(request: web.Request) -> web.Response:
    """The account of the key in a form; the same answer for every text that is no key of ours."""
    sources = request.app[SOURCES]
    refusal = request.app[VISITORS].looking_up(request.remote or "", request.headers)
    if refusal is not None:
        response = _key_page(request, wait=refusal.retry_after, status=refusal.status)
        response.headers["Retry-After"] = str(refusal.retry_after)
        return response
    key = await _sent_key(request)
    account = sources.key_account(key) if key else None
    return _key_page(request, account, asked=True)


async def _sent_key(request: web.Request) -> str:
    """The key in the body; empty where there is none that could be one.

    It is read here, as aiohttp would put the fields of a multipart form into files.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        return ""
    try:
        form = await request.post()
    except (web.HTTPRequestEntityTooLarge, ValueError):
        return ""
    key = form.get("key")
    text = key.strip() if isinstance(key, str) else ""
    return text if len(text) <= LONGEST_KEY else ""


@dataclass(frozen=True, slots=True)
class Left:
    """The account of a key in words."""

    state: str
    tone: str
    rows: Sequence[tuple[str, str]]
    share: int | None
    """The part of its scarcest quota that is left, in percent, rounded down; None: no quota."""


def left_on(account: KeyAccount, page: Page) -> Left:
    """The account of a key, for its owner."""
    record, spent, words = account.record, account.spent, page.words
    state, left = record.state(page.now, spent), record.left(account.spent)
    shares = [
        max(0, 100 * rest // granted)
        for rest, granted in ((left.money, record.quota), (left.tokens, record.quota_tokens))
        if rest is not None and granted
    ]
    rows = [
        (words("key.money"), _left(words, left.money, record.quota, written)),
        (words("key.tokens"), _left(words, left.tokens, record.quota_tokens, "{:,}".format)),
        (
            words("key.used"),
            words("key.used.text", amount=written(spent.cost), tokens=f"{spent.tokens:,}"),
        ),
        (
            words("key.until"),
            page.said(record.expires_at) if record.expires_at else words("key.forever"),
        ),
        (words("key.models"), ", ".join(record.models) or words("key.models.any")),
        (
            words("key.rate"),
            words("key.rate.text", rate=f"{record.rate:g}")
            if record.rate
            else words("key.rate.general"),
        ),
    ]
    tone = "up" if state == "active" else "down"
    return Left(words(f"key.state.{state}"), tone, rows, min(shares, default=None))


def _left(words: Words, left: int | None, granted: int | None, told: Callable[[int], str]) -> str:
    if left is None or granted is None:
        return words("key.unlimited")
    return words("key.of", left=told(max(0, left)), granted=told(granted))


def _key_page(
    request: web.Request,
    account: KeyAccount | None = None,
    *,
    asked: bool = False,
    wait: int = 0,
    status: int = 200,
) -> web.Response:
    """The form with an answer; it is kept nowhere, neither here nor at the reader's."""
    app, asking = request.app, reader_of(request)
    words = asking.words
    if "issued" not in app[SOURCES].terms().callers:
        raise web.HTTPNotFound
    page = build(app, words, app[CLOCK]())
    left = None if account is None else left_on(account, page)
    problem = ""
    if wait:
        problem = words("key.slow", time=whole(wait, words))
    elif asked and left is None:
        problem = words("key.unknown", prefix=page.terms.key_prefix)
    if wants_html(request):
        answer = all_at_once(render("key.html", page, asking, left=left, problem=problem))
    else:
        answer = plain("".join(f"{line}\n" for line in _lines(left, problem or words("key.lead"))))
    response = web.Response(
        body=answer.body, status=status, content_type=answer.content_type, charset="utf-8"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _lines(left: Left | None, otherwise: str) -> list[str]:
    if left is None:
        return [otherwise]
    return [left.state, *(f"{name}: {value}" for name, value in left.rows)]
