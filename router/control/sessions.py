"""Contexts of legacy chats: in memory, bounded, each with one holder at a time.

A worker asks for a session, gets its context once those that asked before have given it back, and
gives back the context with its own turn added. So two requests of one session run in the order in
which they came, whichever workers they came to. Keys and session ids are known by keyed digests.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from monitor.common.ipc import Message

OVERHEAD = 1024
"""Bytes that a session counts for beside its context. Measured were 720 where each has a key of its
own, and tables that have just grown take more."""
MOST_OF_KEY = 8
"""The sessions of one key may take this part of the memory."""
MOST_WAITING = 16
"""Requests of one session that may wait for it."""
HELD_FOR = 900.0
"""Seconds after which a session is taken back from a worker that does not give it back; longer than
a worker takes for a request."""
SWEEP_EVERY = 10.0

FULL: Message = {"full": True}
"""Told instead of a context when too many requests wait for the session."""
WAIT: Message = {"wait": True}
"""Told at once when the session is in use: the context comes later."""


class Asker(NamedTuple):
    """A request of a worker."""

    process: str
    number: int


class Kept:
    """The context of one session."""

    __slots__ = ("at", "context", "owner")

    def __init__(self, owner: bytes, context: bytes, at: float) -> None:
        self.owner = owner
        self.context = context
        self.at = at
        """The time of the last message."""

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        return len(self.context) + OVERHEAD


class Contexts:
    """Contexts of the sessions that nobody holds, the one that was used last at the end."""

    def __init__(self) -> None:
        self.size = 0
        self._all: OrderedDict[bytes, Kept] = OrderedDict()
        self._of: dict[bytes, dict[bytes, None]] = {}
        """The sessions of each key, in the same order."""
        self._sizes: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    def pop(self, session: bytes) -> Kept | None:
        """Take one out."""
        kept = self._all.pop(session, None)
        if kept is None:
            return None
        owner = kept.owner
        self.size -= kept.size
        self._sizes[owner] -= kept.size
        del self._of[owner][session]
        if not self._of[owner]:
            del self._of[owner], self._sizes[owner]
        return kept

    def put(self, session: bytes, kept: Kept, most: int) -> None:
        """Keep one; the oldest of the same key, then the oldest of all make room for it."""
        owner = kept.owner
        self.pop(session)
        self._all[session] = kept
        self._of.setdefault(owner, {})[session] = None
        self.size += kept.size
        self._sizes[owner] = self._sizes.get(owner, 0) + kept.size
        self.shrink(most, owner)

    def shrink(self, most: int, owner: bytes = b"") -> None:
        """Keep no more than this, and of this key no more than its part."""
        while self._sizes.get(owner, 0) > most // MOST_OF_KEY:
            self.pop(next(iter(self._of[owner])))
        while self.size > most:
            self.pop(next(iter(self._all)))

    def forget_before(self, moment: float) -> None:
        """Forget what was used last before this time."""
        while self._all:
            session, kept = next(iter(self._all.items()))
            if kept.at > moment:
                return
            self.pop(session)


class Held:
    """A session that a request has, and those that wait for it."""

    __slots__ = ("holder", "kept", "owner", "since", "waiting")

    def __init__(self, holder: Asker, owner: bytes, kept: Kept | None, since: float) -> None:
        self.holder = holder
        self.owner = owner
        self.kept = kept
        """Its context as it was given away, for when nothing is given back."""
        self.since = since
        self.waiting: deque[Asker] = deque()


class Sessions:
    """Hands sessions to requests of all workers, one at a time."""

    def __init__(
        self,
        tell: Callable[[str, Message], None],
        *,
        ttl: float,
        memory: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` tells one worker process something."""
        self._tell = tell
        self._clock = clock
        self._contexts = Contexts()
        self._held: dict[bytes, Held] = {}
        self._asked: dict[Asker, bytes] = {}
        """The session that each request holds or waits for."""
        self.configure(ttl, memory)

    def __repr__(self) -> str:
        return f"<Sessions: {len(self._contexts)} kept, {len(self._held)} in use>"

    @property
    def size(self) -> int:
        """Bytes that the kept contexts count for."""
        return self._contexts.size

    def __len__(self) -> int:
        return len(self._contexts)

    def configure(self, ttl: float, memory: int) -> None:
        """Take new settings."""
        self._ttl, self._memory = ttl, memory
        self.sweep()

    def ask(self, process: str, number: int, session: bytes, owner: bytes) -> None:
        """A request wants this session: tell its context now, or when its turn comes."""
        asker = Asker(process, number)
        if asker in self._asked:
            return
        held = self._held.get(session)
        if held is None:
            self._asked[asker] = session
            self._hand(session, Held(asker, owner, self._contexts.pop(session), self._clock()))
        elif len(held.waiting) >= MOST_WAITING:
            self._tell(process, {**FULL, "number": number})
        else:
            self._asked[asker] = session
            held.waiting.append(asker)
            self._tell(process, {**WAIT, "number": number})

    def give_back(self, process: str, number: int, turns: list[str] | None) -> None:
        """A request is done with its session, or waits for it no more; None: nothing was added."""
        asker = Asker(process, number)
        session = self._asked.pop(asker, None)
        if session is None:
            return
        held = self._held[session]
        if held.holder != asker:
            held.waiting.remove(asker)
            return
        if turns is not None:
            held.kept = Kept(held.owner, _packed(turns), self._clock())
        elif held.kept is not None:
            held.kept.at = self._clock()  # what failed was a message, too
        self._next(session, held)

    def left(self, process: str) -> None:
        """A worker has ended: what its requests held is free."""
        for asker in [asker for asker in self._asked if asker.process == process]:
            self.give_back(*asker, None)

    def sweep(self) -> None:
        """Forget what is too old, and take back what was not given back."""
        now = self._clock()
        self._contexts.forget_before(now - self._ttl)
        self._contexts.shrink(self._memory)
        overdue = [held.holder for held in self._held.values() if now - held.since > HELD_FOR]
        for holder in overdue:
            self.give_back(*holder, None)

    def _next(self, session: bytes, held: Held) -> None:
        del self._held[session]
        if held.waiting:
            following = Held(held.waiting.popleft(), held.owner, held.kept, self._clock())
            following.waiting = held.waiting
            self._hand(session, following)
        elif held.kept is not None:
            self._contexts.put(session, held.kept, self._memory)

    def _hand(self, session: bytes, held: Held) -> None:
        now, kept = self._clock(), held.kept
        if kept is not None and now - kept.at >= self._ttl:
            held.kept = kept = None
        self._held[session] = held
        turns = json.loads(kept.context) if kept is not None else []
        told = {"number": held.holder.number, "turns": turns}
        self._tell(held.holder.process, told)


def _packed(turns: list[str]) -> bytes:
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
