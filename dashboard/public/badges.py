"""Badges: a node's state, uptime or latency, and the state of the whole, as SVG and for shields.io.

A badge stands in other people's pages, so its language is chosen by its address alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from aiohttp import web

from dashboard.common.answers import Answer, document, picture, respond
from dashboard.common.context import RENDERINGS, SOURCES
from dashboard.i18n.texts import Words, choose
from dashboard.public.page import build
from dashboard.public.rows import Node
from dashboard.public.statuspage import indicator
from dashboard.public.view import shown_nodes
from monitor.health.snapshot import State
from monitor.health.uptime import WINDOWS

METRICS = ("state", "uptime", "latency")
AGE = 60
"""Seconds for which caches may keep one."""
SHIELDS_AGE = 300
"""The least that shields.io takes."""
LONGEST = 60
"""Characters of either half."""
COLOURS = {
    "up": "#0a7a55",
    "degraded": "#96600a",
    "down": "#b63a0d",
    "maintenance": "#1763a6",
    "unknown": "#5d6663",
}
"""White text has a contrast of 4.5 or more on each (WCAG 1.4.3)."""
TONES = {
    "none": "up",
    "maintenance": "up",
    "minor": "degraded",
    "major": "down",
    "critical": "down",
}
_HEIGHT, _EDGE = 20, 7
_NARROW, _WIDE = frozenset("ijlftIr.,:;'|!()[]1- "), frozenset("mwMW%@")


@dataclass(frozen=True, slots=True)
class Badge:
    """The two halves of a badge."""

    label: str
    message: str
    tone: str
    """A state, which decides the colour."""


def add_routes(app: web.Application) -> None:
    """The addresses of badges."""
    for form in ("svg", "json"):
        app.router.add_get(f"/badge.{form}", whole)
        app.router.add_get(f"/badge/{{id}}.{form}", one)


async def whole(request: web.Request) -> web.Response:
    """The badge of all nodes together."""
    app, words = request.app, _words(request)

    def make(now: float) -> Badge:
        page = build(app, words, now)
        return Badge(page.title, page.banner, TONES[indicator(page.overview, page.incidents)])

    return _answer(request, ("whole", words), make)


async def one(request: web.Request) -> web.Response:
    """The badge of one node."""
    app, words, wanted = request.app, _words(request), request.match_info["id"]
    metric = request.query.get("metric", "state")
    window = request.query.get("window", "30d")
    mirrors = app[SOURCES].mirrors()
    if not any(mirror.id == wanted and mirror.enabled for mirror in mirrors):
        return _fault(request, 404, "404", "no such node: /api/v1/nodes lists them")
    for name, value, known in (("metric", metric, METRICS), ("window", window, tuple(WINDOWS))):
        if value not in known:
            message = f"{name}: expected {', '.join(known)}"
            return _fault(request, 400, "400", message)

    def make(now: float) -> Badge:
        row = next(row for row in shown_nodes(app, now) if row.id == wanted)
        return badge(row, metric, window, words)

    return _answer(request, (wanted, metric, window, words), make)


def badge(row: Node, metric: str, window: str, words: Words) -> Badge:
    """The badge of a node."""
    if metric == "uptime":
        label = f"{row.name} · {words(f'uptime.{window}')}"
        percent = row.uptime[window].told
        return Badge(label, "—" if percent is None else f"{percent} %", tone_of_percent(percent))
    if metric == "latency":
        label = f"{row.name} · {words('nodes.latency')}"
        known = bool(row.latency_ms) and not row.stale
        return Badge(
            label, f"{row.total_ms} ms" if known else "—", row.state if known else State.unknown
        )
    return Badge(row.name, words(f"state.{row.state}"), row.state)


def tone_of_percent(percent: str | None) -> str:
    """The tone of an uptime: 99 % are more than seven hours down in a month."""
    if percent is None:
        return "unknown"
    value = float(percent.lstrip("<"))
    return "up" if value >= 99.5 else "degraded" if value >= 95 else "down"


def svg(badge: Badge) -> str:
    """A badge as a picture; it says the same to a screen reader."""
    label, message = _cut(badge.label), _cut(badge.message)
    left, right = width(label) + 2 * _EDGE, width(message) + 2 * _EDGE
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(left + right),
            "height": str(_HEIGHT),
            "role": "img",
            "aria-label": f"{label}: {message}",
        },
    )
    ET.SubElement(root, "title").text = f"{label}: {message}"
    for x, size, colour in ((0, left, "#3c4543"), (left, right, COLOURS[badge.tone])):
        box = {"x": str(x), "width": str(size), "height": str(_HEIGHT), "fill": colour}
        ET.SubElement(root, "rect", box)
    for x, text in ((_EDGE, label), (left + _EDGE, message)):
        place = {
            "x": str(x),
            "y": "14",
            "fill": "#fff",
            "font-family": "Verdana,DejaVu Sans,Noto Sans CJK SC,sans-serif",
            "font-size": "11",
            "textLength": str(width(text)),
        }
        ET.SubElement(root, "text", place).text = text
    return ET.tostring(root, "unicode")


def width(text: str) -> int:
    """Pixels that a text is given; it is drawn to that width whatever the reader's font."""
    return max(1, round(sum(map(_width, text))))


def _width(character: str) -> float:
    if ord(character) >= 0x2E80:
        return 11.0
    return 4.2 if character in _NARROW else 10.4 if character in _WIDE else 7.1


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _words(request: web.Request) -> Words:
    offered = request.app[SOURCES].dashboard().languages
    return Words(choose(request.query.get("lang"), "", offered))


def _answer(
    request: web.Request, which: tuple[object, ...], make: Callable[[float], Badge]
) -> web.Response:
    drawn = request.path.endswith(".svg")

    def render(now: float) -> Answer:
        made = make(now)
        return picture(svg(made)) if drawn else document(_shields(made))

    key = ("badge", drawn, *which)
    return respond(request, request.app[RENDERINGS].at_once(key, render), AGE)


def _fault(request: web.Request, status: int, said: str, message: str) -> web.Response:
    if request.path.endswith(".svg"):
        return respond(request, picture(svg(Badge("mirrorgate", said, "unknown")), status), AGE)
    return respond(request, document({"error": {"message": message}}, status), AGE)


def _shields(badge: Badge) -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "label": badge.label,
        "message": badge.message,
        "color": COLOURS[badge.tone],
        "isError": badge.tone == "down",
        "cacheSeconds": SHIELDS_AGE,
    }
