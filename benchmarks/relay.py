"""The floor: a byte relay on uvloop that parses nothing. `python -m benchmarks.relay`.

What it costs, every proxy on this event loop has to pay; the rest is what the proxy does.
"""

import argparse
import asyncio
import functools
import ssl
from pathlib import Path

import uvloop


class Side(asyncio.Protocol):
    """One end of a pair of connections; what it reads goes out at the other end."""

    other: "Side"

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.writelines(self._waiting)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        self.other.send(data)

    def send(self, data: bytes) -> None:
        if self.transport is None:  # still connecting
            self._waiting.append(data)
        else:
            self.transport.write(data)

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other.transport is not None:
            self.other.transport.close()


class Client(Side):
    """The client's end: it opens the other one."""

    def __init__(self, upstream_port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._upstream_port, self._tls = upstream_port, tls
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.other = Side()
        self.other.other = self
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: self.other,
                "127.0.0.1",
                self._upstream_port,
                ssl=self._tls,
                server_hostname="localhost" if self._tls else None,
            )
        except OSError:
            self.transport.close()


async def serve(port: int, upstream_port: int, ca_file: Path | None) -> None:
    """Relay until the process is ended."""
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    make = functools.partial(Client, upstream_port, tls)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(make, "127.0.0.1", port, backlog=4096) as server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.relay")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    parser.add_argument("--ca-file", type=Path)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.upstream_port, arguments.ca_file))


if __name__ == "__main__":
    main()
