"""How a request is to be treated: how long to wait, how often to try, and what its answer is like.

Worked out from the head and, where it is at hand, from the top level of the body; requests that are
alike share one plan.
"""

from __future__ import annotations

from typing import NamedTuple

from router.asked import Asked
from router.body import RequestBody
from router.choice.baseline import GENERATING, Baseline, Baselines, Kind
from router.choice.retry import Repeat, repeat_of
from router.choice.timeouts import Classes, Patience, is_reasoning
from router.peek import hints
from router.stream.dialect import Dialect

MOST_PLANS = 512
"""Models are clients' own words: beyond this many plans all are forgotten."""

MOST_MODEL = 128
"""Characters of a model's name that a plan knows."""


class Plan(NamedTuple):
    """The treatment of requests that are alike."""

    model: str
    """As the client calls it; "" when it is not known."""
    stream: bool
    """Whether a stream is asked for."""
    patience: Patience
    baseline: Baseline
    repeat: Repeat
    dialect: Dialect


class Planner:
    """Makes plans, and remembers them."""

    def __init__(self, classes: Classes, baselines: Baselines) -> None:
        self._classes = classes
        self._baselines = baselines
        self._known: dict[tuple[str, str, bool, bool], Plan] = {}

    def plan(self, asked: Asked, body: RequestBody, now: float) -> Plan:
        """The plan for a request; what is known of its body is at hand."""
        model, stream, stored = "", False, False
        if asked.is_json and body.collected:
            model, stream, unstored = hints(body.peek())
            model = model[:MOST_MODEL]
            stored = asked.endpoint == "responses" and not unstored
        key = (asked.shape_name, model, stream, stored)
        plan = self._known.get(key)
        if plan is None:
            plan = self._make(asked, model, stream, stored, now)
            if len(self._known) >= MOST_PLANS:
                self._known.clear()
            self._known[key] = plan
        if asked.timeout is None:
            return plan
        return plan._replace(patience=plan.patience.lowered_to(asked.timeout))

    def _make(self, asked: Asked, model: str, stream: bool, stored: bool, now: float) -> Plan:
        method, endpoint, dialect, multipart = asked.shape
        reasons = endpoint in GENERATING and is_reasoning(model)
        reads = method in (b"GET", b"HEAD", b"OPTIONS")
        kind = Kind("" if reads else endpoint, reasons, stream)
        return Plan(
            model=model,
            stream=stream,
            patience=self._classes.patience(endpoint, model, stream),
            baseline=self._baselines.of(kind, now),
            repeat=repeat_of(method, endpoint, multipart=multipart, stored=stored),
            dialect=dialect,
        )
