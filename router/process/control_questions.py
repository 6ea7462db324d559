"""Questions of a worker to control, for the few requests that need an answer of control.

Control says at once when an answer takes longer. A worker that gets a new control process asks
again; one that gets no answer does without.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Any, Self

from monitor.common.ipc import Message

FIRST_REPLY = 5.0
"""Seconds within which control replies, or is taken for silent; on a crowded machine its event loop
may come to a question after more than two."""


class Question:
    """One question, until it is left as a context manager."""

    def __init__(self, questions: ControlQuestions, number: int, asked: Message) -> None:
        self.number = number
        self.asked = asked
        self.waits = False
        """True once control has said that the answer takes longer."""
        self._questions = questions
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._deadline: asyncio.Timeout | None = None
        self._longest = FIRST_REPLY

    async def answer(self, longest: float = FIRST_REPLY) -> Message | None:
        """The answer; None if control is silent, or did not come to it within `longest` seconds."""
        self._longest = longest
        try:
            async with asyncio.timeout(longest if self.waits else FIRST_REPLY) as self._deadline:
                return await self._answer
        except TimeoutError:
            return None

    def receive(self, message: Message) -> None:
        """Take an answer of control."""
        if message.get("wait"):
            self._wait()
        elif not self._answer.done():
            self._answer.set_result(message)

    def _wait(self) -> None:
        deadline, waits, self.waits = self._deadline, self.waits, True
        if not waits and deadline is not None and not deadline.expired():
            deadline.reschedule(asyncio.get_running_loop().time() + self._longest)

    def send_again(self) -> None:
        """Ask another control process."""
        if not self._answer.done():
            self._questions.send(self.asked)

    def __enter__(self) -> Self:
        self._questions.send(self.asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._questions.close(self)


class ControlQuestions:
    """The open questions of one worker."""

    def __init__(self, process: str = "", tell: Callable[[Message], None] = lambda m: None) -> None:
        """`process`: the name of this worker process."""
        self._process = process
        self._tell = tell
        self._numbers = count(1)
        self._open: dict[int, Question] = {}
        self._met = asyncio.Event()
        self.secret = b""
        """Key of the digests that sessions are known by; random for each control process, and empty
        before the first of them."""

    def __repr__(self) -> str:
        return f"<ControlQuestions, {len(self._open)} open>"

    async def met(self) -> bool:
        """True once this worker has heard of a control process; a start is waited for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPLY):
                await self._met.wait()
        return self._met.is_set()

    def ask(self, kind: str, **fields: Any) -> Question:
        """A question to be used as a context manager."""
        number = next(self._numbers)
        asked = {"type": kind, "process": self._process, "number": number, **fields}
        question = self._open[number] = Question(self, number, asked)
        return question

    def send(self, message: Message) -> None:
        """Send control a message."""
        self._tell({**message, "process": self._process})

    def receive(self, message: Message) -> None:
        """Control's answer; one that comes too late is dropped."""
        question = self._open.get(message["number"])
        if question is not None:
            question.receive(message)

    def reconnect(self, secret: str) -> None:
        """Ask a new control process, which knows none of the questions."""
        self.secret = bytes.fromhex(secret)
        self._met.set()
        for question in list(self._open.values()):
            question.send_again()

    def close(self, question: Question) -> None:
        """Wait for the answer no more."""
        self._open.pop(question.number, None)
