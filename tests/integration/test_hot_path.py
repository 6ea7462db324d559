"""Cost of a plain request that succeeds at once, in frames and objects: neither may creep up."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType

import pytest

from monitor.common.compiled import COMPILED, form
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import OK, RawClient, ScriptedMirror, post, read_request

CHAT = post("/v1/chat/completions", b'{"model": "gpt-4o", "messages": []}')
MOST_FRAMES, MOST_OBJECTS = 10, 10
"""Objects with the heads of request and response."""


class Profile:
    """Stacks of calls that send to a mirror, and constructors of ours that ran."""

    def __init__(self) -> None:
        self.stacks: list[list[str]] = []
        self.made: list[object] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or "/router/" not in code.co_filename:
            return
        if code.co_qualname == "UpstreamConnection.ask":
            self.stacks.append(_stack(frame))
        if code.co_name == "__init__" and (made := frame.f_locals["self"]) not in self.made:
            self.made.append(made)


def _stack(frame: FrameType | None) -> list[str]:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_qualname)
        if names[-1] == "ClientConnection.buffer_updated":
            return names
        frame = frame.f_back
    raise AssertionError(f"not called from the client's read: {names}")


async def _profiled(client: RawClient) -> Profile:
    profile = Profile()
    sys.setprofile(profile)
    try:
        await client.send(CHAT)
        await client.response()
    finally:
        sys.setprofile(None)
    return profile


@pytest.mark.skipif(form.name == COMPILED, reason="compiled code has no frames to count")
async def test_a_request_takes_few_frames_and_objects_to_its_mirror_and_back() -> None:
    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)
            await writer.drain()

    async with ScriptedMirror(answers) as mirror, DataPlane([mirror.table()]) as plane:
        client = await plane.send(CHAT)
        await client.response()
        for _ in range(3):  # the head is known then, and a connection waits
            await client.send(CHAT)
            await client.response()
        profile = await _profiled(client)
    (stack,) = profile.stacks
    assert len(stack) <= MOST_FRAMES, stack
    assert len(profile.made) <= MOST_OBJECTS, [type(each) for each in profile.made]
