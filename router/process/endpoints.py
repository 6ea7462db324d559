"""The API listener's own pages: liveness, readiness, the legacy interface, what an issued key has
used, what this is, and a helpful 404.

Connections come here from the `ClientConnection` for life, so every answer ends its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from router.admission.credentials import Caller
from router.forwarding.client_connection import LINGER
from router.forwarding.config import LEGACY_PATHS
from router.forwarding.context import WorkerContext
from router.forwarding.local_handler import LocalHandler
from router.forwarding.local_response import ban_problem
from router.forwarding.recent_requests import Alike
from router.forwarding.request_context import RequestContext
from router.forwarding.response_inspection import outcome_of
from router.forwarding.stats import Finished
from router.process import billing, legacy_chat
from router.process.billing import Asker
from router.process.control_questions import ControlQuestions
from router.process.legacy_answers import Fault, answer, done, failed, fault_of_problem
from router.process.legacy_message import checked_key, longest_body, read_message
from router.upstream import image_links
from router.upstream.upstream import FALLBACK_RANKS, ON_TRIAL
from router.wire import cors
from router.wire.error_response import CONTINUE, Problem
from router.wire.request import MAX_FIELD, RequestHead
from router.wire.target import forward_target

_CORS = {"access-control-allow-origin": "*"}
_CONTEXT = web.AppKey("context", WorkerContext)
_QUESTIONS = web.AppKey("questions", ControlQuestions)
_BILLING = "/v1/dashboard/billing/"
_ID = "x-mirrorgate-request-id"
_PLAIN = ("", "identity")
_LONGEST_BODY = 10.0
"""Seconds for the body of a message; less than `LocalHandler` leaves it, so that it is answered."""


def build_app(context: WorkerContext, questions: ControlQuestions | None = None) -> web.Application:
    """The application of one worker."""
    app = web.Application(middlewares=[_ends_connection, _answers_preflights])
    app[_CONTEXT] = context
    app[_QUESTIONS] = questions or ControlQuestions()
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    for path in ("/", "/v1", "/v1/"):
        app.router.add_get(path, _root)
    app.router.add_route("*", legacy_chat.PATH, _legacy_chat, expect_handler=_expected)
    app.router.add_route("*", billing.PATH, _balance, expect_handler=_expected)
    app.router.add_get("/{before:[v1/]*}dashboard/billing/{page}", _bill)
    app.router.add_route("*", "/{path:.*}", _unknown)
    return app


def build_runner(app: web.Application) -> web.AppRunner:
    """Serves an application to `LocalHandler`s: takes every head that a `ClientConnection` takes,
    and no compressed body."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=15,
        lingering_time=LINGER,
        max_line_size=MAX_FIELD,
        max_field_size=MAX_FIELD,
        auto_decompress=False,
    )


async def _expected(request: web.Request) -> None:
    """Let the body come; an expectation of another kind is none, as it is for a mirror."""
    known = request.headers["expect"].lower() == "100-continue"
    if known and request.version == HttpVersion11:
        await request.writer.write(CONTINUE)


@web.middleware
async def _ends_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.force_close()
        raise
    response.force_close()
    return response


@web.middleware
async def _answers_preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer preflights of any path, or a browser would not let its page read what we say there."""
    if request.method != "OPTIONS":
        return await handler(request)
    origins: tuple[str, ...] = ("*",)
    if request.path.startswith(LEGACY_PATHS):
        origins = request.app[_CONTEXT].router.cors_origins
    fields = cors.preflight_fields(_look(request), origins)
    headers = {name.decode(): value.decode("latin-1") for name, value in fields}
    return web.Response(status=204, headers=headers)


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"}, headers=_CORS)


async def _readyz(request: web.Request) -> web.Response:
    context = request.app[_CONTEXT]
    serving = sorted(upstream.id for upstream in context.upstreams if upstream.available)
    tried = FALLBACK_RANKS[: FALLBACK_RANKS.index(ON_TRIAL)]
    last_resort = [] if serving else [u.id for u in context.upstreams if u.fallback_rank in tried]
    status = _status(context, bool(serving or last_resort))
    body = {"status": status, "mirrors": len(serving)}
    if last_resort:
        body["last_resort"] = len(last_resort)
    return web.json_response(body, status=200 if status == "ready" else 503, headers=_CORS)


def _status(context: WorkerContext, served: bool) -> str:
    """Why this worker is not ready, or "ready"."""
    if context.missing:
        return f"{' and '.join(sorted(context.missing))} have not come from the control process yet"
    return "ready" if served and not context.draining else "no mirror can serve"


async def _root(request: web.Request) -> web.Response:
    context = request.app[_CONTEXT]
    if context.config.public_url:
        raise web.HTTPFound(context.config.public_url)
    return web.Response(text=_greeting(request, context), headers=_CORS)


def _greeting(request: web.Request, context: WorkerContext) -> str:
    base = context.address.base_url(*_called_as(request))
    return (
        "This is mirrorgate: one address in front of many OpenAI API mirrors.\n"
        f"Use it as the base URL of any OpenAI SDK: {base}\n\n"
        "这里是 mirrorgate：一个地址，多个 OpenAI API 镜像。\n"
        f"把任何 OpenAI SDK 的 base URL 设为：{base}\n"
    )


async def _legacy_chat(request: web.Request) -> web.Response:
    context, questions = request.app[_CONTEXT], request.app[_QUESTIONS]

    async def made(asker: Asker) -> tuple[str, dict[str, str]]:
        if request.method != "POST":
            raise Fault(405, "Only POST is allowed here.", fields={"allow": "POST, OPTIONS"})
        kind, most = request.headers.get("content-type", ""), context.config.legacy.content
        message = read_message(kind, await _body(request, longest_body(most)), most)
        _stay(request, legacy_chat.STAY, asker)
        return await legacy_chat.talk(context, questions, message, asker.client, asker.look)

    return await _legacy(request, made, legacy_chat.ENDPOINT, legacy_chat.SUCCESSOR)


async def _body(request: web.Request, most: int) -> bytes:
    """The body. Raises Fault if it has more bytes than that, is compressed, or does not come: what
    is no chunk does not either."""
    if request.headers.get("content-encoding", "").lower() not in _PLAIN:
        raise Fault(415, "The body must not be compressed.")
    body = bytearray()
    try:
        async with asyncio.timeout(_LONGEST_BODY):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > most:
                    raise Fault(413, f"The body has more than {most} bytes.")
    except TimeoutError:
        raise Fault(408, "The body did not come in time, or its chunks are broken.") from None
    return bytes(body)


async def _balance(request: web.Request) -> web.Response:
    context, questions = request.app[_CONTEXT], request.app[_QUESTIONS]

    async def made(asker: Asker) -> tuple[str, dict[str, str]]:
        if request.method not in ("GET", "HEAD"):
            raise Fault(405, "Only GET is allowed here.", fields={"allow": "GET, HEAD, OPTIONS"})
        key = checked_key(_key_of(request))
        _stay(request, billing.STAY, asker)
        data, fields = await billing.of_key(context, questions, key, asker)
        return done(data), fields

    return await _legacy(request, made, billing.ENDPOINT, f"/v1{billing.SUBSCRIPTION}")


def _key_of(request: web.Request) -> str:
    """The key in the Authorization field, or else in the query."""
    kind, _, key = request.headers.get("authorization", "").strip().partition(" ")
    return key.strip() if kind.lower() == "bearer" and key else request.query.get("apiKey", "")


async def _legacy(
    request: web.Request,
    made: Callable[[Asker], Awaitable[tuple[str, dict[str, str]]]],
    endpoint: str,
    successor: str,
) -> web.Response:
    """The answer that `made` makes, or the error, in the legacy shape."""
    context = request.app[_CONTEXT]
    if not context.router.legacy:
        return await _unknown(request)
    began, asker = context.clock(), _asker(request)
    origin = asker.look.get(b"origin")
    status = 200
    try:
        _check_ban(context, asker)
        body, fields = await made(asker)
    except Fault as fault:
        status, body, fields = fault.status, failed(fault), fault.fields
    handler = _handler(request)
    if handler is not None:
        handler.answered()
    if _ID not in fields:  # else a request of ours was counted
        fields |= _count(request, asker, endpoint, request.path, status, began)
    return answer(context, origin, successor, fields, body, status)


def _check_ban(context: WorkerContext, asker: Asker) -> None:
    """Raise Fault if the client is banned: a `ClientConnection` would say so in another shape."""
    problem = ban_problem(context, asker.client)
    if problem is not None:
        context.stats.rejected(problem.code)
        raise fault_of_problem(problem)


async def _bill(request: web.Request) -> web.Response:
    """A page of OpenAI's old billing API for an issued key."""
    context, asker = request.app[_CONTEXT], _asker(request)
    began, look, raw = context.clock(), asker.look, request.raw_path.encode("latin-1", "replace")
    target = forward_target(raw, context.prefixes, context.router.forgiving_paths)
    if target is None or not target.startswith(_BILLING.encode()):
        return await _unknown(request)
    head = RequestHead(b"GET", target, [], dict(look))
    asked = RequestContext(context.config, head, target, asker.client)
    if asked.caller is not Caller.issued or asked.problem is not None:
        return await _unknown(request)
    page, questions = request.match_info["page"], request.app[_QUESTIONS]
    told = await billing.page_of_key(context, questions, asked, asker, page, request.query)
    fields = cors.response_fields(look.get(b"origin"), context.router.cors_origins)
    status, body = 200, told.encode() if isinstance(told, str) else b""
    if isinstance(told, Problem):
        status, body = told.status, told.body()
        fields += told.fields()
    headers = {name.decode(): value.decode("latin-1") for name, value in fields}
    headers |= {"cache-control": "no-store", "content-type": "application/json"}
    headers |= _count(request, asker, "dashboard", _BILLING, status, began)
    return web.Response(body=body, status=status, headers=headers)


def _count(
    request: web.Request, asker: Asker, endpoint: str, path: str, status: int, began: float
) -> dict[str, str]:
    """Count a request that no mirror was asked for; the fields that name it. `path` is what the
    access log says of it."""
    context = request.app[_CONTEXT]
    request_id, seconds = context.next_id(), context.clock() - began
    received = request.content.total_bytes  # a length that is told may be anything
    alike: Alike = ("", endpoint, status, outcome_of(status), False)
    context.stats.finished(request_id, alike, False, seconds, received, 0)
    if context.access is not None:
        address, method = asker.client.address, request.method.encode()
        end = Finished(request_id, address, method, path.encode(), *alike, 0, seconds, received, 0)
        context.access(end)
    return dict.fromkeys(("x-request-id", _ID), request_id.decode())


def _asker(request: web.Request) -> Asker:
    look, context = _look(request), request.app[_CONTEXT]
    return Asker(context.recognise(_peer(request), look), look)


def _peer(request: web.Request) -> str:
    """The address of the connection's other end."""
    handler = _handler(request)
    return handler.client if handler is not None else request.remote or "local"


def _look(request: web.Request) -> Mapping[bytes, bytes]:
    """The fields by lower-case name."""
    look: dict[bytes, bytes] = {}
    for name, value in request.raw_headers:
        lower = name.lower()
        look[lower] = b", ".join((look[lower], value)) if lower in look else value
    return look


def _handler(request: web.Request) -> LocalHandler | None:
    transport = request.transport
    protocol = transport.get_protocol() if transport is not None else None
    return protocol if isinstance(protocol, LocalHandler) else None


def _stay(request: web.Request, seconds: float, asker: Asker) -> None:
    """Let the connection be as long as the answer may take."""
    handler = _handler(request)
    if handler is not None:
        handler.stay(seconds, asker.client)


async def _unknown(request: web.Request) -> web.Response:
    address = request.app[_CONTEXT].address
    message = f"Nothing is served at this path. {address.advice(*_called_as(request))}"
    if request.raw_path.encode("latin-1", "replace").startswith(image_links.PATH):
        message = "This link to an image is invalid or has expired: ask for the image again."
    problem = Problem(404, "unknown_url", message)
    return web.Response(
        body=problem.body(), status=404, content_type="application/json", headers=_CORS
    )


def _called_as(request: web.Request) -> tuple[str, str]:
    """Scheme and host by which the client called."""
    context, transport = request.app[_CONTEXT], request.transport
    if transport is None:
        return request.scheme, request.host
    return context.scheme(_peer(request), _look(request), transport), request.host
