"""A mirror fails while OpenAI's own clients ask through an instance: what they make of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.clients.failing import Ended, with_node, with_python
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY

pytestmark = pytest.mark.e2e

WHOLE = "hello 1 2 3 4"
INTERRUPTED = "stream_interrupted"
WELL = {"latency": 0.0, "status": 0, "error_code": "", "retry_after": "", "every": 1}
WELL |= {"cut_after": None, "stall_after": None, "cut": "close", "only": "/v1/"}
HEAD_LIMIT, KEEPALIVE, LATE = 3.0, 0.5, 1.0
"""Seconds. Late is after a keep-alive, and long before another mirror would be asked."""


@dataclass(frozen=True)
class Case:
    """Behaviour of the first mirror, and its result for the client."""

    name: str
    fault: dict[str, Any]
    said: str
    code: str | None = None
    kind: str = "chat"
    asked: tuple[int, int] = (1, 0)

    @property
    def is_late(self) -> bool:
        """True if the client is told before it has an answer."""
        return "latency" in self.fault


Ask = Callable[[str, str, str, Path], Ended]
CLIENTS: dict[str, Ask] = {"python": with_python, "node": with_node}


def _late_refusal() -> dict[str, Any]:
    return {"latency": LATE, "status": 400, "error_code": "context_length_exceeded"}


CASES = [
    Case("no answer at all", {"latency": 60.0}, WHOLE, asked=(1, 1)),
    Case("a late first token", {"latency": LATE}, WHOLE),
    Case("500", {"status": 500}, WHOLE, asked=(1, 1)),
    Case("a cut", {"cut_after": 3}, "hello 1 2", INTERRUPTED),
    Case("a reset", {"cut_after": 3, "cut": "reset"}, "hello 1 2", INTERRUPTED),
    Case("a stall", {"stall_after": 2}, "hello 1", INTERRUPTED),
    Case("a cut completion", {"cut_after": 3}, "hello 1 2", INTERRUPTED, "completions"),
    Case("a cut response", {"cut_after": 3}, "hello 1 2", INTERRUPTED, "responses"),
    Case("a late response", {"latency": LATE}, WHOLE, None, "responses"),
    Case("a late completion", {"latency": LATE}, WHOLE, None, "completions"),
    *(
        Case(f"a late refusal of {kind}", _late_refusal(), "", "context_length_exceeded", kind)
        for kind in ("chat", "completions", "responses")
    ),
]


@dataclass
class Scene:
    """Two mirrors, of which the first is asked first, and an instance."""

    mirrors: list[MirrorProcess]
    instance: Instance
    base_url: str = field(init=False)

    def __post_init__(self) -> None:
        self.base_url = f"{self.instance.base_url}/v1"

    def play(self, fault: dict[str, Any]) -> None:
        """From now on the first mirror has this fault."""
        self.mirrors[0].behave(**{**WELL, **fault})
        for mirror in self.mirrors:
            mirror.forget()

    @property
    def asked(self) -> tuple[int, ...]:
        """POSTs that each has seen."""
        seen = (mirror.seen() for mirror in self.mirrors)
        return tuple(sum(one.method == "POST" for one in of_one) for of_one in seen)


class Scenes:
    """One for each style of telling, made when it is first wanted."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[str, Scene] = {}
        self._stack = ExitStack()

    def with_style(self, style: str) -> Scene:
        """Nobody is ejected there, so that each case meets the first mirror."""
        if style not in self._made:
            self._made[style] = self._make(style)
        return self._made[style]

    def _make(self, style: str) -> Scene:
        directory = self._directory / style
        directory.mkdir()
        mirrors = [
            self._stack.enter_context(MirrorProcess(name, directory, keys=[TEST_KEY]))
            for name in "ab"
        ]
        config = {
            "router": {
                "workers": 1,
                "balance": {"policy": "priority"},
                "timeouts": {"stream_head": HEAD_LIMIT, "first_content": 3.0, "idle": 2.0},
                "stream": {"keepalive": KEEPALIVE, "keepalive_style": style},
                "ejection": {"max_percent": 0},
            },
            "monitor": {"interval": "1h"},
            "mirrors": [_table(mirror, at) for at, mirror in enumerate(mirrors)],
        }
        instance = self._stack.enter_context(Instance(config, directory / "instance"))
        return Scene(mirrors, instance)

    def close(self) -> None:
        """End them all."""
        self._stack.close()

    def logs(self) -> str:
        return "\n".join(scene.instance.logs() for scene in self._made.values())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenes]:
    with closing(Scenes(tmp_path_factory.mktemp("failing"))) as scenes:
        yield scenes


def _table(mirror: MirrorProcess, priority: int) -> dict[str, Any]:
    table = {"id": mirror.name, "url": mirror.base_url, "addresses": ["127.0.0.1"]}
    return {**table, "allow_private": True, "priority": priority}


def _all() -> Iterator[Any]:
    """Each style with each client; the second style with the second client in the long runs."""
    for style, name, case in product(("comment", "chunk"), CLIENTS, CASES):
        if style == "comment" or case.is_late:
            long = style == "chunk" and name == "node" and case is not CASES[0]
            marks = [pytest.mark.prove] if long else []
            yield pytest.param(
                style, case, CLIENTS[name], id=f"{style}-{case.name}-{name}", marks=marks
            )


@pytest.mark.parametrize(("style", "case", "ask"), list(_all()))
def test_the_client_gets_the_whole_answer_or_one_clear_error(
    scenes: Scenes, style: str, case: Case, ask: Ask, tmp_path: Path
):
    scene = scenes.with_style(style)
    scene.play({**case.fault, "only": "/v1/chat" if case.kind == "chat" else f"/v1/{case.kind}"})
    assert ask(scene.base_url, TEST_KEY, case.kind, tmp_path) == (case.said, case.code)
    assert scene.asked == case.asked


def test_a_limit_of_the_callers_own_key_is_answered_elsewhere_when_the_sdk_asks_again(
    scenes: Scenes,
):
    scene = scenes.with_style("comment")
    scene.play({"status": 429, "only": "/v1/chat"})
    with openai.OpenAI(base_url=scene.base_url, api_key=TEST_KEY, max_retries=2) as client:
        answer = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hello"}]
        )
    assert answer.choices[0].message.content == WHOLE
    assert scene.asked == (1, 1)
