"""Sessions of the legacy chat under any order of events: one holder, in turn, nothing mixed."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.control.sessions import HELD_FOR, MOST_WAITING, OVERHEAD, Sessions

TTL, MEMORY = 1800.0, 1 << 30
NAMES = st.sampled_from([b"a", b"b", b"c"])
WORKERS = st.sampled_from(["w1", "w2"])
Asker = tuple[str, int]


class SessionsModel(RuleBasedStateMachine):
    """A plain model beside: a queue and a context for each session."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.sessions = Sessions(
            lambda process, message: self.told.append((process, message)),
            ttl=TTL,
            memory=MEMORY,
            clock=lambda: self.now,
        )
        self.queues: dict[bytes, deque[Asker]] = defaultdict(deque)
        self.contexts: dict[bytes, tuple[float, list[str]]] = {}

    def _begin(self, name: bytes) -> None:
        """The first of a queue must have been handed the context as it stands."""
        process, number = self.queues[name][0]
        at, turns = self.contexts.get(name, (self.now, []))
        if self.now - at >= TTL:
            self.contexts.pop(name, None)
            turns = []
        assert self.told.pop() == (process, {"number": number, "turns": turns})

    def _end(self, name: bytes, asker: Asker) -> None:
        queue = self.queues[name]
        held = queue[0] == asker
        queue.remove(asker)
        if held and queue:
            self._begin(name)

    @rule(name=NAMES, process=WORKERS)
    def ask(self, name: bytes, process: str) -> None:
        self.number += 1
        queue, asker = self.queues[name], (process, self.number)
        self.sessions.ask(process, self.number, name, name[:1])
        if len(queue) > MOST_WAITING:
            assert self.told.pop() == (process, {"full": True, "number": self.number})
            return
        queue.append(asker)
        if len(queue) == 1:
            self._begin(name)
        else:
            assert self.told.pop() == (process, {"wait": True, "number": self.number})

    @rule(name=NAMES, adds=st.booleans())
    def done(self, name: bytes, adds: bool) -> None:
        queue = self.queues[name]
        if not queue:
            return
        asker = queue[0]
        turns = None
        if adds:
            old = self.contexts.get(name, (0.0, []))[1]
            turns = [*old, f"{name!r} {asker[1]}", "answer"]
            self.contexts[name] = (self.now, turns)
        elif name in self.contexts:
            self.contexts[name] = (self.now, self.contexts[name][1])
        self.sessions.give_back(*asker, turns)
        self._end(name, asker)

    @rule(name=NAMES, at=st.integers(1, MOST_WAITING))
    def wait_no_more(self, name: bytes, at: int) -> None:
        queue = self.queues[name]
        if at < len(queue):
            asker = queue[at]
            self.sessions.give_back(*asker, None)
            self._end(name, asker)

    @rule(name=NAMES)
    def given_back_twice(self, name: bytes) -> None:
        self.sessions.give_back("w1", 10**6, ["never", "asked"])

    @rule(seconds=st.sampled_from([1.0, HELD_FOR / 2, TTL - 1, TTL]))
    def time_passes(self, seconds: float) -> None:
        """With nobody in the middle of something: that has a test of its own."""
        if not any(self.queues.values()):
            self.now += seconds
            self.sessions.sweep()

    @invariant()
    def nothing_is_said_unasked_and_what_is_kept_is_counted(self) -> None:
        assert not self.told
        assert len(self.sessions) <= len(self.contexts)
        assert (self.sessions.size >= OVERHEAD) is (len(self.sessions) > 0)


SessionsModel.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestSessions = SessionsModel.TestCase
