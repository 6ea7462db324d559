"""The open connections of a server: one task for each, which all end with the server."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Talks:
    """Owns the tasks and their connections; `begin` is what asyncio.start_server wants.

    asyncio's own task for a connection reports a fault when it is cancelled (until 3.12).
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def __iter__(self) -> Iterator[asyncio.StreamWriter]:
        """Yield those that are open."""
        return iter(list(self._open.values()))

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk on a new connection, and close it in the end whatever happens."""
        task = asyncio.create_task(self._run(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def close(self) -> None:
        """End all of them now."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for fault in ended:
            if isinstance(fault, Exception):
                raise fault

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()
