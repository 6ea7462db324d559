"""Mirrors that lie, two at a time, beside two good ones: many clients, keys, models and endpoints.

Each liar comes, stays for two turns and goes; the next one comes when half of its stay is over.
Time is that of `ManualClock`, so that what is learnt in ten seconds does not depend on the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from monitor.health.snapshot import HealthSnapshot
from router.forwarding import metrics
from tests.scenarios.failover_catalogue import PretendControl
from tests.testkit.clock import ManualClock
from tests.testkit.data_plane import DataPlane
from tests.testkit.http_client import read_stream
from tests.testkit.listener import reset
from tests.testkit.raw_http import Response, ScriptedMirror, post, read_request

CLIENTS = 12
MODELS = ("gpt-4o", "gpt-4o-mini", "deepseek-chat")
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
WORDS = 12
LEARNT_BY = 10.0
"""Seconds after which hardly anything may go to a mirror that lies about it."""
_JSON = "application/json"
_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_PAGE = b"<!doctype html><title>Sign in</title><form action=/login></form>"
_ONE_API = {"success": False, "code": 500, "message": "no channel is left for this group"}


@dataclass(frozen=True)
class Asked:
    """One request."""

    id: str
    client: int
    model: str
    path: str
    stream: bool

    @property
    def text(self) -> str:
        """The one right answer."""
        return " ".join(f"{self.id}-{number}" for number in range(WORDS))

    def as_bytes(self) -> bytes:
        """The request; its id, which is what it says, is in the body."""
        says = f"{self.id} {self.client}"
        what: dict[str, Any] = {"input": says}
        if self.path == CHAT:
            what = {"messages": [{"role": "user", "content": says}], "stream": self.stream}
        body = json.dumps({"model": self.model, **what}).encode()
        return post(self.path, body).replace(b"Bearer sk-x", b"Bearer sk-%d" % self.client)

    @classmethod
    def read(cls, head: bytes, body: bytes) -> Asked:
        """The request as a mirror gets it."""
        path = head.split(b" ", 2)[1].decode()
        sent = json.loads(body)
        said = sent["input"] if path == EMBEDDINGS else sent["messages"][0]["content"]
        name, client = said.split()
        return cls(name, int(client), sent["model"], path, bool(sent.get("stream")))

    def document(self) -> bytes:
        """The whole plain answer."""
        if self.path == EMBEDDINGS:
            content = {"object": "list", "data": [{"index": 0, "embedding": [], "of": self.text}]}
        else:
            message = {"role": "assistant", "content": self.text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            content = {"id": "c", "object": "chat.completion", "choices": [choice]}
        return json.dumps({**content, "model": self.model}).encode()

    def events(self) -> list[bytes]:
        """The whole stream."""
        words = self.text.split()
        deltas = [f" {word}" if at else word for at, word in enumerate(words)]
        choices: list[dict[str, Any]] = [{"delta": {"content": text}} for text in deltas]
        choices.append({"delta": {}, "finish_reason": "stop"})
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": self.model}
        events = [
            b"data: %b\n\n" % json.dumps({**chunk, "choices": [{"index": 0, **choice}]}).encode()
            for choice in choices
        ]
        return [*events, b"data: [DONE]\n\n"]


Tell = Callable[["Mirror", Asked, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; whether the connection is kept."""


@dataclass(frozen=True)
class Lie:
    """A bad mirror's answer to the requests that it is bad at."""

    name: str
    tell: Tell
    concerns: Callable[[Asked], bool] = lambda asked: True
    narrow: bool = False
    """True if it is good for all other requests, and should go on getting them."""


class Mirror(ScriptedMirror):
    """Answers well, but for what its lie concerns; it keeps books."""

    def __init__(self, time: ManualClock, name: str, lie: Lie | None = None) -> None:
        super().__init__(self._serve_all, name)
        self.time = time
        self.lie = lie
        self.asked: list[tuple[float, Asked]] = []
        self.done: list[str] = []
        """Requests that it has worked on to the end, and billed."""
        self._rng = random.Random(name)

    async def _serve_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep:
            asked = Asked.read(*await read_request(reader))
            self.asked.append((self.time.now, asked))
            lie = self.lie
            if lie is not None and lie.concerns(asked):
                keep = await lie.tell(self, asked, writer)
            else:
                keep = await self.serve(asked, writer)

    async def serve(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        """The right answer, after a while."""
        await self.time.sleep(self._rng.uniform(0.2, 0.6))
        if asked.stream:
            await send_stream(self, asked.events(), writer)
        else:
            say(writer, 200, asked.document())
        await writer.drain()
        if not writer.is_closing():
            self.done.append(asked.id)
        return True


async def send_stream(
    mirror: Mirror, events: Sequence[bytes], writer: asyncio.StreamWriter, end: bytes = b"0\r\n\r\n"
) -> None:
    """A stream in four pieces, and its end."""
    writer.write(_SSE)
    for at in range(0, len(events), 4):
        for event in events[at : at + 4]:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await mirror.time.sleep(0.1)
    writer.write(end)


def say(
    writer: asyncio.StreamWriter, status: int, body: bytes, media: str = _JSON, *fields: str,
    longer: int = 0,
) -> None:  # fmt: skip
    """A response with this body; its length is told too long by so much."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {media}"]
    lines += [*fields, f"Content-Length: {len(body) + longer}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)


def _saying(status: int, body: bytes, media: str = _JSON, *fields: str) -> Tell:
    async def tell(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        say(writer, status, body, media, *fields)
        return True

    return tell


def _error(status: int, kind: str, code: str, *fields: str) -> Tell:
    error = {"message": f"The mirror says {code}.", "type": kind, "code": code}
    return _saying(status, json.dumps({"error": error}).encode(), _JSON, *fields)


async def _empty(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    if asked.stream:
        writer.write(_SSE + b"0\r\n\r\n")
    else:
        say(writer, 200, b"")
    return True


async def _half(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    if asked.stream:
        await send_stream(mirror, [asked.events()[0][:40]], writer)
    else:
        body = asked.document()
        say(writer, 200, body[: len(body) // 2])
    return True


async def _wrong_length(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    body = b"".join(asked.events()[:5]) if asked.stream else asked.document()
    media = "text/event-stream" if asked.stream else _JSON
    say(writer, 200, body, media, longer=9 if asked.stream or len(asked.id) % 2 else -9)
    return False


async def _broken_gzip(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    body = gzip.compress(b"".join(asked.events()) if asked.stream else asked.document())
    media = "text/event-stream" if asked.stream else _JSON
    say(writer, 200, body[: len(body) * 2 // 3], media, "Content-Encoding: gzip")
    return True


async def _five_words(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    await mirror.time.sleep(0.3)
    await send_stream(mirror, asked.events()[:5], writer)
    return True


async def _reset(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    if asked.stream:
        await send_stream(mirror, asked.events()[:5], writer, b"")
    else:
        body = asked.document()
        say(writer, 200, body[:-40], longer=40)
        await writer.drain()
        await mirror.time.sleep(0.1)
    reset(writer.transport)
    return False


async def _drip(mirror: Mirror, asked: Asked, writer: asyncio.StreamWriter) -> bool:
    if asked.stream:
        body = b"".join(asked.events())
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n")
    else:
        body = asked.document()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body))
    for at in range(len(body)):
        writer.write(body[at : at + 1])
        await writer.drain()
        await mirror.time.sleep(1.0)
    return True


def _some_clients(asked: Asked) -> bool:
    return asked.client < CLIENTS // 2


LIES = (
    Lie("an empty 200", _empty),
    Lie("an empty object", _saying(200, b"{}")),
    Lie("an error of one-api in a 200", _saying(200, json.dumps(_ONE_API).encode())),
    Lie("half of the JSON", _half),
    Lie("a wrong length", _wrong_length),
    Lie("gzip that breaks off", _broken_gzip),
    Lie("five words without an end", _five_words, lambda asked: asked.stream),
    Lie("401 for keys that others take", _error(401, "invalid_request_error", "invalid_api_key"),
        _some_clients, narrow=True),
    Lie("403, region", _error(403, "request_forbidden", "unsupported_country_region_territory")),
    Lie("no such model", _error(404, "invalid_request_error", "model_not_found"),
        lambda asked: asked.model == MODELS[0], narrow=True),
    Lie("404 as text", _saying(404, b"404 page not found", "text/plain"),
        lambda asked: asked.path == EMBEDDINGS, narrow=True),
    Lie("402", _error(402, "insufficient_balance", "payment_required"), _some_clients, narrow=True),
    Lie("429 for some keys", _error(429, "rate_limit_error", "rate_limit_exceeded",
        "Retry-After: 60"), _some_clients, narrow=True),
    Lie("500 at once", _error(500, "server_error", "internal_error")),
    Lie("a page", _saying(200, _PAGE, "text/html")),
    Lie("a reset in the body", _reset),
    Lie("drip", _drip),
)  # fmt: skip


@dataclass
class Ended:
    """Fate of a request."""

    asked: Asked
    began: float
    outcome: str = ""
    """"whole", "error" (clear), "cut" (visibly), or "lie": taken for an answer, and none."""
    begun: bool = False
    """True if a part of an answer had reached the client."""
    seen: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Stay:
    """A liar's part of the run."""

    mirror: Mirror
    lie: Lie
    came: float
    went: float

    def share(self, ended: Sequence[Ended], concerned: bool) -> float:
        """Part of such requests that went to it, from `LEARNT_BY` on; `concerned`: of those that
        it lies about, else of the others."""
        begin = self.came + LEARNT_BY
        got = [one for at, one in self.mirror.asked if begin <= at < self.went]
        all_ = [one.asked for one in ended if begin <= one.began < self.went]
        counts = [sum(self.lie.concerns(one) == concerned for one in some) for some in (got, all_)]
        return counts[0] / max(counts[1], 1)


@dataclass
class Seen:
    """The whole run."""

    ended: list[Ended]
    stays: list[Stay]
    done: Counter[str]
    """How many mirrors have worked on a request to its end."""
    needless: list[str]
    """Requests that both good mirrors were asked for."""
    ambiguous: int
    """Repeats of what a mirror may have done."""

    def of(self, outcome: str) -> list[Ended]:
        """Requests that ended so."""
        return [one for one in self.ended if one.outcome == outcome]

    @property
    def lost(self) -> list[Ended]:
        """Neither whole nor begun."""
        return [one for one in self.ended if one.outcome != "whole" and not one.begun]

    @property
    def billed_twice(self) -> list[str]:
        """Requests that two mirrors have done to the end."""
        return [name for name, count in self.done.items() if count > 1]


async def play(rate: float, turn: float, lies: Sequence[Lie] = LIES, seed: int = 1) -> Seen:
    """So many requests a second; a new liar every `turn` seconds."""
    time, rng = ManualClock(), random.Random(seed)
    async with AsyncExitStack() as stack:
        good = [await stack.enter_async_context(Mirror(time, name)) for name in ("good", "well")]
        liars = [
            await stack.enter_async_context(Mirror(time, f"bad-{at}", lie))
            for at, lie in enumerate(lies)
        ]
        control = PretendControl(time, [mirror.name for mirror in good])
        plane = DataPlane(
            [mirror.table() for mirror in good], wheel=time.wheel, clock=time, tell=control.hear
        )
        await stack.enter_async_context(plane)
        control.context = plane.context
        plane.context.rng.seed(seed)
        run = _Run(plane, control, time, rng)
        stays = await time.run(run.through(good, liars, rate, turn))
        mirrors = (*good, *liars)
        assert plane.in_flight == 0
        return Seen(
            run.ended,
            stays,
            Counter(name for mirror in mirrors for name in set(mirror.done)),
            sorted(set.intersection(*({asked.id for _, asked in one.asked} for one in good))),
            int(plane.totals.get(metrics.AMBIGUOUS.name)),
        )


class _Run:
    """Requests at a steady rate while liars come and go."""

    def __init__(
        self, plane: DataPlane, control: PretendControl, time: ManualClock, rng: random.Random
    ) -> None:
        self.ended: list[Ended] = []
        self._plane, self._control, self._time, self._rng = plane, control, time, rng
        self._tasks: set[asyncio.Task[None]] = set()

    async def through(
        self, good: Sequence[Mirror], liars: Sequence[Mirror], rate: float, turn: float
    ) -> list[Stay]:
        """All turns, and the end of every request."""
        sending = asyncio.ensure_future(self._send_on(rate))
        await self._time.sleep(turn / 2)  # latencies become known
        stays = []
        for at, liar in enumerate(liars):
            began = self._time.now
            present = liars[max(at - 1, 0) : at + 1]
            self._configure([*good, *present])
            await self._time.sleep(turn)
            assert liar.lie is not None
            stays.append(Stay(liar, liar.lie, began, began + 2 * turn))
        self._configure([*good, liars[-1]])
        await self._time.sleep(turn)
        sending.cancel()
        await asyncio.gather(*self._tasks)
        return stays

    def _configure(self, mirrors: Sequence[Mirror]) -> None:
        names = [mirror.name for mirror in mirrors]
        self._control.leases.mirrors(dict.fromkeys(names, ""), names)
        config = self._plane.config([mirror.table() for mirror in mirrors])
        self._plane.context.configure(config, HealthSnapshot())

    async def _send_on(self, rate: float) -> None:
        began, number = self._time.now, 0
        while True:
            if (early := began + number / rate - self._time.now) > 0.0:
                await self._time.sleep(early)
            stream = number % 2 == 1
            path = EMBEDDINGS if number % 4 == 0 else CHAT
            asked = Asked(
                f"r{number}", self._rng.randrange(CLIENTS), self._rng.choice(MODELS), path, stream
            )
            task = asyncio.ensure_future(self._ask(asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1

    async def _ask(self, asked: Asked) -> None:
        ended = Ended(asked, self._time.now)
        client = await self._plane.connect(f"127.0.0.{2 + asked.client}")
        try:
            await client.send(asked.as_bytes())
            answer = await client.response()
            ended.seen = answer.body
            ended.outcome, ended.begun = judge(asked, answer)
        finally:
            self._plane.clients.remove(client)
            await client.close()
        self.ended.append(ended)


def judge(asked: Asked, answer: Response) -> tuple[str, bool]:
    """Outcome for a client, and whether a part of an answer had reached it."""
    if answer.status != 200:
        return ("error" if answer.complete and answer.error["message"] else "lie"), False
    body, packed = answer.body, "content-encoding" in answer
    if packed:
        with contextlib.suppress(zlib.error):
            body = zlib.decompressobj(31).decompress(body)
    if asked.stream:
        said, errors, done, _ = read_stream(body)
        if errors:
            return ("lie" if done else "cut"), bool(said)
        if not (answer.complete or done):
            return "cut", bool(said) or packed  # a reset takes from the reader what it has not read
        return ("whole" if said == asked.text else "lie"), bool(said)
    if not answer.complete:
        return "cut", bool(body)
    return ("whole" if _content(asked, body) == asked.text else "lie"), False


def _content(asked: Asked, body: bytes) -> str:
    try:
        document = json.loads(body)
        if asked.path == EMBEDDINGS:
            return str(document["data"][0]["of"])
        return str(document["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError):
        return ""
