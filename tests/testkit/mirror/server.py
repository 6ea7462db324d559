"""A pretend mirror: an OpenAI-compatible server that can be told to misbehave.

In a test: `async with PretendMirror("alpha") as mirror: ... mirror.base_url ... mirror.seen()`.
As a program: `python -m tests.testkit.mirror.server --port 0`, which prints one JSON line with its
ports once it serves, and stops on SIGTERM. Every answer names the mirror in `x-test-mirror`.

`GET /_test/seen` lists the requests it saw, `DELETE /_test/seen` forgets them, `GET /_test/bill` is
what it billed (`billing.py`), and
`POST /_test/behaviour` sets switches of `Behaviour`. The program answers these on a port of its
own too, which works while the mirror refuses connections. A single request can set switches for
itself in the header `x-test-behaviour`, as JSON.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import signal
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from aiohttp import web

from tests.testkit.listener import Listener
from tests.testkit.mirror.behaviour import Behaviour, Record, Seen
from tests.testkit.mirror.billing import Bill
from tests.testkit.mirror.endpoints import (
    Call,
    Files,
    Handler,
    credentials,
    error_response,
    faulty_response,
    realtime,
    table,
)

TEST_KEY = "sk-test-0123456789"
HOST = "127.0.0.1"
MAX_BODY = 1 << 30

UPSTREAM_HEADERS = {
    "openai-version": "2020-10-01",
    "openai-processing-ms": "12",
    "x-ratelimit-remaining-requests": "199",
    "access-control-allow-origin": "https://mirror.invalid",
    "set-cookie": "__cf_bm=test; path=/; HttpOnly",
    "alt-svc": 'h3=":443"; ma=86400',
    "strict-transport-security": "max-age=31536000",
}
"""What comes with every answer: some of it must reach the client unchanged, some must not pass."""


class Dispatcher:
    """Knows the keys, the behaviour and the record; `"*"` among the keys takes any key."""

    def __init__(self, keys: tuple[str, ...], behaviour: Behaviour) -> None:
        self._keys = keys
        self._met = 0
        self.behaviour = behaviour
        self.record = Record()
        self.bill = Bill()

    def change(self, switches: Mapping[str, Any]) -> None:
        """Set switches of the behaviour; counting for `every` begins anew."""
        self.behaviour = self.behaviour.changed(switches)
        self._met = 0

    async def unknown(self, request: web.Request) -> web.StreamResponse:
        """Answer a path that no endpoint has."""
        seen = self._note(request)
        await self._read_body(request, seen)
        seen.end("answered")
        return error_response(404, f"Invalid URL ({seen.method} {seen.path})", "unknown_url")

    def served(
        self, handler: Handler, fields: tuple[str, ...]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            seen = self._note(request)
            try:
                response = await self._answer(request, seen, handler, fields)
            except (asyncio.CancelledError, ConnectionError):
                seen.end("gone")
                raise
            seen.end("answered")
            return response

        return serve

    def _bill(self, call: Call, response: web.StreamResponse) -> None:
        if response.status == 200 and call.seen.ended is None:
            model = call.body.get("model", "")
            self.bill.add(call.seen, call.body, model, call.behaviour.events)

    def _note(self, request: web.Request) -> Seen:
        key, carrier = credentials(request)
        peer = request.transport.get_extra_info("peername") if request.transport else ("", 0)
        seen = Seen(
            number=self.record.total + 1,
            method=request.method,
            path=request.raw_path,
            http_version=f"{request.version.major}.{request.version.minor}",
            headers=[(k.decode("latin-1"), v.decode("latin-1")) for k, v in request.raw_headers],
            key=key,
            carrier=carrier,
            peer=f"{peer[0]}:{peer[1]}",
        )
        self.record.add(seen)
        return seen

    async def _answer(
        self, request: web.Request, seen: Seen, handler: Handler, fields: tuple[str, ...]
    ) -> web.StreamResponse:
        body = await self._read_body(request, seen)
        behaviour = self._behaviour_for(request)
        await asyncio.sleep(behaviour.latency)
        if behaviour.status:
            return faulty_response(behaviour)
        if (refused := self._refusal(seen, body, fields, behaviour)) is not None:
            return refused
        call = Call(request, seen, behaviour, body)
        response = await handler(call)
        self._bill(call, response)
        return response

    async def _read_body(self, request: web.Request, seen: Seen) -> dict[str, Any]:
        """Read and note all but a multipart body, which its handler streams."""
        if request.content_type.startswith("multipart/"):
            return {}
        blob = await request.read()
        seen.body_bytes, seen.body_sha256 = len(blob), hashlib.sha256(blob).hexdigest()
        with contextlib.suppress(ValueError):
            parsed = json.loads(blob)
            return parsed if isinstance(parsed, dict) else {}
        return {}

    def _behaviour_for(self, request: web.Request) -> Behaviour:
        own = request.headers.get("x-test-behaviour")
        behaviour = self.behaviour.changed(json.loads(own)) if own else self.behaviour
        if not request.path.startswith(behaviour.only):
            return behaviour.without_faults()
        self._met += 1
        return behaviour if self._met % behaviour.every == 0 else behaviour.without_faults()

    def _refusal(
        self,
        seen: Seen,
        body: dict[str, Any],
        fields: tuple[str, ...],
        behaviour: Behaviour,
    ) -> web.Response | None:
        if "*" not in self._keys and seen.key not in self._keys:
            message = (
                "Incorrect API key provided." if seen.key else "You didn't provide an API key."
            )
            return error_response(401, message)
        if absent := [name for name in fields if name not in body]:
            return error_response(
                400, f"Missing required parameter: '{absent[0]}'.", "missing_parameter"
            )
        if behaviour.models and body.get("model", behaviour.models[0]) not in behaviour.models:
            return error_response(404, f"The model `{body['model']}` does not exist.")
        return None


class PretendMirror:
    """One mirror on a port of the loopback address; `key "*"` takes any key."""

    def __init__(
        self,
        name: str = "mirror",
        *,
        keys: Sequence[str] = (TEST_KEY,),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        root: str = "",
        behaviour: Behaviour | None = None,
        keepalive: float = 75.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.root = name, root
        self._dispatcher = Dispatcher(tuple(keys), behaviour or Behaviour())
        self._tls, self._wished_port = tls, port
        self._headers = {**UPSTREAM_HEADERS, **(headers or {})}
        self._runner = web.AppRunner(
            self._application(),
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=keepalive,
            access_log=None,
            shutdown_timeout=0.1,
        )
        self._listener: Listener | None = None

    @property
    def port(self) -> int:
        assert self._listener is not None, "not started"
        return self._listener.port

    @property
    def base_url(self) -> str:
        """Where it is, without /v1."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}{self.root}"

    @property
    def behaviour(self) -> Behaviour:
        return self._dispatcher.behaviour

    @property
    def record(self) -> Record:
        return self._dispatcher.record

    @property
    def bill(self) -> Bill:
        return self._dispatcher.bill

    async def start(self) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._listener = Listener(server, HOST, self._wished_port, self._tls)
        await self._listener.become("serve")
        if self.behaviour.listener != "serve":
            await self._listener.become(self.behaviour.listener)

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._drop_connections(None)
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def seen(self) -> list[Seen]:
        """Return the requests seen so far, oldest first (the last 2,000)."""
        return self.record.all()

    async def behave(self, **switches: Any) -> None:
        """Set switches of `Behaviour`; the others stay."""
        await self._change(switches, None)

    async def _change(self, switches: dict[str, Any], asking: web.Request | None) -> None:
        before = self.behaviour.listener
        self._dispatcher.change(switches)
        if self.behaviour.listener == before or self._listener is None:
            return
        await self._listener.become(self.behaviour.listener)
        if self.behaviour.listener != "serve":
            self._drop_connections(asking)

    def _drop_connections(self, spared: web.Request | None) -> None:
        server = self._runner.server
        for handler in list(server.connections) if server else ():
            if handler.transport is not None and (spared is None or handler is not spared.protocol):
                handler.transport.abort()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY)
        application.on_response_prepare.append(self._sign)
        application.add_routes(self.control_routes())
        for method, path, handler, fields in table(Files()):
            serve = self._dispatcher.served(handler, fields)
            application.router.add_route(method, self.root + path, serve)
            if method == "GET" and handler is not realtime:
                application.router.add_route("HEAD", self.root + path, serve)
        application.router.add_route("*", "/{tail:.*}", self._dispatcher.unknown)
        return application

    def control_routes(self) -> list[web.RouteDef]:
        """Return the routes by which tests ask and steer."""
        return [
            web.get("/_test/seen", self._tell_seen, allow_head=False),
            web.delete("/_test/seen", self._forget),
            web.get("/_test/bill", self._tell_bill, allow_head=False),
            web.get("/_test/behaviour", self._tell_behaviour, allow_head=False),
            web.post("/_test/behaviour", self._set_behaviour),
        ]

    async def _tell_seen(self, request: web.Request) -> web.Response:
        seen = [each.as_json() for each in self.record.all()]
        return web.json_response({"name": self.name, "total": self.record.total, "seen": seen})

    async def _forget(self, request: web.Request) -> web.Response:
        self.record.clear()
        return web.json_response({})

    async def _tell_bill(self, request: web.Request) -> web.Response:
        return web.json_response({"lines": self.bill.lines()})

    async def _tell_behaviour(self, request: web.Request) -> web.Response:
        return web.json_response(vars(self.behaviour))

    async def _set_behaviour(self, request: web.Request) -> web.Response:
        try:
            await self._change(await request.json(), request)
        except (TypeError, ValueError) as refused:
            return web.json_response({"error": str(refused)}, status=400)
        return web.json_response(vars(self.behaviour))

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-test-mirror"] = self.name
        response.headers.setdefault("x-request-id", f"req_{self.name}_{self.record.total}")
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)


async def _run(options: argparse.Namespace) -> None:
    leaf = (options.tls_cert, options.tls_key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if leaf[0] else None
    if tls is not None:
        tls.load_cert_chain(*leaf)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mirror = PretendMirror(
        options.name,
        keys=options.key or [TEST_KEY],
        port=options.port,
        tls=tls,
        root=options.root,
        behaviour=Behaviour().changed(json.loads(options.behaviour)),
    )
    async with mirror:
        control = web.Application()
        control.add_routes(mirror.control_routes())
        runner = web.AppRunner(control, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, options.control_port)
            await site.start()
            ports = {"port": mirror.port, "control_port": runner.addresses[0][1]}
            print(json.dumps({"name": mirror.name} | ports), flush=True)
            await stop.wait()
        finally:
            await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a pretend mirror as a program until SIGTERM."""
    parser = argparse.ArgumentParser(prog="tests.testkit.mirror.server", description=__doc__)
    parser.add_argument("--name", default="mirror")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--control-port", type=int, default=0, help="0: any free one")
    parser.add_argument("--key", action="append", help="a key to accept, or *; repeatable")
    parser.add_argument("--root", default="", help="path before /v1, e.g. /openai")
    parser.add_argument("--behaviour", default="{}", help="switches as JSON, e.g. {'latency': 2}")
    parser.add_argument("--tls-cert", default="")
    parser.add_argument("--tls-key", default="")
    asyncio.run(_run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
