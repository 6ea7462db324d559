"""The configuration in effect, and how a newer file replaces it: wholly, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.settings import Fault, SettingsError, to_table
from router.control import document
from router.control.changes import Changes
from router.control.document import Document, open_regular

log = logging.getLogger("control")

LOOK_EVERY = 0.5
"""Seconds between two looks at the file."""
READ_WITHIN = 10.0
"""Seconds for reading it and what it refers to, which may be on a file system that hangs."""
SIGNAL = Actor("SIGHUP")
_WATCHER = "file watcher"
_MOST_FAULTS = 5
"""Faults of a refused file that the audit log names."""


def worker_part(current: Document) -> dict[str, Any]:
    """Return the part of the configuration that workers get (`WorkerConfig`)."""
    config = current.config
    return {
        "router": to_table(config.router),
        "limits": to_table(config.limits),
        "keys": to_table(config.keys),
        "prices": to_table(config.prices),
        "log": to_table(config.log),
        "traces": to_table(config.traces),
        "legacy": to_table(config.legacy),
        "mirrors": to_table(config.mirrors),
        "contact": config.dashboard.contact,
        "public_url": config.dashboard.public_url,
        "entrances": [entrance.url for entrance in config.dashboard.entrances],
    }


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration in effect, and where it is from: what a new control process needs."""

    current: Document
    started: Document
    """What the supervisor was started with: listeners, sockets and store are as it says."""
    seen: str
    """The `fingerprint` of the file that `current` was read from."""

    @classmethod
    def first(cls, path: Path) -> Loaded:
        """Read the file for a start. Raises SettingsError."""
        seen = fingerprint(path)  # before reading, so that a later change is noticed as one
        current = document.load(path, os.environ)
        return cls(current, current, seen)

    @classmethod
    def handed(cls, table: dict[str, Any]) -> Loaded:
        """Read the document that `hand_down` made."""
        path = Path(table["path"])
        current, started = (document.from_raw(table[name], path) for name in ("raw", "started"))
        return cls(current, started, table["seen"])

    def hand_down(self) -> dict[str, Any]:
        """Return the document that every child gets, JSON-able: it holds secrets."""
        return {
            "raw": self.current.raw,
            "started": self.started.raw,
            "seen": self.seen,
            "path": str(self.current.path),
            "worker": worker_part(self.current),
        }


class Configuration:
    """Holds the document in effect; reads the file again when told to or when it changes."""

    def __init__(
        self,
        loaded: Loaded,
        apply: Callable[[Document, Changes], None],
        tell_supervisor: Callable[[Message], None],
        counted: Callable[[bool], None],
        note: Callable[[Actor, str], None],
    ) -> None:
        """`note` is called with the actor of a reload, and what it changed."""
        self.current = loaded.current
        self.problem = ""
        """Why the newest file is not in use; empty when it is."""
        self.taken_at, self.taken_by = time.time(), "start"
        """When the one in effect was taken over by this process, and who wanted it."""
        self._apply = apply
        self._tell_supervisor = tell_supervisor
        self._counted = counted
        self._note = note
        self._seen = loaded.seen
        self._started = loaded.started
        self._told = loaded.current.config
        self._reloading = asyncio.Lock()

    @property
    def restart_needed(self) -> tuple[str, ...]:
        """Paths of settings that the instance was started with otherwise."""
        return document.differences(self._started.config, self.current.config).restart

    async def of_file(self) -> Document:
        """The file as it is now, which is not taken over. Raises SettingsError."""
        path = self.current.path
        try:
            async with asyncio.timeout(READ_WITHIN):
                return await asyncio.to_thread(document.load, path, os.environ)
        except TimeoutError:
            raise _unreadable(path) from None

    async def reload(self, by: Actor) -> Changes:
        """Read the file and take it over; what differs from the last answer given here.

        So a caller learns of its faults even if `watch` was faster. Raises SettingsError; then
        nothing has changed.
        """
        new = await self._reload(by)
        changes = document.differences(self._told, new.config)
        self._told = new.config
        return changes

    async def reload_unasked(self, by: Actor) -> None:
        """Reload without anybody to answer to."""
        try:
            await self._reload(by)
        except SettingsError as error:
            for fault in error.faults:
                log.error(
                    "configuration refused, the last good one stays in use (%s): %s", by.who, fault
                )

    async def watch(self) -> None:
        """Reload whenever the file's content has changed and stays so, until cancelled.

        It must be the same twice: half of a file may be a valid one, with half of the mirrors. One
        that is gone is refused like one with a fault.
        """
        before = self._seen
        while True:
            await asyncio.sleep(LOOK_EVERY)
            seen = self._seen
            newest = await asyncio.to_thread(fingerprint, self.current.path)
            if newest == before != self._seen == seen:  # not reloaded meanwhile
                await self.reload_unasked(Actor(_WATCHER, str(self.current.path)))
            before = newest

    async def _reload(self, by: Actor) -> Document:
        async with self._reloading:
            return await self._reload_alone(by)

    async def _read(self) -> Document:
        path = self.current.path
        try:
            async with asyncio.timeout(READ_WITHIN):
                self._seen = await asyncio.to_thread(fingerprint, path)
                return await asyncio.to_thread(document.load, path, os.environ)
        except TimeoutError:
            raise _unreadable(path) from None

    async def _reload_alone(self, by: Actor) -> Document:
        try:
            new = await self._read()
        except SettingsError as error:
            self.problem = "; ".join(map(str, error.faults))
            self._counted(False)
            self._note(by, f"reload refused: {_in_short(error)}")
            raise
        changes = document.differences(self.current.config, new.config)
        self.problem = ""
        self.current = new
        self.taken_at, self.taken_by = time.time(), by.who
        self._apply(new, changes)
        handed = Loaded(new, self._started, self._seen).hand_down()
        drain = new.config.router.timeouts.drain
        self._tell_supervisor({"type": "document", "document": handed, "drain": drain})
        self._counted(True)
        self._note(by, f"reload: {in_words(changes)}")
        log.info("reloaded (%s): %s", by.who, in_words(changes))
        return new


def _unreadable(path: Path) -> SettingsError:
    return SettingsError([Fault("", f"{path} cannot be read within {READ_WITHIN:g} s")])


def in_words(changes: Changes) -> str:
    """Return the changes of a reload, for the log."""
    parts = [
        f"{word} {', '.join(sorted(items))}"
        for word, items in (
            ("added", changes.added),
            ("removed", changes.removed),
            ("changed", (*changes.changed, *changes.settings)),
            ("only a restart changes", changes.restart),
        )
        if items
    ]
    return "; ".join(parts) or "no differences"


def _in_short(error: SettingsError) -> str:
    faults = [str(fault) for fault in error.faults]
    more = len(faults) - _MOST_FAULTS
    return "; ".join([*faults[:_MOST_FAULTS], *([f"{more} more"] if more > 0 else [])])


def fingerprint(path: Path) -> str:
    """A digest of the file's content; empty while it cannot be read, as during its replacement."""
    try:
        with open(open_regular(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
