"""Answers of the admin API: JSON, and one sentence for what could not be done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from dashboard.admin.inputs import BadInput
from dashboard.common.sources import CommandError, NotThere

Handler = Callable[[web.Request], Awaitable[web.Response]]


def guarded(handler: Handler) -> Handler:
    """Bad input and failed commands become answers."""

    async def answering(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except BadInput as error:
            return fault(400, str(error))
        except NotThere as error:
            return fault(404, str(error))
        except CommandError as error:
            return fault(409, str(error))

    return answering


def as_json(value: dict[str, Any], status: int = 200) -> web.Response:
    """A document."""
    return _response(_written(value), status)


async def as_long_json(value: dict[str, Any]) -> web.Response:
    """A document that may be so long that it is written beside the event loop."""
    return _response(await asyncio.to_thread(_written, value), 200)


def _written(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _response(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def fault(status: int, message: str) -> web.Response:
    """One sentence on what went wrong."""
    return as_json({"error": {"message": message}}, status=status)
