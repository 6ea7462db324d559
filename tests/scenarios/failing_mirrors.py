"""Mirrors that fail or ban under load, before a real instance with two workers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.scenarios.chat_mirror import ChatMirror
from tests.scenarios.open_loop_load import ONCE, PLAIN, WORDS, Ended, OpenLoad, percentile
from tests.testkit.instance import Instance
from tests.testkit.listener import Listener, reset

MODES = ("refused", "reset", "blackhole", "500", "503", "hang", "slow", "garbage")
LATENCY, GAP = 0.02, 0.01
"""Seconds until it answers, and between the events of a stream."""
SLOW = 10.0
_BEAT, _ON_TIME = 0.01, 0.04
"""Seconds between two looks at the clock, and by which this process may be late."""
_LISTENER = {"refused": "refuse", "blackhole": "swallow"}
_JSON = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_GARBAGE = b"\x16\x03\x01 what a mirror never says \x00\xff" * 4

TIMEOUTS = {
    "connect": "1s",
    "first_byte": "2s",
    "stream_head": "2s",
    "first_content": "3s",
    "idle": "2s",
}
"""Shorter than ours, so that a failure is over soon."""
NAMES = ("a", "b", "c")
CONNECTIONS, RATE = 10, 20
LIMITS = {"max_connections": CONNECTIONS, "max_requests_per_second": RATE}
OFFERED = 200.0
QUEUE = {"max_wait": "2s"}
Meanwhile = Callable[[Instance], Awaitable[None]]


class FailingMirror:
    """Serves many requests a second, and can fail in any of `MODES` while it does.

    It notes each request of a test (those with `x-test-id`) when it is complete, so that shares of
    the traffic can be told. Times are `time.monotonic()`.
    """

    def __init__(
        self,
        name: str,
        *,
        latency: float = LATENCY,
        gap: float = GAP,
        bans_above: tuple[int, int] | None = None,
    ) -> None:
        """`gap`: seconds between the events of a stream; `bans_above`: so many connections at once,
        or requests within any second."""
        self.name = name
        self.latency, self.gap = latency, gap
        self.banned = ""
        """What it has banned its clients for: it hears nothing of them any more."""
        self.most_connections = self.most_in_a_second = 0
        self.judged = 0
        """Arrivals that it could tell the time of: those while this process was on time itself."""
        self._bans_above = bans_above
        self._late_at = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._last_second: deque[float] = deque()
        self.mode = ""
        """How it fails; "" while it is well."""
        self.asked: list[tuple[float, str]] = []
        """When, and the id of the request."""
        self.accepted: list[float] = []
        self.most_waiting = 0
        """Requests that it had at once, at most."""
        self.waiting = 0
        self.connections: set[_Connection] = set()
        self._listener = Listener(lambda: _Connection(self))

    @property
    def port(self) -> int:
        return self._listener.port

    async def __aenter__(self) -> Self:
        await self._listener.become("serve")
        if self._bans_above is not None:
            self._watch = asyncio.create_task(self._note_lateness())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        if self._watch is not None:
            self._watch.cancel()
        for connection in list(self.connections):
            connection.transport.abort()

    async def _note_lateness(self) -> None:
        """When this loop is late, what came one by one looks as if it had come at once."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_BEAT)
            if time.monotonic() - began > _BEAT + _ON_TIME:
                self._late_at = time.monotonic()

    def _is_on_time(self, now: float) -> bool:
        return now - self._late_at > 1.0 + _BEAT

    async def fail(self, mode: str) -> None:
        """From now on; see `WAYS`."""
        self.mode = mode
        if mode in _LISTENER:
            await self._listener.become(_LISTENER[mode])
        for connection in list(self.connections):
            connection.fail(mode)

    async def recover(self) -> None:
        """Serve again; connections that it has silenced are ended."""
        was, self.mode = self.mode, ""
        if was in _LISTENER:
            await self._listener.become("serve")
        for connection in list(self.connections):
            if connection.silenced:
                connection.transport.abort()

    def met(self, connection: _Connection) -> None:
        """Somebody connects."""
        self.accepted.append(time.monotonic())
        self.connections.add(connection)
        if not self._is_on_time(time.monotonic()):
            return
        self.most_connections = max(self.most_connections, len(self.connections))
        if self._bans_above is not None and len(self.connections) > self._bans_above[0]:
            self._ban(f"{len(self.connections)} connections")

    def heard(self, test_id: str) -> None:
        """Somebody asks; a test, or the monitor if there is no id."""
        now = time.monotonic()
        if test_id:
            self.asked.append((now, test_id))
        last = self._last_second
        last.append(now)
        while now - last[0] >= 1.0:
            last.popleft()
        if not self._is_on_time(now):
            return
        self.judged += 1
        self.most_in_a_second = max(self.most_in_a_second, len(last))
        if self._bans_above is not None and len(last) > self._bans_above[1]:
            self._ban(f"{len(last)} requests within a second")

    def _ban(self, why: str) -> None:
        self.banned = self.banned or why
        self.mode = "hang"
        for connection in list(self.connections):
            connection.fail(self.mode)

    def since(self, moment: float) -> int:
        """Requests since then; of a mirror that does not read them, connections."""
        unread = self.mode == "reset"
        times = self.accepted if unread else [at for at, _ in self.asked]
        return sum(at > moment for at in times)

    def table(self, **more: Any) -> dict[str, Any]:
        """Its entry in a configuration."""
        url = f"http://127.0.0.1:{self.port}"
        return {"id": self.name, "url": url, "addresses": ["127.0.0.1"], **more}


class _Connection(asyncio.Protocol):
    """One connection to it."""

    transport: asyncio.Transport

    def __init__(self, mirror: FailingMirror) -> None:
        self._mirror = mirror
        self._read = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.silenced = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._mirror.met(self)
        if self._mirror.mode == "reset":
            reset(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._mirror.connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._read += data
        while True:
            head, found, rest = self._read.partition(b"\r\n\r\n")
            if not found:
                return
            fields = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            size = int(fields.get(b"content-length", b"0"))
            if len(rest) < size:
                return
            self._read = rest[size:]
            self._asked(head, fields.get(b"x-test-id", b"").decode(), rest[:size])

    def fail(self, mode: str) -> None:
        """Fail on this connection."""
        if mode == "refused":
            self.transport.abort()
        elif mode == "reset":
            reset(self.transport)
        elif mode in ("blackhole", "hang"):
            self.silenced = True
        elif mode == "garbage" and self._tasks:
            self.silenced = True
            self.transport.write(_GARBAGE)

    def _asked(self, head: bytes, test_id: str, body: bytes) -> None:
        mirror = self._mirror
        mirror.heard(test_id)
        task = asyncio.ensure_future(self._answer(head, body))
        self._tasks.add(task)
        mirror.waiting += 1
        mirror.most_waiting = max(mirror.most_waiting, mirror.waiting)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._mirror.waiting -= 1
        self._tasks.discard(task)

    async def _answer(self, head: bytes, body: bytes) -> None:
        mode = self._mirror.mode
        if mode in ("hang", "blackhole"):
            self.silenced = True
            return
        if mode == "garbage":
            self._write(_GARBAGE)
        elif mode in ("500", "503"):
            error = {"message": f"It says {mode}.", "type": "server_error", "code": "failed"}
            self._write_json(int(mode), {"error": error})
        else:
            factor = SLOW if mode == "slow" else 1.0
            await asyncio.sleep(self._mirror.latency * factor)
            await self._serve(head, body, factor)

    async def _serve(self, head: bytes, body: bytes, factor: float) -> None:
        if b'"stream": true' not in body:
            self._write_json(200, {"object": "thing", "of": self._mirror.name, "data": []})
            return
        self._write(_SSE)
        for number in range(WORDS):
            choice = {"index": 0, "delta": {"content": f" {number}"}, "finish_reason": None}
            self._event(ChatMirror.chunk(self._mirror.name, [choice]))
            await asyncio.sleep(self._mirror.gap * factor)
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        self._event(ChatMirror.chunk(self._mirror.name, [choice]))
        self._event(b"data: [DONE]\n\n")
        self._write(b"0\r\n\r\n")

    def _event(self, event: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(event), event))

    def _write_json(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self._write(_JSON % (status, len(body), body))

    def _write(self, data: bytes) -> None:
        if not self.silenced and not self.transport.is_closing():
            self.transport.write(data)


@asynccontextmanager
async def instance_before(
    mirrors: Sequence[FailingMirror],
    directory: Path,
    *,
    interval: str = "15s",
    limits: Mapping[str, int] | None = None,
    **router: Any,
) -> AsyncIterator[Instance]:
    """A running instance with two workers.

    `interval`: between two probes; `limits`: what the first mirror may be asked at most.
    """
    tables = [mirror.table(allow_private=True) for mirror in mirrors]
    tables[0].update(limits or {})
    config = {
        "router": {"workers": 2, "timeouts": TIMEOUTS, **router},
        "monitor": {"interval": interval},
        "mirrors": tables,
    }
    instance = Instance(config, directory)
    await asyncio.to_thread(instance.start)
    try:
        yield instance
    finally:
        await asyncio.to_thread(instance.__exit__, None, None, None)


@dataclass
class Failure:
    """Effect of the failure of one mirror on the traffic."""

    failed_at: float
    before: list[Ended]
    after: list[Ended]
    late_share: float
    """Per cent of the traffic, from five seconds after the failure on, that the mirror got."""
    sent: Mapping[str, int]
    """How often each request reached a mirror."""

    @property
    def lost(self) -> list[Ended]:
        """Requests that should have succeeded and did not."""
        return [one for one in self.after if one.must_succeed and one.outcome != "whole"]

    @property
    def unclear(self) -> list[Ended]:
        """Requests that got neither a whole answer nor one clear error."""
        return [one for one in self.before + self.after if one.outcome not in ("whole", "error")]

    @property
    def errors(self) -> Counter[str]:
        """Errors after the failure, by kind of request."""
        return Counter(one.kind for one in self.after if one.outcome == "error")

    @property
    def sent_twice(self) -> list[str]:
        """Requests that must be sent once and were sent more often."""
        once = [one.id for one in self.before + self.after if one.kind == ONCE]
        return [name for name in once if self.sent.get(name, 0) > 1]

    @property
    def rescued(self) -> int:
        """Whole answers that took more than one attempt."""
        return sum(one.attempts > 1 and one.outcome == "whole" for one in self.after)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest whole answer took."""
        return max(one.seconds for one in self.after if one.outcome == "whole")

    @property
    def added_p99(self) -> float:
        """Seconds that the failure has added to the 99th percentile of plain chats."""
        return _p99(self.after) - _p99(self.before)


def _p99(ended: Sequence[Ended]) -> float:
    whole = [one.seconds for one in ended if one.kind == PLAIN and one.outcome == "whole"]
    return percentile(whole, 99)


async def failure_under_load(
    mode: str, directory: Path, *, rate: float = 200.0, warm: float = 5.0, then: float = 12.0
) -> Failure:
    """The second of three mirrors fails."""
    async with AsyncExitStack() as stack:
        mirrors = [await stack.enter_async_context(FailingMirror(name)) for name in NAMES]
        instance = await stack.enter_async_context(instance_before(mirrors, directory))
        async with OpenLoad(instance.base_url, rate) as load:
            await asyncio.sleep(warm)
            await mirrors[1].fail(mode)
            failed_at = time.monotonic()
            await asyncio.sleep(then)
        late = load.between(failed_at + 5.0)
        return Failure(
            failed_at,
            load.between(failed_at - warm / 2, failed_at),
            load.between(failed_at - 0.05),
            100.0 * mirrors[1].since(failed_at + 5.0) / max(len(late), 1),
            Counter(name for mirror in mirrors for _, name in mirror.asked),
        )


@dataclass
class Overload:
    """Fate of the requests, and the mirror that may have banned."""

    ended: list[Ended]
    strict: FailingMirror
    seconds: float

    @property
    def rate(self) -> float:
        """Requests per second that the strict mirror got."""
        return len(self.strict.asked) / self.seconds

    @property
    def lost(self) -> list[Ended]:
        """Neither a whole answer nor a clear error."""
        return [one for one in self.ended if one.outcome not in ("whole", "error")]


async def overload(
    directory: Path,
    *,
    generous: int,
    seconds: float,
    meanwhile: Meanwhile | None = None,
    limited: bool = True,
) -> Overload:
    """A mirror that bans above its limits, and far more callers than that.

    It stands alone or beside generous ones. `limited`: the configuration has its limits.
    """
    async with AsyncExitStack() as stack:
        strict = FailingMirror("strict", bans_above=(CONNECTIONS, RATE))
        mirrors = [strict, *(FailingMirror(f"generous-{number}") for number in range(generous))]
        for mirror in mirrors:
            await stack.enter_async_context(mirror)
        limits = LIMITS if limited else {}
        instance = await stack.enter_async_context(
            instance_before(mirrors, directory, limits=limits, queue=QUEUE)
        )
        began = time.monotonic()
        async with OpenLoad(instance.base_url, OFFERED) as load:
            if meanwhile is not None:
                await meanwhile(instance)
            await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        return Overload(load.ended, strict, time.monotonic() - began)
