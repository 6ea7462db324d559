"""A process of a client that floods with requests which are answered without a mirror.

`python -m tests.testkit.flood PORT SOURCE CONNECTIONS` pipelines requests without a key from the
address SOURCE on so many connections until its standard input ends.
"""

import asyncio
import sys

PIPELINED = 16
REQUESTS = b"GET /v1/models HTTP/1.1\r\nHost: test\r\n\r\n" * PIPELINED
PAUSE = 0.01


async def _flood(port: int, source: str) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(source, 0), limit=1 << 20
    )
    try:
        while True:
            writer.write(REQUESTS)
            for _ in range(PIPELINED):
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
    finally:
        writer.close()


async def _again(port: int, source: str) -> None:
    while True:
        try:
            await _flood(port, source)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(PAUSE)


async def main() -> None:
    port, source, connections = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    flooding = [asyncio.create_task(_again(port, source)) for _ in range(connections)]
    await asyncio.to_thread(sys.stdin.read)
    for task in flooding:
        task.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
