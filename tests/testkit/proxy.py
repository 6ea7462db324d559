"""A proxy elsewhere: SOCKS5 and HTTP CONNECT on one port, with a password and routes of its own.

async with Proxy(routes={("127.0.0.2", 443): ("127.0.0.1", 8443)}) as proxy:
    proxy.url("socks5")  # from there 127.0.0.2:443 leads to the real server
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Mapping
from typing import Self

from tests.testkit.ports import HOST

USER, PASSWORD = "probe", "pass-word-of-a-proxy"
Address = tuple[str, int]


class Proxy:
    """Answers whoever knows the password; `asked` has the targets in order."""

    def __init__(self, routes: Mapping[Address, Address] | None = None) -> None:
        self.routes = dict(routes or {})
        self.asked: list[Address] = []
        self.port = 0

    def url(self, scheme: str, password: str = PASSWORD) -> str:
        """As `monitor.vantages` has it."""
        return f"{scheme}://{USER}:{password}@{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            first = await reader.readexactly(1)
            meet = self._socks if first == b"\x05" else self._http
            if (upstream := await meet(reader, writer)) is None:
                return
            with contextlib.closing(upstream[1]):
                await asyncio.gather(_carry(reader, upstream[1]), _carry(upstream[0], writer))

    async def _open(
        self, target: Address
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self.asked.append(target)
        try:
            return await asyncio.open_connection(*self.routes.get(target, target))
        except OSError:
            return None

    async def _socks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(b"\x05\x02")
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        word = await reader.readexactly((await reader.readexactly(1))[0])
        if (user, word) != (USER.encode(), PASSWORD.encode()):
            writer.write(b"\x01\x01")
            await writer.drain()
            return None
        writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 1:
            host = ".".join(map(str, await reader.readexactly(4)))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        upstream = await self._open((host, int.from_bytes(await reader.readexactly(2))))
        writer.write(bytes([5, 0 if upstream else 5, 0, 1, 0, 0, 0, 0, 0, 0]))
        await writer.drain()
        return upstream

    async def _http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        known = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if known not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            await writer.drain()
            return None
        host, _, port = head.split()[1].rpartition(":")
        upstream = await self._open((host.strip("[]"), int(port)))
        status = b"200 OK" if upstream else b"502 Bad Gateway"
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n")
        await writer.drain()
        return upstream


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
