"""Request policy: timeouts, attempts and the dialect of the response, from the request's hints."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from router.balancing.load import GENERATING, Baseline, Baselines, Kind
from router.balancing.retry import Repeat, repeat_of
from router.balancing.timeouts import Classes, Patience, is_reasoning
from router.forwarding.config import StreamConfig
from router.forwarding.request_context import RequestContext
from router.upstream.dialect import Dialect
from router.upstream.request_body import RequestBody
from router.wire.json_scan import storable, top_values
from router.wire.octets import BACKSLASH
from router.wire.request import RequestHead
from router.wire.timer_wheel import NEVER

MOST_POLICIES = 512
"""Models are clients' own words: beyond this many policies all are forgotten."""

_OTHER: Final = Dialect.other
_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")
MOST_MODEL: Final = 128
"""Characters of a model's name that a policy keeps."""


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """The treatment of requests that are alike.

    No named tuple: each of nine looks at a field would take 250 instructions more.
    """

    model: str
    """As the client calls it; "" when it is not known."""
    stream: bool
    """True if a stream is asked for."""
    patience: Patience
    baseline: Baseline
    repeat: Repeat
    dialect: Dialect


class RequestPolicies:
    """Makes policies, and keeps those that were made."""

    def __init__(self, classes: Classes, baselines: Baselines) -> None:
        self._classes = classes
        self._baselines = baselines
        self._known: dict[tuple[str, str, bool, bool], RequestPolicy] = {}

    def of(self, request: RequestContext, body: RequestBody, now: float) -> RequestPolicy:
        """The policy of a request, by its head and what is kept of its body."""
        model, stream, stored = "", False, False
        if request.is_json and body.collected:
            model, stream, unstored = hints(body.peek())
            model = model[:MOST_MODEL]
            stored = request.endpoint == "responses" and not unstored
        key = (request.shape_name, model, stream, stored)
        policy = self._known.get(key)
        if policy is None:
            policy = self._make(request, model, stream, stored, now)
            if len(self._known) >= MOST_POLICIES:
                self._known.clear()
            self._known[key] = policy
        if request.timeout is None:
            return policy
        return replace(policy, patience=policy.patience.lowered_to(request.timeout))

    def _make(
        self, request: RequestContext, model: str, stream: bool, stored: bool, now: float
    ) -> RequestPolicy:
        method, endpoint, dialect, multipart = request.shape
        reasons = endpoint in GENERATING and is_reasoning(model)
        reads = method in (b"GET", b"HEAD", b"OPTIONS")
        kind = Kind("" if reads else endpoint, reasons, stream, "" if reads else model)
        return RequestPolicy(
            model=model,
            stream=stream,
            patience=self._classes.patience(endpoint, model, stream),
            baseline=self._baselines.of(kind, now),
            repeat=repeat_of(method, endpoint, multipart=multipart, stored=stored),
            dialect=dialect,
        )


def silence_of(policy: RequestPolicy, head: RequestHead, stream: StreamConfig) -> float:
    """Seconds after which a client that waits for a stream gets a comment."""
    takes = policy.stream and policy.dialect is not _OTHER and not head.http10
    return stream.keepalive if takes and stream.keepalive_style != "off" else NEVER


def hints(body: bytes) -> tuple[str, bool, bool]:
    """The model ("" if it has none), and if "stream" is true and "store" false."""
    top = top_values(body)
    return _text(top.model), top.stream == _TRUE, top.store == _FALSE


def model_of(body: bytes) -> str:
    """The top-level model of a JSON object; "" when there is none or it is no string."""
    return _text(top_values(body).model)


def _text(raw: msgspec.Raw) -> str:
    data = bytes(raw)
    if not data.startswith(b'"'):
        return ""
    try:
        return storable(json.loads(data)) if BACKSLASH in data else data[1:-1].decode()
    except ValueError:
        return ""
