"""A million session ids of the legacy chat stay within the memory that is set."""

from __future__ import annotations

import gc
import os

import pytest

from router.control.sessions import OVERHEAD, Sessions
from tests.testkit.processes import resident_bytes

pytestmark = pytest.mark.prove

IDS, MEMORY = 1_000_000, 64 << 20
TURNS = ["a question of the usual length, or so", "an answer that is somewhat longer " * 5]


@pytest.mark.parametrize("keys", [1, 1_000, IDS])
def test_a_million_session_ids_stay_within_the_memory(keys: int):
    sessions = Sessions(lambda process, told: None, ttl=1800.0, memory=MEMORY, clock=lambda: 0.0)
    gc.collect()
    before, most = resident_bytes(os.getpid()), 0
    for number in range(IDS):
        sessions.ask("w", number, number.to_bytes(16, "big"), (number % keys).to_bytes(16, "big"))
        sessions.give_back("w", number, TURNS)
        most = max(most, sessions.size)
    assert most <= MEMORY
    assert len(sessions) <= MEMORY // OVERHEAD
    assert resident_bytes(os.getpid()) - before <= MEMORY
