"""The server-sent event that pretend mirrors send and clients check: 230 bytes and a moment.

Mirror and client run on one machine, so both read CLOCK_MONOTONIC: the moment of sending inside
the event gives the delay of the way, without a clock to agree on.
"""

import time

_PREFIX = (
    b'data: {"id":"chatcmpl-benchmark000000","object":"chat.completion.chunk",'
    b'"created":1700000000,"model":"gpt-4o-mini","system_fingerprint":"'
)
_SUFFIX = b'","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
_DIGITS = 16
_FORMAT = b"%%0%dd" % _DIGITS

EVENT_BYTES = len(_PREFIX) + _DIGITS + len(_SUFFIX)
DONE = b"data: [DONE]\n\n"


class WrongEvent(ValueError):
    """The bytes are not those that were sent."""


def now() -> int:
    """Return the moment in µs."""
    return time.monotonic_ns() // 1000


def event(moment: int) -> bytes:
    """Return the event sent at `moment`, EVENT_BYTES long."""
    return _PREFIX + _FORMAT % moment + _SUFFIX


def moment_of(received: bytes) -> int:
    """Return when an event was sent. Raises WrongEvent unless every byte is as it was."""
    digits = received[len(_PREFIX) : len(_PREFIX) + _DIGITS]
    if not digits.isdigit() or received != _PREFIX + digits + _SUFFIX:
        raise WrongEvent(f"not an event of the mirror: {received[:80]!r}")
    return int(digits)
