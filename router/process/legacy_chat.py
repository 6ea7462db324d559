"""`POST /pro/chat/completions`: one message in, one text out; the context is kept here.

The question behind it goes the way of every request (`inner_request.py`); the context is handed out
by control, one request of a session at a time (`router/control/sessions.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from hashlib import blake2b

from router.admission.client_address import Client
from router.admission.credentials import Caller
from router.admission.limits import RECHECKS
from router.forwarding.admission import blame
from router.forwarding.config import LEGACY_CHAT
from router.forwarding.context import WorkerContext
from router.forwarding.request_context import RequestContext
from router.metering.context_window import newer_half, trimmed, window_of
from router.process.control_questions import ControlQuestions
from router.process.inner_request import InnerResponse, ask, request_head
from router.process.legacy_answers import Fault, done, fault_of, fault_of_problem, passed
from router.process.legacy_message import Message
from router.wire.request import RequestHead

PATH = LEGACY_CHAT
SUCCESSOR = "/v1/chat/completions"
ENDPOINT = "legacy_chat"
"""The label of its requests in metrics."""
LONGEST_WAIT = 120.0
"""Seconds that a request waits for others of its session."""
LONGEST_ANSWER = 600.0
"""Seconds for the question and its answer, less than control leaves a session to a worker."""
STAY = LONGEST_WAIT + LONGEST_ANSWER + 30.0
"""Seconds that a client's connection may take for all of it."""
_MOST_ANSWER = 4 << 20
_DIGEST = 16


async def talk(
    context: WorkerContext,
    questions: ControlQuestions,
    message: Message,
    client: Client,
    look: Mapping[bytes, bytes],
) -> tuple[str, dict[str, str]]:
    """The body of the answer to a message, and fields that go with it. Raises Fault."""
    if not await questions.met():
        answered, _, fields = await _ask(context, message, [], client, look)
        return done(_json(answered), context="new"), fields
    head = request_head("POST", SUCCESSOR, message.key, look)
    request = RequestContext(context.config, head, head.target, client)
    place = await _place(context, request, head)
    # Not message.key: an issued key is taken in many spellings, and is one owner in all of them.
    owner = _digest(request.credentials.keys[0], questions.secret)
    name = message.session.encode("utf-8", "surrogatepass")
    session = _digest(owner.hex().encode() + b"/" + name, questions.secret)
    turns: list[str] | None = None
    with questions.ask("session?", session=session.hex(), owner=owner.hex()) as question:
        try:
            try:
                told = await question.answer(LONGEST_WAIT)
            finally:
                context.limits.leave(place)
            if question.waits if told is None else told.get("full"):
                raise _crowded()
            known = [] if told is None else told["turns"]
            answered, said, fields = await _ask(context, message, known, client, look)
            turns = said if told is not None else None  # else what control has may be more
        finally:
            questions.send({"type": "session!", "number": question.number, "turns": turns})
    return done(_json(answered), context="kept" if len(said) > 2 else "new"), fields


async def _place(context: WorkerContext, request: RequestContext, head: RequestHead) -> int:
    """A place among the client's open requests, for as long as the session is waited for; to be
    given back before the question takes one itself. Raises Fault."""
    wall = context.wall()
    issued = request.issued(context.keys, wall) if request.caller is Caller.issued else None
    for seconds in (*RECHECKS, 0.0):
        place, problem = context.limits.stand_by(
            issued, request.client, context.clock(), wall, with_wait=not seconds
        )
        if problem is None:
            return place
        await asyncio.sleep(seconds)
    assert problem is not None
    context.stats.rejected(problem.code)
    blame(context, request, head, problem)
    raise fault_of_problem(problem)


async def _ask(
    context: WorkerContext,
    message: Message,
    known: list[str],
    client: Client,
    look: Mapping[bytes, bytes],
) -> tuple[str, list[str], dict[str, str]]:
    """The text of the answer, the context with it, and the fields that go with it."""
    legacy = context.config.legacy
    turns = trimmed(known, message.content, window_of(legacy.model, legacy.window))
    try:
        async with asyncio.timeout(LONGEST_ANSWER):
            response = await _response(context, message, turns, client, look)
            if turns and _too_long(response):
                turns = newer_half(turns)  # the estimate was too low
                response = await _response(context, message, turns, client, look)
    except TimeoutError:
        raise Fault(504, "The mirror did not answer in time. Try again.") from None
    if response.status != 200:
        raise fault_of(response)
    text = _text_of(response.body)
    return text, [*turns, message.content, text], passed(response)


async def _response(
    context: WorkerContext,
    message: Message,
    turns: list[str],
    client: Client,
    look: Mapping[bytes, bytes],
) -> InnerResponse:
    said = [*turns, message.content]
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    asked = {"model": context.config.legacy.model, "messages": messages}
    body = json.dumps(asked, ensure_ascii=False).encode("utf-8", "replace")
    head = request_head("POST", SUCCESSOR, message.key, look, len(body))
    return await ask(context, client, head, body, endpoint=ENDPOINT, most=_MOST_ANSWER)


def _too_long(response: InnerResponse) -> bool:
    return response.status == 400 and b"context_length_exceeded" in response.body


def _text_of(body: bytes) -> str:
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise Fault(502, "The mirror's answer has no text. Try again.")
    return text


def _crowded() -> Fault:
    message = "Other messages of this session are still being answered. Try again shortly."
    return Fault(429, message, fields={"retry-after": "5"})


def _digest(text: bytes, secret: bytes) -> bytes:
    return blake2b(text, digest_size=_DIGEST, key=secret).digest()


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
