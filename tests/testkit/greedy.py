"""A process of a greedy client: asks again at once, whatever the answer.

`python -m tests.testkit.greedy PORT SOURCE CONNECTIONS` sends GET requests from the address SOURCE
on so many connections until its standard input ends; then it prints how often each status came.
"""

import asyncio
import json
import sys
from collections import Counter

PAUSE = 0.05
"""Seconds between a refusal and the next try."""


async def _ask(port: int, source: str, statuses: Counter[int]) -> None:
    request = (
        f"GET /v1/models HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer sk-test\r\n"
        f"X-Greedy: {source}\r\n\r\n"
    ).encode()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(source, 0), limit=1 << 16
    )
    try:
        while True:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            statuses[status] += 1
            if status != 200:
                await asyncio.sleep(PAUSE)
    finally:
        writer.close()


async def _again(port: int, source: str, statuses: Counter[int]) -> None:
    while True:
        try:
            await _ask(port, source, statuses)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(PAUSE)


async def main() -> None:
    port, source, connections = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    statuses: Counter[int] = Counter()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    asking = [asyncio.create_task(_again(port, source, statuses)) for _ in range(connections)]
    await asyncio.to_thread(sys.stdin.read)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
