"""Files that pages load, from `dashboard/static/`; their addresses change with their content."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from aiohttp import web

from dashboard.common.answers import Answer, respond

AGE = 86400
TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "png": "image/png",
    "svg": "image/svg+xml",
}
THEME_SCRIPT = (
    "(d=>{d.script='';try{d.theme=localStorage.theme||''}catch{}})"
    "(document.documentElement.dataset)"
)
"""The one script inside pages: a remembered theme must hold before anything is drawn. It says too
that scripts run, so that controls without a use otherwise are shown only then."""
THEME_SCRIPT_HASH = base64.b64encode(hashlib.sha256(THEME_SCRIPT.encode()).digest()).decode()


@cache
def assets() -> dict[str, Answer]:
    """The files by name."""
    folder = resources.files("dashboard") / "static"
    return {entry.name: _asset(entry.name, entry.read_bytes()) for entry in folder.iterdir()}


def address(name: str) -> str:
    """The address of a file, with a part that changes with its content."""
    return f"/static/{name}?v={assets()[name].tag[:8]}"


def add_routes(app: web.Application) -> None:
    """The addresses below /static/."""
    app.router.add_get("/static/{name}", serve)


async def serve(request: web.Request) -> web.StreamResponse:
    """One file."""
    found = assets().get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return respond(request, found, AGE)


def _asset(name: str, content: bytes) -> Answer:
    tag = base64.b32encode(hashlib.blake2b(content, digest_size=15).digest()).decode().lower()
    return Answer(content, TYPES[name.rpartition(".")[2]], tag)
