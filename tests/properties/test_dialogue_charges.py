"""A WebSocket's charge against a model of its mirror: whoever leaves at any point pays at least for
what stands in the mirror's books, but for answers that the mirror said it had refused or failed."""

from __future__ import annotations

import json
import math
from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.common.metric_registry import MetricRegistry
from router.admission.key_index import IssuedKey
from router.forwarding import metrics
from router.metering.batches import UsageBatches
from router.metering.metered_request import Metering
from router.metering.websocket_meter import WebSocketMeter, converse
from router.wire.error_response import Problem

USED = 500
KEY = IssuedKey("k1", 0.0, (), math.inf, None, None)
IDS = st.sampled_from([None, "x", "y", "z"])
STEPS = st.one_of(
    st.tuples(st.just("create"), IDS, st.booleans()),
    st.tuples(st.just("cancel"), IDS, st.booleans()),
    st.tuples(st.just("noise"), IDS, st.booleans()),
    st.tuples(st.just("take"), st.none(), st.booleans()),
    st.tuples(
        st.just("end"), st.sampled_from(["completed", "incomplete", "failed"]), st.booleans()
    ),
)


class PretendMirror:
    """Takes the client's events in order, and keeps books of what it has used."""

    def __init__(self, realtime: bool) -> None:
        self.uses, self.realtime = UsageBatches(), realtime
        metering = Metering(self.uses, MetricRegistry(metrics.FAMILIES))
        metering.configure({}, ("responses", "realtime"), ("a",), 1 << 20)
        target = b"/v1/realtime?model=a" if realtime else b"/v1/responses"
        found = converse(metering, target, KEY, lambda: KEY, lambda: 1_700_000_000.0)
        assert isinstance(found, WebSocketMeter)
        assert not isinstance(found, Problem)
        self.dialogue = found
        self.queue: deque[tuple[str, str | None]] = deque()
        self.running: deque[str] = deque()
        self.begun = self.ended = 0

    def say(self, kind: str, event_id: str | None) -> None:
        event: dict[str, Any] = {"type": f"response.{kind}", "model": "a"}
        event |= {} if event_id is None else {"event_id": event_id}
        payload = b"{" if kind == "noise" else json.dumps(event).encode()
        assert self.dialogue.asks(payload, True) is None
        self.queue.append((kind, event_id))

    def tell(self, kind: str, **more: Any) -> None:
        self.dialogue.tells(json.dumps({"type": kind, **more}).encode())

    def error(self, event_id: str | None) -> None:
        self.tell("error", error={"code": "x", "event_id": event_id})

    def take(self, accepts: bool) -> None:
        """Work on the next event: refuse it, or begin an answer."""
        if not self.queue:
            return
        kind, event_id = self.queue.popleft()
        if kind != "create" or not accepts:
            self.error(event_id)
            return
        self.begun += 1
        self.running.append(f"r{self.begun}")
        self.tell("response.created", response={"id": self.running[-1]})

    def end(self, how: str, first: bool) -> None:
        if not self.running:
            return
        told = self.running.popleft() if first else self.running.pop()
        usage = None if how == "failed" else {"input_tokens": 0, "output_tokens": USED}
        self.ended += how != "failed"
        kind = "response.done" if self.realtime else f"response.{how}"
        self.tell(kind, response={"id": told, "status": how, "usage": usage})

    @property
    def books(self) -> int:
        asked = sum(kind == "create" for kind, _ in self.queue)
        return USED * (self.ended + len(self.running) + asked)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(STEPS, max_size=24), st.sampled_from(["client_abort", "success"]))
def test_nobody_pays_less_than_stands_in_the_mirrors_books(
    realtime: bool, steps: list[tuple[str, Any, bool]], outcome: str
) -> None:
    mirror = PretendMirror(realtime)
    for step, what, flag in steps:
        if step == "take":
            mirror.take(flag)
        elif step == "end":
            mirror.end(what, flag)
        else:
            mirror.say(step, what)
    mirror.dialogue.client_ended()
    mirror.dialogue.settle(outcome)
    assert mirror.uses.spent("k1").tokens >= mirror.books
