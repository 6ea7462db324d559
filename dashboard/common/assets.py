"""Files that pages load, from `dashboard/static/`; their addresses change with their content."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache, partial
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


DESK = "admin"
"""The part of the files that only the admin listener has."""


@cache
def assets(part: str = "") -> dict[str, Answer]:
    """The files of a part, by name."""
    folder = resources.files("dashboard") / "static" / part
    files = (entry for entry in folder.iterdir() if entry.is_file())
    return {entry.name: _asset(entry.name, entry.read_bytes()) for entry in files}


def address(name: str, part: str = "") -> str:
    """The address of a file, with a part that changes with its content."""
    return f"{'/' + part if part else ''}/static/{name}?v={assets(part)[name].tag[:8]}"


def add_routes(app: web.Application, *parts: str) -> None:
    """The addresses below /static/, and those of these parts."""
    app.router.add_get("/static/{name}", partial(serve, part=""))
    for part in parts:
        app.router.add_get(f"/{part}/static/{{name}}", partial(serve, part=part))


async def serve(request: web.Request, part: str) -> web.StreamResponse:
    """One file."""
    found = assets(part).get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return respond(request, found, AGE)


def _asset(name: str, content: bytes) -> Answer:
    tag = base64.b32encode(hashlib.blake2b(content, digest_size=15).digest()).decode().lower()
    packed = gzip.compress(content, mtime=0) if name.endswith((".css", ".js")) else b""
    return Answer(content, TYPES[name.rpartition(".")[2]], tag, packed=packed)
