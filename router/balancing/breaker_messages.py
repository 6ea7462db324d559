"""Messages between workers and control about ejected mirrors, and their encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from router.balancing.breaker import Lease, Phase, Standing
from router.balancing.ejection import Cause
from router.balancing.failure import Failure


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of a worker has failed: where many workers see little each, it is control that
    sees enough."""

    mirror: str
    failure: Failure
    weight: float
    successes: int
    """How many of this worker's attempts on it have succeeded since the last such word."""


@dataclass(frozen=True, slots=True)
class Tripped:
    """A worker has ejected the mirror."""

    mirror: str
    cause: Cause
    until: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A worker has a request that could try the mirror."""

    mirror: str


@dataclass(frozen=True, slots=True)
class Granted:
    """Control's leave for one attempt."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Recalled:
    """Control wants an unused lease back; answered by `Ended` with nothing shown."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Begun:
    """The leased attempt begins."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of the leased attempt; None: it showed nothing."""

    lease: Lease
    ok: bool | None


Word = Failed | Tripped | Asked | Granted | Recalled | Begun | Ended | Standing

_KINDS: dict[str, type[Word]] = {
    "failed": Failed,
    "tripped": Tripped,
    "asked": Asked,
    "granted": Granted,
    "recalled": Recalled,
    "begun": Begun,
    "ended": Ended,
    "standing": Standing,
}
_ENVELOPE = ("type", "word", "process", "to")
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def to_message(word: Word) -> dict[str, Any]:
    """Plain values for the feed: `{"type": "breaker", "word": "tripped", …}`."""
    return {"type": "breaker", "word": _NAMES[type(word)], **asdict(word)}


def from_message(message: Mapping[str, Any]) -> Word:
    """The word that `to_message` was given; sender and receiver may stand beside it."""
    values = {key: value for key, value in message.items() if key not in _ENVELOPE}
    if "lease" in values:
        values["lease"] = Lease(**values["lease"])
    if "failure" in values:
        values["failure"] = Failure(values["failure"])
    if values.get("cause") is not None:
        values["cause"] = Cause(values["cause"])
    if "phase" in values:
        values["phase"] = Phase(values["phase"])
    return _KINDS[message["word"]](**values)
