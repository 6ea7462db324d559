"""A receiver of notifications."""

import asyncio
import json
from concurrent.futures import Future
from threading import Thread
from typing import Any, Self

from aiohttp import web


class Hook:
    """A webhook in a thread of its own; `answers` are given in turn, then 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[web.Response] = []
        self._port: Future[int] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.result(20)}/hook?token=t0ken"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Changes of messages that were answered well."""
        return [change for message in self.messages for change in message["changes"]]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    async def _take(self, request: web.Request) -> web.Response:
        if self.answers:
            await request.read()
            return self.answers.pop(0)
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    def _run(self) -> None:
        async def serve() -> web.AppRunner:
            app = web.Application()
            app.router.add_post("/hook", self._take)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._port.set_result(runner.addresses[0][1])
            return runner

        runner = self._loop.run_until_complete(serve())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()
