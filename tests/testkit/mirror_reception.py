"""Every request's way through a pretend mirror: noted, read, spoilt or refused, answered."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from tests.testkit.mirror_behaviour import Behaviour, Record, Seen
from tests.testkit.mirror_billing import Bill
from tests.testkit.mirror_endpoints import Handler
from tests.testkit.mirror_sending import Asked, credentials, refusal, spoilt


class Reception:
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
        return refusal(404, f"Invalid URL ({seen.method} {seen.path})", "unknown_url")

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

    def _bill(self, asked: Asked, response: web.StreamResponse) -> None:
        if response.status == 200 and asked.seen.ended is None:
            model = asked.body.get("model", "")
            self.bill.add(asked.seen, asked.body, model, asked.behaviour.events)

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
            return spoilt(behaviour)
        if (refused := self._refusal(seen, body, fields, behaviour)) is not None:
            return refused
        asked = Asked(request, seen, behaviour, body)
        response = await handler(asked)
        self._bill(asked, response)
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
            return refusal(401, message)
        if absent := [name for name in fields if name not in body]:
            return refusal(400, f"Missing required parameter: '{absent[0]}'.", "missing_parameter")
        if behaviour.models and body.get("model", behaviour.models[0]) not in behaviour.models:
            return refusal(404, f"The model `{body['model']}` does not exist.")
        return None
