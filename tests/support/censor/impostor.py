"""A TLS server with a certificate of its own choice, which a censor can divert connections to."""

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Self


class Impostor:
    """Shakes hands, keeps what it is told, and never answers; a context manager."""

    def __init__(self, context: ssl.SSLContext, host: str = "127.0.0.1") -> None:
        self._context, self._host = context, host
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.heard = b""
        """Everything that was said to it within TLS: nobody should."""

    @property
    def address(self) -> tuple[str, int]:
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, self._host, 0, ssl=self._context)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        talks = list(self._talks)
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    self.heard += data
        finally:
            self._talks.discard(task)
            writer.transport.abort()
