"""Sessions of operators who have signed in. They are kept here; a browser has a random token.

A token is made at sign-in and never taken from a browser, so none can be planted; what is kept of
it is a digest. All end with the process, with the password, and some time after their last use.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

IDLE = 1800.0
"""Seconds without a use after which a session ends. A page that keeps itself current uses none."""
LONGEST = 12 * 3600.0
"""Seconds after which it ends anyway."""
MOST = 64
"""Sessions at a time; the one not used for the longest time ends first."""
_TOKEN_SIZE = 32


@dataclass(frozen=True, slots=True)
class Flash:
    """Outcome of an action, for the page that it leads back to, and for no other."""

    text: str
    good: bool = True
    back: str = ""
    """The address of that page."""
    form: str = ""
    """The form that was refused: its fields are filled in again."""
    fields: dict[str, list[str]] = field(default_factory=dict)
    key: str = ""
    """A new key, which is shown this once."""
    notes: tuple[str, ...] = ()
    again: bool = False
    """The form was not taken for want of a session, and may be sent again as it is."""


@dataclass(slots=True)
class Session:
    """One operator's session. Times are on a monotonic clock."""

    digest: bytes
    password: str
    """The hash that held when it began."""
    who: str
    """The address that signed in."""
    agent: str
    """Its user agent."""
    began: float
    used: float
    csrf: str
    """What forms have to carry."""
    language: str = ""
    """Chosen by the operator; empty: as the browser prefers."""
    flash: Flash | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an action is under way: they are done one by one."""
    last: tuple[str, Mapping[str, list[str]], float] | None = None
    """The last action that was done: its form, the fields, and when."""

    def take_flash(self, path: str) -> Flash | None:
        """The outcome of the last action, once, if this page is to tell it."""
        flash = self.flash
        if flash is None or flash.back != path:
            return None
        self.flash = None
        return flash


class Sessions:
    """The sessions of this process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: a monotonic one."""
        self._clock = clock
        self._by_digest: dict[bytes, Session] = {}

    def __repr__(self) -> str:
        return f"<Sessions {len(self._by_digest)}>"

    def __len__(self) -> int:
        return len(self._by_digest)

    def begin(self, password: str, who: str, agent: str = "") -> tuple[Session, str]:
        """A new session, and the token for its browser."""
        now, token = self._clock(), secrets.token_urlsafe(_TOKEN_SIZE)
        digest = _digest(token)
        csrf = secrets.token_urlsafe(_TOKEN_SIZE)
        session = Session(digest, password, who, agent, now, now, csrf)
        self._forget_ended(password)
        if len(self._by_digest) >= MOST:
            self.end(min(self._by_digest.values(), key=lambda each: each.used))
        self._by_digest[digest] = session
        return session, token

    def find(self, token: str, password: str, *, use: bool = True) -> Session | None:
        """The session of a token, if it holds. `use` False: it does not live longer for that."""
        now, session = self._clock(), self._by_digest.get(_digest(token))
        if session is None:
            return None
        if not _holds(session, password, now):
            self.end(session)
            return None
        if use:
            session.used = now
        return session

    def end(self, session: Session) -> None:
        """Sign out."""
        self._by_digest.pop(session.digest, None)

    def end_others(self, session: Session) -> int:
        """Sign out everybody else; returns how many that were."""
        others = len(self._by_digest) - 1
        self._by_digest = {session.digest: session}
        return others

    def _forget_ended(self, password: str) -> None:
        now = self._clock()
        for session in list(self._by_digest.values()):
            if not _holds(session, password, now):
                self.end(session)


def _holds(session: Session, password: str, now: float) -> bool:
    fresh = now - session.used <= IDLE and now - session.began <= LONGEST
    return fresh and session.password == password


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
