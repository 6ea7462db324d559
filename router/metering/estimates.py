"""Estimates from a model's recent responses, for use that cannot be seen.

Hidden reasoning is output that no event shows, and a conversation that a mirror keeps is input that
no request has. Both are estimated by the 90th percentile of the model's last answers, as the mirror
billed them to any key: upwards, so that an estimate is no way to pay less.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from router.metering.usage import Usage

HIDDEN = 4000
"""Tokens of reasoning of an unknown model that reasons: OpenAI's guide to reasoning models says "a
few hundred to tens of thousands", whose middle, on a logarithmic scale, is this."""
OUTPUT = 1000
"""Tokens of an answer of an unknown model."""
CONTEXT = 4000
"""Tokens that a conversation of an unknown model adds to a request."""
_REMEMBERED = 64
_ENOUGH = 8
"""Answers after which a model is known."""
_MOST_MODELS = 512
_VISIBLE = 0.75
"""Share of its output that is seen of a model that does not reason: what is counted of events
differs from tokens by no more."""
_LEAST_HIDDEN: Final = 64
"""Tokens; below, names of tools and the like are taken for hidden ones."""


class Seen(NamedTuple):
    """One answer."""

    input: int
    output: int
    hidden: int


class UsageEstimates:
    """The last answers of each model, as far as a worker has seen them."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Seen]] = {}

    def __repr__(self) -> str:
        return f"<UsageEstimates of {len(self._of)} models>"

    def note(self, model: str, usage: Usage, visible: int) -> None:
        """A whole answer was billed so much; `visible`: tokens of output that were seen."""
        seen = self._of.get(model)
        if seen is None:
            if len(self._of) >= _MOST_MODELS:
                del self._of[next(iter(self._of))]
            seen = self._of[model] = deque(maxlen=_REMEMBERED)
        hidden = usage.output - visible
        if hidden < _LEAST_HIDDEN or visible > _VISIBLE * usage.output:
            hidden = 0
        seen.append(Seen(usage.input, usage.output, hidden))

    def hidden(self, model: str, suspected: bool) -> int:
        """Tokens of output that are not seen; `suspected`: the model is one that reasons."""
        seen = self._of.get(model, ())
        known = _high([each.hidden for each in seen])
        return max(known, HIDDEN) if suspected and len(seen) < _ENOUGH else known

    def output(self, model: str) -> int:
        """Tokens of output."""
        seen = self._of.get(model)
        return _high([each.output for each in seen]) if seen else OUTPUT

    def whole(self, model: str, seen: int, suspected: bool, kept: bool, most: int) -> int:
        """Tokens of output of an answer: what was seen, with hidden reasoning; of one that is kept,
        what such answers have. Never more than `most`, which the request allows if not 0, nor less
        than was seen."""
        output = seen + self.hidden(model, suspected)
        if kept:
            output = max(output, self.output(model))
        return max(min(output, most) if most else output, seen)

    def input(self, model: str) -> int:
        """Tokens of input of a request that goes on with a kept conversation."""
        seen = self._of.get(model)
        return max(CONTEXT, _high([each.input for each in seen])) if seen else CONTEXT


def _high(values: list[int]) -> int:
    """The 90th percentile."""
    return sorted(values)[len(values) * 9 // 10] if values else 0
