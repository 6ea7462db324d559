"""Whatever a follower misses, it ends with the list that control has."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.common.ipc import Message
from router.admission.key_index import KeyIndex
from router.process.replica import ASK_AGAIN, Replica, whole
from router.process.worker_lists import ReplicatedKeys

PEPPER = "00" * 32
IDS = [f"k{n}" for n in range(6)]


class Control:
    """Has a list of keys, tells what changes, and is asked for all of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = 0
        self.rows: dict[str, tuple[Any, ...]] = {}

    def add(self, key_id: str, left: int) -> Message:
        self.rows[key_id] = (key_id, f"{IDS.index(key_id):032x}", None, 0.0, "", left, None)
        return self._change({"type": "key", "rows": [self.rows[key_id]]})

    def remove(self, key_id: str) -> Message:
        self.rows.pop(key_id, None)
        return self._change({"type": "unkey", "ids": [key_id]})

    def _change(self, message: Message) -> Message:
        self.version += 1
        return {**message, "version": self.version}

    def state(self) -> Message:
        return {"type": "state", "control": self.name, "keys": self.version}

    def whole(self) -> list[Message]:
        pieces = whole("keys", list(self.rows.values()), self.version, 2)
        pieces[0]["pepper"] = PEPPER
        return pieces


class Worker:
    """Hears through a channel that keeps the order."""

    def __init__(self) -> None:
        self.ring = KeyIndex()
        self.now = 0.0
        self.questions = 0
        self.completed = 0
        self.follower = Replica(
            ReplicatedKeys(self.ring), self._ask, self._complete, lambda: self.now
        )

    def _ask(self) -> None:
        self.questions += 1

    def _complete(self) -> None:
        self.completed += 1

    def hear(self, message: Message) -> None:
        kind = message["type"]
        if kind == "state":
            self.follower.state(message["control"], message["keys"])
        elif kind == "keys":
            self.follower.piece(message)
        elif kind == "key":
            self.follower.add(message)
        else:
            self.follower.remove(message)


class Scene:
    """Both, and a channel between them that loses what it is told to."""

    def __init__(self, losses: list[int] | None = None) -> None:
        self.control, self.worker = Control("c0"), Worker()
        self.lost = deque(losses or ())
        self.answered = 0
        self.names = 0

    def send(self, *messages: Message) -> None:
        for message in messages:
            if not self.lost or self.lost.popleft():
                self.worker.hear(message)

    def answer(self) -> None:
        if self.worker.questions > self.answered:
            self.answered = self.worker.questions
            self.send(*self.control.whole())

    def wait(self) -> None:
        self.worker.now += ASK_AGAIN
        self.worker.follower.look()

    def replace(self) -> None:
        self.names += 1
        rows, self.control = self.control.rows, Control(f"c{self.names}")
        self.control.rows = rows
        self.send(self.control.state())

    def change(self, what: str, key_id: str, left: int) -> None:
        control = self.control
        self.send(control.add(key_id, left) if what == "add" else control.remove(key_id))

    def same(self) -> bool:
        ring, rows = self.worker.ring, self.control.rows
        found = [ring.find(bytes.fromhex(row[1]), 0.0) for row in rows.values()]
        held = {key.id: key.left for key in found if key is not None}
        return len(ring) == len(rows) and held == {name: row[5] for name, row in rows.items()}


STEP = st.tuples(
    st.sampled_from(["add", "add", "remove", "answer", "answer", "state", "wait", "replace"]),
    st.sampled_from(IDS),
    st.integers(-5, 5),
)


@given(st.lists(STEP, max_size=40), st.lists(st.integers(0, 3), max_size=80))
def test_a_worker_that_misses_any_message_ends_with_the_same_list(
    steps: list[tuple[str, str, int]], losses: list[int]
) -> None:
    scene = Scene(losses)
    for key_id in IDS[:5]:
        scene.control.add(key_id, 1)
    acts = {"answer": scene.answer, "wait": scene.wait, "replace": scene.replace}
    scene.send(scene.control.state())
    for what, key_id, left in steps:
        if what in acts:
            acts[what]()
        elif what == "state":
            scene.send(scene.control.state())
        else:
            scene.change(what, key_id, left)
    scene.lost.clear()
    scene.send(scene.control.state())  # the hub says how far it is to whom it could not tell
    for _ in range(2):
        scene.wait()
        scene.answer()
    assert scene.same()
    questions = scene.worker.questions
    scene.wait()
    assert scene.worker.questions == questions, "who has all asks no more"


@given(st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 9)), max_size=20))
def test_a_worker_that_misses_nothing_asks_once(changes: list[tuple[str, int]]) -> None:
    scene = Scene()
    scene.control.add("k0", 1)
    scene.send(scene.control.state())
    scene.answer()
    for key_id, left in changes:
        scene.change("add" if left else "remove", key_id, left)
        scene.send(scene.control.state())
        scene.wait()
    assert scene.same()
    assert (scene.worker.questions, scene.worker.completed) == (1, 1)
