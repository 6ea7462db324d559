"""A TLS server on the loopback address that says one thing, or nothing at all."""

import asyncio
import ssl
from types import TracebackType
from typing import Self

from tests.testkit.censor.talks import Talks


class TlsServer:
    """Shakes hands and keeps what it is told; a context manager.

    With an `answer` it says that to the first bytes, and closes. Without one it can take the
    place of a server to whom nothing must be said.
    """

    def __init__(
        self, context: ssl.SSLContext, answer: bytes = b"", host: str = "127.0.0.1"
    ) -> None:
        self._context, self._answer, self._host = context, answer, host
        self._server: asyncio.Server | None = None
        self._talks = Talks(self._talk)
        self.heard = b""
        """Everything that was said to it within TLS, if it does not answer."""

    @property
    def address(self) -> tuple[str, int]:
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()
        return host, port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._talks.begin, self._host, 0, ssl=self._context, backlog=1024
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._talks.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._answer:
                writer.write(self._answer)
                writer.close()
                await writer.wait_closed()
                return
            self.heard += data
