"""Questions to Valkey or Redis, and what hosts tell each other through it.

Each question is one script: it is decided at one moment, by the server's clock, whoever asks.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from monitor.common.ipc import Message
from router.cluster.address import Address
from router.cluster.leases import Answer, Ask, Standing
from router.cluster.server import ANSWERS_WITHIN, Server

SILENT_AFTER = 10.0
"""Seconds after which a host that says nothing has no shares any more, by the server's clock."""
KEPT_FOR = 30.0
"""Seconds for which a limit is remembered that nobody asks about."""
HEARD_WITHIN = 3.0
"""Seconds within which a subscription brings something: every host calls every second."""

_BEAT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 3600)
redis.call('PUBLISH', ARGV[2], ARGV[3])
local answer = redis.call('ZRANGEBYSCORE', KEYS[1], now - tonumber(ARGV[4]), '+inf')
table.insert(answer, 1, time[1] .. '.' .. string.format('%06d', time[2]))
return answer
"""

_EXCHANGE = """
local me, limit, want, units, held = ARGV[1], unpack({tonumber(ARGV[2]), tonumber(ARGV[3]),
  tonumber(ARGV[4]), tonumber(ARGV[5])})
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZADD', KEYS[1], now, me)
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], now - tonumber(ARGV[7]), '+inf')
local even = math.ceil(limit / math.max(#alive, tonumber(ARGV[6])))
local fields, known = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #fields, 2 do known[fields[i]] = fields[i + 1] end
local before, others, unmet, more, answer = even, 0, false, false, {}
for _, host in ipairs(alive) do
  local share, wants = even, 0
  if known[host] then
    share, wants = string.match(known[host], '(%d+) (%d+)')
    share, wants = tonumber(share), tonumber(wants)
    known[host] = nil
  end
  if host == me then
    before = share
  else
    others = others + share
    unmet = unmet or wants > share
    more = more or wants > even or share > even
    table.insert(answer, host)
    table.insert(answer, share)
    table.insert(answer, wants)
  end
end
for host in pairs(known) do redis.call('HDEL', KEYS[2], host) end
local share = math.max(held, math.min(units, limit - others), 0)
local free = 0
if more or share > even or want > even then
  redis.call('HSET', KEYS[2], me, share .. ' ' .. want)
  redis.call('PEXPIRE', KEYS[2], ARGV[8])
else
  free = 1
  redis.call('DEL', KEYS[2])
end
if share < before and unmet then
  redis.call('PUBLISH', ARGV[9], ARGV[10] .. ' 0')
elseif ARGV[11] == '1' and share < want and others > 0 then
  redis.call('PUBLISH', ARGV[9], ARGV[10] .. ' 1')
end
table.insert(answer, 1, free)
table.insert(answer, 1, share)
return answer
"""


class Unreachable(Exception):
    """Valkey does not answer, or refuses; the message says why."""


class MissingPart(Exception):
    """The client of Valkey is not installed; the message says what to do."""


class Valkey:
    """One connection for questions and one that listens."""

    def __init__(
        self,
        address: Address,
        prefix: str,
        host: str,
        expected: int,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`prefix` begins all names; `host` is ours; `expected`: of hosts, at least."""
        self.ahead = 0.0
        """Seconds that this host's clock was ahead of the server's at the last beat, give or take
        half the way there and back."""
        self._wall = wall
        tagged = f"{{{prefix}}}"  # in Valkey Cluster, all names of one tag are on one node
        self._hosts = f"{tagged}:hosts"
        self._server = Server(address, self._hosts)
        self._share = f"{tagged}:share:"
        self._channel = f"{prefix}:news"
        self._shares_channel = f"{prefix}:shares"
        self._host = host
        self._expected = expected
        self._scripts: tuple[str, str] | None = None

    async def reach(self) -> str:
        """Where the server is that answers and takes our scripts."""
        await self._loaded()
        with _failures():
            return await self._server.place()

    async def beat(self) -> list[str]:
        """Say that this host lives; the names of all that do."""
        beat, _ = await self._loaded()
        call = json.dumps({"from": self._host, "type": "beat"})
        with _failures():
            client = await self._server.client()
            async with asyncio.timeout(ANSWERS_WITHIN):
                before = self._wall()
                answer: list[str] = await client.evalsha(
                    beat, 1, self._hosts, self._host, self._channel, call, SILENT_AFTER
                )
        self.ahead = (before + self._wall()) / 2 - float(answer[0])
        return answer[1:]

    async def exchange(self, asks: Sequence[Ask]) -> list[Answer]:
        """Ask for shares, all in one round trip."""
        _, exchange = await self._loaded()
        with _failures():
            client = await self._server.client()
            async with asyncio.timeout(ANSWERS_WITHIN), client.pipeline(False) as pipeline:
                for ask in asks:
                    name, key = ask.name, ask.name.key.hex()
                    pipeline.evalsha(
                        exchange,
                        2,
                        self._hosts,
                        f"{self._share}{name.kind}:{key}",
                        self._host,
                        ask.limit,
                        ask.want,
                        ask.units,
                        ask.held,
                        self._expected,
                        SILENT_AFTER,
                        int(KEPT_FOR * 1000),
                        self._shares_channel,
                        f"{self._host} {name.kind} {key} {ask.limit} {ask.tolerance!r}",
                        int(ask.announce),
                    )
                return [_answer(rows) for rows in await pipeline.execute()]

    async def tell(self, message: Message) -> None:
        """Tell all other hosts."""
        text = json.dumps({**message, "from": self._host})
        with _failures():
            client = await self._server.client()
            async with asyncio.timeout(ANSWERS_WITHIN):
                await client.publish(self._channel, text)

    async def leave(self) -> None:
        """Say that this host ends."""
        with _failures():
            client = await self._server.client()
            async with asyncio.timeout(ANSWERS_WITHIN):
                await client.zrem(self._hosts, self._host)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[AsyncIterator[Message]]:
        """Messages of all hosts, from now on; Unreachable when nothing is heard."""
        with _failures():
            client = await self._server.client()
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        try:
            with _failures():
                async with asyncio.timeout(ANSWERS_WITHIN):
                    await pubsub.subscribe(self._channel, self._shares_channel)
            yield self._heard(pubsub)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _heard(self, pubsub: Any) -> AsyncIterator[Message]:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            with _failures():
                found = await pubsub.get_message(timeout=HEARD_WITHIN)
            if found is not None:
                last = loop.time()
                message = self._read(found["channel"], found["data"])
                if message["from"] != self._host:
                    yield message
            elif loop.time() - last >= HEARD_WITHIN:
                raise Unreachable("the subscription is silent")

    def _read(self, channel: str, text: str) -> Message:
        if channel == self._channel:
            message: Message = json.loads(text)
            return message
        host, kind, key, limit, tolerance, wanted = text.rsplit(" ", 5)
        return {
            "from": host,
            "type": "share",
            "kind": kind,
            "key": key,
            "limit": int(limit),
            "tolerance": float(tolerance),
            "wanted": wanted == "1",
        }

    async def _loaded(self) -> tuple[str, str]:
        if self._scripts is None:
            with _failures():
                client = await self._server.client()
                async with asyncio.timeout(ANSWERS_WITHIN):
                    beat = await client.script_load(_BEAT)
                    self._scripts = beat, await client.script_load(_EXCHANGE)
        return self._scripts

    def forget(self) -> None:
        """Begin anew after a failure: the server may be another one, without our scripts."""
        self._scripts = None
        self._server.forget()

    async def close(self) -> None:
        """Close all connections."""
        await self._server.close()


def connect(url: str, prefix: str, host: str, expected: int) -> Valkey:
    """A client of this server, which connects when it is used. Raises MissingPart."""
    if importlib.util.find_spec("redis") is None:
        raise MissingPart(
            "cluster.url needs redis-py: pip install redis, "
            'or install mirrorgate with its extra "cluster"'
        )
    return Valkey(Address.of(url), prefix, host, expected)


@contextmanager
def _failures() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except TimeoutError as error:
        raise Unreachable(f"no answer within {ANSWERS_WITHIN:g} s") from error
    except (RedisError, OSError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


def _answer(rows: Sequence[Any]) -> Answer:
    share, free, *others = rows
    found = zip(others[::3], others[1::3], others[2::3], strict=True)
    return Answer(share, bool(free), {host: Standing(s, w) for host, s, w in found})
