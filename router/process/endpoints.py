"""The API listener's own pages: liveness, readiness, what this is, and a helpful 404.

Connections come here from the `Door` for life, so every answer ends its connection.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from router.forwarding.context import WorkerContext
from router.wire.error_response import Problem

_CORS = {"access-control-allow-origin": "*"}
_CONTEXT = web.AppKey("context", WorkerContext)


def build_app(context: WorkerContext) -> web.Application:
    """The application of one worker."""
    app = web.Application(middlewares=[_ends_connection])
    app[_CONTEXT] = context
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/", _root)
    app.router.add_route("*", "/{path:.*}", _unknown)
    return app


@web.middleware
async def _ends_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.force_close()
        raise
    response.force_close()
    return response


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"}, headers=_CORS)


async def _readyz(request: web.Request) -> web.Response:
    context = request.app[_CONTEXT]
    serving = sorted(upstream.id for upstream in context.upstreams if upstream.available)
    last_resort = [] if serving else [u.id for u in context.upstreams if u.fallback_rank]
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
    return web.Response(text=_greeting(request, context))


def _greeting(request: web.Request, context: WorkerContext) -> str:
    base = _base_url(request, context)
    return (
        "This is mirrorgate: one address in front of many OpenAI API mirrors.\n"
        f"Use it as the base URL of any OpenAI SDK: {base}\n\n"
        "这里是 mirrorgate：一个地址，多个 OpenAI API 镜像。\n"
        f"把任何 OpenAI SDK 的 base URL 设为：{base}\n"
    )


async def _unknown(request: web.Request) -> web.Response:
    base = _base_url(request, request.app[_CONTEXT])
    message = f"Nothing is served at this path. The base URL is {base}"
    problem = Problem(404, "unknown_url", message)
    return web.Response(
        body=problem.body(), status=404, content_type="application/json", headers=_CORS
    )


def _base_url(request: web.Request, context: WorkerContext) -> str:
    prefix = context.router.forward[0].rstrip("/")
    return f"{request.scheme}://{request.host}{prefix}"
