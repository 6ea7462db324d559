"""W3C Trace Context: the `traceparent` of a request, and those of its attempts.

https://www.w3.org/TR/trace-context/ sections 3.2 and 4.3. `tracestate` passes as it is, but not
into a trace that begins here: it is of another one, or of none.
"""

from __future__ import annotations

import random
import re

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-[!-~]*)?")
_SAMPLED = 1
FIELDS = ("traceparent", "tracestate")


class RequestTrace:
    """The ids of a request that is traced."""

    __slots__ = ("attempts", "parent", "span", "trace")

    def __init__(self, trace: int, parent: int, rng: random.Random) -> None:
        """`parent`: the span of the client that it belongs to; 0: it begins the trace."""
        self.trace = trace
        self.parent = parent
        self.span = rng.getrandbits(64) or 1
        self.attempts: dict[str, int] = {}
        """Spans of the attempts that were sent, by mirror; of two on one mirror, the later one."""

    def fields_for(self, mirror: str, tracestate: bytes | None, rng: random.Random) -> bytes:
        """Begin the span of an attempt: the fields that tell the mirror."""
        self.attempts[mirror] = span = rng.getrandbits(64) or 1
        traceparent = b"00-%032x-%016x-01" % (self.trace, span)
        return passed_on(traceparent, tracestate if self.parent else None)


def passed_on(traceparent: bytes | None, tracestate: bytes | None) -> bytes:
    """These two as fields of a request, as far as they are there."""
    fields = b"" if traceparent is None else b"traceparent: %b\r\n" % traceparent
    return fields if tracestate is None else b"%btracestate: %b\r\n" % (fields, tracestate)


def begun(given: bytes | None, share: float, rng: random.Random) -> RequestTrace | None:
    """The trace of a request with this `traceparent`, if it is to be recorded: its client records
    it, or it is one of the `share` (0 to 1) of those whose client says nothing."""
    known = _TRACEPARENT.fullmatch(given.strip(b" \t")) if given is not None else None
    if known is not None and _is_valid(known):
        if not int(known[4], 16) & _SAMPLED:
            return None
        return RequestTrace(int(known[2], 16), int(known[3], 16), rng)
    if rng.random() >= share:
        return None
    return RequestTrace(rng.getrandbits(128) or 1, 0, rng)


def _is_valid(known: re.Match[bytes]) -> bool:
    version, trace, parent = known[1], known[2], known[3]
    whole = version != b"00" or len(known[0]) == len("00-") + 32 + 1 + 16 + len("-00")
    return version != b"ff" and whole and bool(int(trace, 16)) and bool(int(parent, 16))
