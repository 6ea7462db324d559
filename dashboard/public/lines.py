"""The nodes of the front page as finished markup: made anew only for nodes that have changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from dashboard.common.templates import templates
from dashboard.i18n.texts import Words
from dashboard.public import charts
from dashboard.public.page import Page
from dashboard.public.rows import Node
from monitor.health.latency import PHASES, STEPS
from monitor.health.uptime import DAY

_NOTHING: dict[str, int] = {}


def macros() -> Any:
    """The macros of `parts.html`, and what templates of public pages call."""
    environment = templates()
    environment.globals.update(
        curve_chart=charts.curve_chart,
        day_bars=charts.day_bars,
        heights=charts.HEIGHTS,
        phases=PHASES,
        shown_percent=charts.shown_percent,
        spark=charts.spark,
        tone_icon=charts.tone_icon,
        windows=tuple(STEPS),
    )
    return environment.get_template("parts.html").module


class Lines:
    """Lines as they were last, by language, links and node."""

    def __init__(self) -> None:
        self.macros = macros()
        self._kept: dict[tuple[Words, str, str], tuple[Hashable, Node, Markup]] = {}

    def __repr__(self) -> str:
        return f"<Lines {len(self._kept)} kept>"

    def of(self, page: Page, query: str) -> Callable[[Node], Markup]:
        """Makes the lines of a page."""
        shown = {node.id for node in page.nodes}
        if len(self._kept) > 16 * len(shown) + 64:  # mirrors come and go with configurations
            self._kept = {key: kept for key, kept in self._kept.items() if key[2] in shown}
        around = (page.zone, page.days_zone, page.vantage, int(page.now // DAY))

        def line(node: Node) -> Markup:
            # Not shown here, and another with every probe.
            seen = tuple(replace(each, latency=_NOTHING, at=0.0) for each in node.vantages)
            lasting = replace(node, last_probe=None, latency_ms=_NOTHING, vantages=seen)
            key = (page.words, query, node.id)
            kept = self._kept.get(key)
            if kept is not None and kept[0] == around and kept[1] == lasting:
                return kept[2]
            made: Markup = self.macros.node(page.words, page, query, node)
            self._kept[key] = (around, lasting, made)
            return made

        return line
