"""Clients that drip their request heads, as a program: `python -m tests.prove.slow_clients`.

Prints a line once all are connected, and when the last one has been turned away a JSON line with
how many got a 408.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random

_PAUSE = 0.5
_BEGINNING = b"GET /v1/models HTTP/1.1\r\nX: "


async def _drip(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(random.random() * _PAUSE)  # in step they would come as one burst
    while True:
        writer.write(b"x")
        await asyncio.sleep(_PAUSE)


async def _client(port: int, connected: asyncio.Barrier) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_BEGINNING)
    await connected.wait()
    dripping = asyncio.ensure_future(_drip(writer))
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        dripping.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def run(port: int, count: int) -> None:
    """Let so many clients drip until the last one is turned away."""
    connected = asyncio.Barrier(count + 1)
    clients = [asyncio.ensure_future(_client(port, connected)) for _ in range(count)]
    await connected.wait()
    print("dripping", flush=True)
    ends = await asyncio.gather(*clients)
    print(json.dumps({"turned_away": sum(b" 408 " in end for end in ends)}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.port, arguments.count))
