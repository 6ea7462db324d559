"""Serving the dashboard's applications on real sockets."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, UnixConnector, web

from dashboard.common.connections import Gate, serve
from tests.testkit.ports import HOST, free_port

BROWSER = {"Accept": "text/html,*/*;q=0.8", "User-Agent": "Mozilla/5.0"}


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[ClientSession]:
    """A client of `app` on a TCP port of the loopback address."""
    async with _running(app) as runner:
        port = free_port()
        await web.TCPSite(runner, HOST, port).start()
        async with ClientSession(f"http://{HOST}:{port}") as client:
            yield client


@asynccontextmanager
async def listening(app: web.Application, gate: Gate | None) -> AsyncIterator[int]:
    """The port of `app`, served as control does."""
    sock = socket.create_server((HOST, 0))
    async with AsyncExitStack() as stack:
        await serve(app, sock, stack, gate)
        yield sock.getsockname()[1]


@asynccontextmanager
async def serving_on_unix_socket(app: web.Application, path: Path) -> AsyncIterator[ClientSession]:
    """A client of `app` on a Unix socket."""
    async with _running(app) as runner:
        await web.UnixSite(runner, str(path)).start()
        connector = UnixConnector(str(path))
        async with ClientSession("http://localhost", connector=connector) as client:
            yield client


@asynccontextmanager
async def _running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


async def ask(client: ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    """Ask for JSON: the status, and what was told."""
    async with client.request(method, path, **more) as response:
        return response.status, await response.json()
