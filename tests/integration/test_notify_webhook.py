"""Attempts to deliver at real HTTP servers that answer badly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from monitor.common.settings import read
from monitor.notify import receiver
from monitor.notify.config import NotifyConfig
from monitor.notify.message import Message
from monitor.notify.receiver import Transport

MESSAGE = Message("title", ("line",), "here", 1_764_400_000.0)
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def service(answer: Answer) -> AsyncIterator[int]:
    """A server that answers each request in this way."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def to(port: int, format: str = "feishu", scheme: str = "http") -> NotifyConfig:
    url = f"{scheme}://127.0.0.1:{port}/hook/t0k3nInThePath"
    return read(NotifyConfig, {"url": url, "format": format})


async def test_an_answer_in_two_parts_is_read_as_one():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"co')
        await writer.drain()
        await asyncio.sleep(0.2)  # the parts must not arrive together
        writer.write(b'de":0}')
        await writer.drain()

    async with service(answer) as port:
        outcome = await Transport().send(MESSAGE, to(port))
    assert outcome.problem == ""


async def test_a_message_that_was_taken_is_not_sent_again_for_a_body_without_end(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(receiver, "_ANSWER_WITHIN", 0.2)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n ")
        await writer.drain()
        await asyncio.Event().wait()

    async with service(answer) as port:
        outcome = await Transport().send(MESSAGE, to(port, "json"))
    assert outcome.problem == ""


async def test_faults_of_the_connection_are_said_in_words_without_the_token():
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"no HTTP at all /hook/t0k3nInThePath\r\n\r\n")

    async with service(answer) as port:
        said = [
            await Transport().send(MESSAGE, to(port, scheme=each)) for each in ("http", "https")
        ]
    said.append(await Transport().send(MESSAGE, to(port)))  # nobody listens any more
    for outcome in said:
        assert outcome.problem
        assert not outcome.permanent
        assert "t0k3n" not in outcome.problem
        assert "object at 0x" not in outcome.problem
