"""Faults of a pretend mirror, and its memory of requests."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

LISTENERS = ("serve", "refuse", "reset", "mute")
CUTS = ("reset", "close")


@dataclass(frozen=True)
class Behaviour:
    """The switches of a pretend mirror. Times are in seconds."""

    listener: str = "serve"
    """What becomes of connections: "serve"; "refuse" them; "reset" them once accepted; "mute":
    accept and never say a word, not even in TLS. Anything but "serve" also drops the open ones."""

    latency: float = 0.0
    """Pause before the head of the response."""
    status: int = 0
    """Answer with this status and an error in OpenAI's shape; 0: answer properly."""
    error_code: str = ""
    """`error.code` of such an answer; empty: what OpenAI sends with that status."""
    retry_after: str = ""
    """`Retry-After` of such an answer; empty: none."""
    html: bool = False
    """Such an answer is an HTML page, as a CDN would send it."""
    cut_after: int | None = None
    """Break a streamed answer after so many content events (a plain one in the middle)."""
    cut: str = "reset"
    """How it breaks: "reset" (RST) or "close" (FIN)."""
    stall_after: int | None = None
    """Fall silent, connection open, after so many content events of a streamed answer."""

    every: int = 1
    """The faults from `latency` to `stall_after` meet every n-th request that they could meet."""
    only: str = ""
    """They meet only paths that begin so; empty: all."""

    compress: bool = False
    """Compress answers whatever the other side accepts."""
    events: int = 5
    """Content events of a streamed answer."""
    event_delay: float = 0.0
    """Pause before each of them."""
    models: tuple[str, ...] = ()
    """The only models that are offered and understood; empty: a default list, any understood."""

    def __post_init__(self) -> None:
        if self.listener not in LISTENERS or self.cut not in CUTS or self.every < 1:
            raise ValueError(f"impossible behaviour: {self}")

    def changed(self, changes: Mapping[str, Any]) -> "Behaviour":
        """Return this behaviour with some switches set; ValueError if there is no such switch."""
        if unknown := set(changes) - {each.name for each in fields(self)}:
            raise ValueError(f"unknown switches: {', '.join(sorted(unknown))}")
        if "models" in changes:
            changes = {**changes, "models": tuple(changes["models"])}
        return replace(self, **changes)

    def without_faults(self) -> "Behaviour":
        """Return this behaviour for a request that the faults do not meet."""
        return replace(self, latency=0.0, status=0, cut_after=None, stall_after=None)


@dataclass
class Seen:
    """One request as the mirror saw it."""

    number: int
    method: str
    path: str
    """As it came: escapes untouched, with the query."""
    http_version: str
    headers: list[tuple[str, str]]
    """In the order and spelling in which they came."""
    key: str
    carrier: str
    """Where the key was: a header's name in small letters, "subprotocol", or empty."""
    peer: str
    """address:port of the connection: equal for requests that shared one."""
    body_sha256: str = ""
    body_bytes: int = 0
    """Of a multipart body: its file parts only."""
    outcome: str = "open"
    """"open", "answered", "cut" (by the mirror) or "gone" (the other side left)."""
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    """`time.monotonic()`, which all processes of a machine share."""

    def end(self, outcome: str) -> None:
        """Note how it ended; the first ending counts."""
        if self.ended is None:
            self.outcome, self.ended = outcome, time.monotonic()

    def header(self, name: str) -> str | None:
        """Return the first header of that name, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Seen":
        pairs = [(name, value) for name, value in data["headers"]]
        return cls(**{**data, "headers": pairs})


class Record:
    """The last requests that a mirror saw, and how many there were."""

    def __init__(self, limit: int = 2000) -> None:
        self._seen: deque[Seen] = deque(maxlen=limit)
        self.total = 0

    def add(self, seen: Seen) -> None:
        self._seen.append(seen)
        self.total += 1

    def clear(self) -> None:
        self._seen.clear()

    def all(self) -> list[Seen]:
        """Return the remembered requests, oldest first."""
        return list(self._seen)

    def open(self) -> int:
        """Return how many of them are still being answered."""
        return sum(seen.outcome == "open" for seen in self._seen)
