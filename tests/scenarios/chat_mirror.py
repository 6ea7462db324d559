"""A mirror that answers a chat with sixty words, and the faults of a public catalogue of failures.

The faults and their timings are those of failoverbench's catalogue v0.1 (github.com/failoverbench),
S01 to S16; nothing of its code is used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.testkit.clock import ManualClock
from tests.testkit.listener import reset
from tests.testkit.raw_http import ScriptedMirror, read_request

WORDS = [f"word{number}" for number in range(60)]
WHOLE = " ".join(WORDS)
CUT_AFTER, STALL_AFTER, MALFORMED_AT = 40, 20, 10
RETRY_AFTER, FIRST_TOKEN, STALL, SILENCE, OUTAGE = 2, 20.0, 30.0, 120.0, 60.0
"""Seconds."""
USAGE = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
MALFORMED = b'data: {"id": "c", "object": "chat.completion.chunk", "choices": [{"delta": {"con\n\n'

Fault = Callable[["ChatMirror", asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; whether the connection is kept."""


class ChatMirror(ScriptedMirror):
    """Knows when it was asked, and what for; a fault answers."""

    def __init__(self, time: ManualClock, name: str, fault: Fault) -> None:
        super().__init__(self._serve_all, name)
        self.time = time
        self.asked_at: list[float] = []
        self.heads: list[bytes] = []
        self.bodies: list[dict[str, Any]] = []
        self.fault = fault
        self._began = time.now

    @property
    def since_begin(self) -> float:
        """Seconds since it began."""
        return self.time.now - self._began

    async def _serve_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep:
            head, body = await read_request(reader)
            self.heads.append(head)
            self.asked_at.append(self.time.now)
            self.bodies.append(json.loads(body))
            keep = await self.fault(self, writer)

    def events(self) -> list[bytes]:
        """The events of a whole answer: a role, sixty words, the finish, usage, `[DONE]`."""
        deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": f" {word}" if at else word} for at, word in enumerate(WORDS)]
        choices: list[list[dict[str, Any]]]
        choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        events = [self.chunk(self.name, choice) for choice in choices]
        return [*events, self.chunk(self.name, [], usage=USAGE), b"data: [DONE]\n\n"]

    @staticmethod
    def chunk(model: str, choices: Sequence[Any], **more: Any) -> bytes:
        """One event."""
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
        return b"data: %b\n\n" % json.dumps({**chunk, "choices": choices, **more}).encode()


async def begin(writer: asyncio.StreamWriter) -> None:
    """The head of a stream."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head)
    await writer.drain()


async def send(writer: asyncio.StreamWriter, events: Sequence[bytes], end: bool = False) -> None:
    """Events one by one, and the end of the body."""
    for event in events:
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
    if end:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def well(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """No fault."""
    await begin(writer)
    await send(writer, mirror.events(), end=True)
    return True


def status(code: int, kind: str, name: str | None, *fields: str, times: int = 10**9) -> Fault:
    """The first `times` requests are answered with an error in OpenAI's shape."""

    async def fault(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        if len(mirror.asked_at) > times:
            return await well(mirror, writer)
        refuse(writer, code, kind, name, *fields)
        return True

    return fault


def refuse(
    writer: asyncio.StreamWriter, code: int, kind: str, name: str | None, *fields: str
) -> None:
    """An error in OpenAI's shape."""
    error = {"message": f"The mirror says {code}.", "type": kind, "param": None, "code": name}
    body = json.dumps({"error": error})
    lines = [f"HTTP/1.1 {code} Error", "Content-Type: application/json", *fields]
    writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode())


async def reset_once(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """A reset before a byte of the first response."""
    if len(mirror.asked_at) > 1:
        return await well(mirror, writer)
    return await reset_always(mirror, writer)


async def reset_always(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """A reset before a byte of any response."""
    reset(writer.transport)
    return False


async def silence(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """No response at all."""
    await mirror.time.sleep(SILENCE)
    return False


async def slow_first_token(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """The head at once, the first token late."""
    await begin(writer)
    await mirror.time.sleep(FIRST_TOKEN)
    await send(writer, mirror.events(), end=True)
    return True


async def cut(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """The connection ends after forty tokens."""
    await begin(writer)
    await send(writer, mirror.events()[: CUT_AFTER + 1])
    return False


async def stall(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """Silence after twenty tokens, then the end of the connection."""
    await begin(writer)
    await send(writer, mirror.events()[: STALL_AFTER + 1])
    await mirror.time.sleep(STALL)
    return False


async def malformed(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """An event that is no JSON among the others."""
    events = mirror.events()
    events.insert(MALFORMED_AT + 1, MALFORMED)
    await begin(writer)
    await send(writer, events, end=True)
    return True


async def no_done(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """All but the sentinel."""
    await begin(writer)
    await send(writer, mirror.events()[:-1], end=True)
    return True


async def outage(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """503 for a minute, then well."""
    if mirror.since_begin >= OUTAGE:
        return await well(mirror, writer)
    refuse(writer, 503, "server_error", "overloaded")
    return True


async def no_continuation(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
    """Refuses to go on where another mirror has stopped."""
    if goes_on(mirror.bodies[-1]):
        refuse(writer, 400, "invalid_request_error", "invalid_prefill")
        return True
    return await well(mirror, writer)


def goes_on(body: dict[str, Any]) -> bool:
    """True if the request asks to go on with a beginning of an answer."""
    return bool(body["messages"][-1]["role"] == "assistant")
