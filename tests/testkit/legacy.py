"""The legacy interface before a scripted mirror, with the part of control that it asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from router.admission.credentials import new_key
from router.control.sessions import Sessions
from router.process.control_questions import ControlQuestions
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import Response, read_request

Json = dict[str, Any]
CHAT = "/pro/chat/completions"


class PretendControl:
    """Hands out sessions and accounts to one worker, at its next turn."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        more = {} if clock is None else {"clock": clock}
        self.sessions = Sessions(self._tell, ttl=1800.0, memory=1 << 20, **more)
        self.questions = ControlQuestions("w", self._hear)
        self.questions.reconnect("07" * 32)
        self.accounts: dict[str, Json] = {}
        """By the id of an issued key."""
        self.heard: list[Json] = []
        self.silent = False

    def _hear(self, message: Json) -> None:
        self.heard.append(message)
        if not self.silent:
            asyncio.get_running_loop().call_soon(self._answer, message)

    def _answer(self, message: Json) -> None:
        kind, process, number = message["type"], message["process"], message["number"]
        if kind == "session?":
            session, owner = map(bytes.fromhex, (message["session"], message["owner"]))
            self.sessions.ask(process, number, session, owner)
        elif kind == "session!":
            self.sessions.give_back(process, number, message["turns"])
        else:
            account = self.accounts.get(message["key"])
            self._tell(process, {"number": number, "account": account})

    def _tell(self, process: str, message: Json) -> None:
        self.questions.receive(json.loads(json.dumps(message)))


class EchoMirror:
    """The script of a mirror whose answers repeat what it was asked last.

    `held` names messages that are answered once they are let go.
    """

    def __init__(self) -> None:
        self.asked: list[Json] = []
        """Bodies, in the order in which they came."""
        self.heads: list[bytes] = []
        self.held: dict[str, asyncio.Event] = {}
        self.instead: list[bytes] = []
        """Answers to the next requests, whole; probes get their own all the same."""

    async def script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            self.heads.append(head)
            self.asked.append(json.loads(body) if body else {})
            if self.instead and not head.startswith(b"GET /v1/models "):
                writer.write(self.instead.pop(0))
            elif "messages" not in self.asked[-1]:
                writer.write(answering({"object": "list", "data": []}))  # as probes ask
            else:
                said = self.asked[-1]["messages"][-1]["content"]
                if said in self.held:
                    await self.held[said].wait()
                message = {"role": "assistant", "content": f"echo {said}"}
                writer.write(answering({"choices": [{"message": message}]}))
            await writer.drain()

    @property
    def said(self) -> list[list[str]]:
        """The messages of each request."""
        asked = (body["messages"] for body in self.asked if "messages" in body)
        return [[m["content"] for m in messages] for messages in asked]

    @property
    def targets(self) -> list[str]:
        """The targets of all requests."""
        return [head.split(b" ", 2)[1].decode() for head in self.heads]


def answering(document: Json, status: str = "200 OK", *fields: str) -> bytes:
    """A response with this JSON."""
    body = json.dumps(document).encode()
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refusing(status: str, message: str, code: str | None = None, *fields: str) -> bytes:
    """An error of a mirror."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return answering({"error": error}, status, *fields)


def message(
    content: str, session: str = "s", key: str = "sk-own", *fields: str, path: str = CHAT
) -> bytes:
    """A message to the legacy chat."""
    body = json.dumps({"apiKey": key, "sessionId": session, "content": content}).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def plain(target: str, *fields: str, method: str = "GET") -> bytes:
    """A request without a body and without a key of its own."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: test", *fields, "", ""]).encode()


def issue(plane: DataPlane, key_id: str = "k1") -> str:
    """A key that this worker knows."""
    key, index = new_key("mg-"), plane.context.keys
    if not index.pepper:
        index.season("01" * 32)
    index.extend([(key_id, index.digest(key.encode()).hex(), None, 0.0, "", None, None)])
    return key


async def say(plane: DataPlane, content: str, session: str = "s", key: str = "sk-own") -> Json:
    """The answer to a message, which must be a good one."""
    answer = await plane.ask(message(content, session, key))
    assert answer.status == 200, answer.body
    return read(answer)


def read(answer: Response) -> Json:
    """The document of an answer, whose code is the status."""
    document: Json = json.loads(answer.body)
    assert document["code"] == answer.status
    return document
