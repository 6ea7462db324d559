"""`/events`: what changes on the front page, as it changes, to every open page.

A page has parts that change while it is read: its sentence, open incidents, what is planned, the
nodes. When one of them does, it is rendered once for each language and sent to all. Numbers that
drift with every probe are not sent: five hundred readers would cost more than the probes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

from aiohttp import web

from dashboard.common.connections import connection_of
from dashboard.common.context import CLOCK, SOURCES, VISITORS
from dashboard.i18n.texts import Words
from dashboard.public.incidents import to_come
from dashboard.public.lines import Lines
from dashboard.public.page import Page, build
from dashboard.public.view import reader_of, shown_incidents, shown_maintenances, shown_nodes

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
PING = 15.0
"""Seconds of silence after which something is sent: proxies end what is silent for a minute."""
WRITE_WITHIN = 10.0
MOST_READERS = 600
SHARE = 4
"""At most this part of a visitor's connections are readers: 8 of 32, where a browser opens six to a
host at most."""
WAITING = 4
"""Messages that wait for one reader; who is slower comes again, and finds a whole page."""
MANY = 24
"""Parts that change at once from which on pages are read anew instead."""
RETRY = (2000, 6000)
"""Milliseconds after which a page comes again, so that not all come at once."""

Variant = tuple[Words, str]
"""A language, and the query that links keep."""


class Reader:
    """One open page."""

    def __init__(self, visitor: bytes, variant: Variant) -> None:
        self.visitor = visitor
        self.variant = variant
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING + 1)

    def tell(self, message: bytes | None) -> None:
        """Queue a message; None, or one too many, is the end."""
        if self.messages.qsize() >= WAITING or message is None:
            while not self.messages.empty():
                self.messages.get_nowait()
            message = None
        self.messages.put_nowait(message)


class Live:
    """The readers of one application, and what they have been told."""

    def __init__(self, app: web.Application, lines: Lines) -> None:
        self._app = app
        self._lines = lines
        self._readers: set[Reader] = set()
        self._of: Counter[bytes] = Counter()
        self._told: Mapping[str, Hashable] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Live {len(self._readers)} readers>"

    def version(self) -> str:
        """The version of what pages show now; another one with every change that is told."""
        return _version(self._parts(self._app[CLOCK]()))

    def enter(self, visitor: bytes, variant: Variant) -> Reader | None:
        """A new reader; None where there are too many."""
        each = max(1.0, self._app[VISITORS].most_connections() / SHARE)
        if len(self._readers) >= MOST_READERS or self._of[visitor] + 1 > each:
            return None
        if not self._readers:
            self._told = self._parts(self._app[CLOCK]())
            self._look_later()
        reader = Reader(visitor, variant)
        self._readers.add(reader)
        self._of[visitor] += 1
        return reader

    def leave(self, reader: Reader) -> None:
        """A page was closed."""
        self._readers.discard(reader)
        self._of[reader.visitor] -= 1
        if not self._of[reader.visitor]:
            del self._of[reader.visitor]

    async def close(self, app: web.Application) -> None:
        """End all."""
        for reader in self._readers:
            reader.tell(None)
        if self._timer is not None:
            self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        if not self._readers:
            return
        try:
            self._tell_changes()
        except Exception:
            log.exception("a change could not be sent to open pages")
        finally:
            self._look_later()

    def _tell_changes(self) -> None:
        now = self._app[CLOCK]()
        parts = self._parts(now)
        changed = [name for name, state in parts.items() if self._told.get(name) != state]
        structure = parts.keys() != self._told.keys()
        if not changed and not structure:
            return
        self._told = parts
        version = _version(parts)
        messages: dict[Variant, bytes] = {}
        for reader in list(self._readers):
            message = messages.get(reader.variant)
            if message is None:
                whole = structure or len(changed) > MANY
                message = _RELOAD if whole else self._message(reader.variant, changed, version, now)
                messages[reader.variant] = message
            reader.tell(message)

    def _parts(self, now: float) -> dict[str, Hashable]:
        """The parts of the front page by id, each with what it is made from."""
        sources = self._app[SOURCES]
        nodes = shown_nodes(self._app, now)
        states = {
            f"node-{n.id}": (
                n.state,
                n.verdict,
                n.in_rotation,
                n.ejection,
                n.override,
                n.override_until,
            )
            for n in nodes
        }
        incidents = [i for i in shown_incidents(self._app) if i.is_open]
        return {
            "banner": (
                tuple(states.values()),
                sources.waiting().requests > 0,
                tuple((i.id, i.impact) for i in incidents if i.manual),
            ),
            "open-incidents": tuple((i.id, i.updated_at) for i in incidents),
            "maintenances": tuple(
                (row.id, row.status, row.updated_at)
                for row in to_come(shown_maintenances(self._app, now))
            ),
            **states,
        }

    def _message(self, variant: Variant, changed: list[str], version: str, now: float) -> bytes:
        words, query = variant
        page = build(self._app, words, now)
        parts = {name: self._rendered(name, page, query) for name in changed}
        told = {"version": version, "updated": _updated(page), "parts": parts}
        return f"event: parts\ndata: {json.dumps(told, ensure_ascii=False)}\n\n".encode()

    def _rendered(self, name: str, page: Page, query: str) -> str:
        macros: Any = self._lines.macros
        if name == "banner":
            return str(macros.banner(page.words, page))
        if name == "open-incidents":
            return str(macros.open_incidents(page.words, page, query))
        if name == "maintenances":
            return str(macros.maintenances(page.words, page, query))
        line = self._lines.of(page, query)
        return str(line(next(node for node in page.nodes if f"node-{node.id}" == name)))


def _updated(page: Page) -> str:
    return page.words("page.updated", time=page.updated, zone=page.zone)


_RELOAD = b"event: reload\ndata: {}\n\n"


def _version(parts: Mapping[str, Hashable]) -> str:
    return hashlib.blake2b(repr(sorted(parts.items())).encode(), digest_size=6).hexdigest()


LIVE: web.AppKey[Live] = web.AppKey("live", Live)


def add_routes(app: web.Application) -> None:
    """The address."""
    app.on_shutdown.append(app[LIVE].close)
    app.router.add_get("/events", events)


async def events(request: web.Request) -> web.StreamResponse:
    """Changes of the front page until it is closed; 503 where too many are open."""
    live, asking = request.app[LIVE], reader_of(request)
    visitor = request.app[SOURCES].visitor(request.remote or "", request.headers)
    reader = live.enter(visitor.key, (asking.words, asking.query))
    if reader is None:
        raise web.HTTPServiceUnavailable
    if (connection := connection_of(request)) is not None:
        connection.hold()
    fields = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=fields)
    response.content_type = "text/event-stream"
    try:
        await response.prepare(request)
        await response.write(f"retry: {random.randint(*RETRY)}\n\n".encode())
        if request.query.get("v", live.version()) != live.version():
            reader.tell(_RELOAD)
        while (message := await _next(reader)) is not None:
            await asyncio.wait_for(response.write(message), WRITE_WITHIN)
    except (TimeoutError, ConnectionError):
        pass  # it reads nothing any more, or has left
    finally:
        live.leave(reader)
    return response


async def _next(reader: Reader) -> bytes | None:
    try:
        return await asyncio.wait_for(reader.messages.get(), PING)
    except TimeoutError:
        return b": still here\n\n"
