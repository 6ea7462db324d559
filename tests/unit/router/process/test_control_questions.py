"""Questions of a worker to control."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.process import control_questions
from router.process.control_questions import ControlQuestions


class Control:
    """Hears questions, and answers when told to."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.questions = ControlQuestions("w", self.heard.append)


async def test_an_answer_comes_to_the_question_that_it_is_for():
    control = Control()
    with control.questions.ask("a?", about=1) as one, control.questions.ask("a?", about=2) as two:
        for at, text in ((1, "second"), (0, "first")):
            control.questions.receive({"number": control.heard[at]["number"], "text": text})
        first, second = await one.answer(), await two.answer()
    assert first is not None
    assert second is not None
    assert (first["text"], second["text"]) == ("first", "second")
    assert control.heard[0] == {"type": "a?", "process": "w", "number": one.number, "about": 1}
    control.questions.receive({"number": one.number, "text": "again"})  # dropped


async def test_a_silent_control_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(control_questions, "FIRST_REPLY", 0.01)
    control = Control()
    with control.questions.ask("a?") as question:
        assert await question.answer(60) is None
        assert not question.waits
    control.questions.receive({"number": question.number, "text": "too late"})


async def test_an_answer_that_takes_longer_is_waited_for_once_control_has_said_so(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(control_questions, "FIRST_REPLY", 0.0)
    control = Control()
    with control.questions.ask("a?") as question:
        control.questions.receive({"number": question.number, "wait": True})
        waiting = asyncio.create_task(question.answer(60))
        for _ in range(10):
            await asyncio.sleep(0)
        control.questions.receive({"number": question.number, "text": "at last"})
        told = await waiting
    assert told is not None
    assert told["text"] == "at last"


async def test_it_is_not_waited_for_longer_than_it_may_take():
    control = Control()
    with control.questions.ask("a?") as question:
        waiting = asyncio.create_task(question.answer(0.01))
        await asyncio.sleep(0)
        control.questions.receive({"number": question.number, "wait": True})
        assert await waiting is None
        assert question.waits


async def test_a_new_control_is_asked_again():
    control = Control()
    with control.questions.ask("a?", about=1) as question:
        waiting = asyncio.create_task(question.answer())
        await asyncio.sleep(0)
        control.questions.reconnect("0a0b")
        assert control.heard == [control.heard[0]] * 2
        control.questions.receive({"number": question.number})
        assert await waiting is not None
    assert control.questions.secret == b"\x0a\x0b"


async def test_a_control_that_is_still_starting_is_met_once_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
):
    control = Control()
    waiting = asyncio.create_task(control.questions.met())
    await asyncio.sleep(0)
    assert not waiting.done()
    control.questions.reconnect("0a0b")
    assert await waiting
    monkeypatch.setattr(control_questions, "FIRST_REPLY", 0.0)
    assert not await Control().questions.met()
