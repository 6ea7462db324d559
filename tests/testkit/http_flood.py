"""A client process that asks again at once, on many connections, whatever the answer.

`python -m tests.testkit.http_flood PORT SOURCE CONNECTIONS [--key KEY] [--pipelined N] [--pause S]`
says "ready"; after a line of input it sends GET requests from the address SOURCE on so many
connections until its input ends, and prints how often each status came. `--pause`: the seconds
after an answer that is no 200.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter

RECONNECT = 0.01
"""Seconds until a connection that broke is made anew."""


class Flood:
    """Requests that are sent over and over, and the answers by status."""

    def __init__(self, options: argparse.Namespace) -> None:
        key = f"Authorization: Bearer {options.key}\r\n" if options.key else ""
        request = (
            f"GET /v1/models HTTP/1.1\r\nHost: test\r\n{key}X-Source: {options.source}\r\n\r\n"
        )
        self._requests = request.encode() * options.pipelined
        self._options = options
        self.statuses: Counter[int] = Counter()

    async def run(self) -> None:
        """Ask on one connection after the other, without end."""
        while True:
            try:
                await self._ask()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(max(self._options.pause, RECONNECT))

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self._options.port,
            local_addr=(self._options.source, 0),
            limit=1 << 20,
        )
        try:
            while True:
                writer.write(self._requests)
                for _ in range(self._options.pipelined):
                    status = await self._status(reader)
                    self.statuses[status] += 1
                    if status != 200 and self._options.pause:
                        await asyncio.sleep(self._options.pause)
        finally:
            writer.close()

    @staticmethod
    async def _status(reader: asyncio.StreamReader) -> int:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        return int(head[9:12])


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("source")
    parser.add_argument("connections", type=int)
    parser.add_argument("--key", default="")
    parser.add_argument("--pipelined", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    flood = Flood(options)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    asking = [asyncio.create_task(flood.run()) for _ in range(options.connections)]
    await asyncio.to_thread(sys.stdin.read)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    print(json.dumps(flood.statuses), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
