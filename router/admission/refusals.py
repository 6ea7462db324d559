"""What a client is told that may not come in: each text names the next step."""

from __future__ import annotations

from router.admission.bans import Held
from router.admission.clients import Client
from router.admission.keys import Caller
from router.plane import Plane
from router.wire.answer import Problem, moment, unauthorized


def too_large(limit: int) -> Problem:
    """The refusal of a body above the limit."""
    return Problem(413, "request_too_large", f"the request body exceeds {limit} bytes")


def ban_problem(plane: Plane, client: Client) -> Problem | None:
    """The refusal of this client's address, if it is banned now."""
    ban = plane.bans.find(client, plane.wall())
    return banned(ban, plane.config.contact) if ban is not None else None


def banned(ban: Held, contact: str) -> Problem:
    """The refusal of a banned client: until when, why, and whom to ask."""
    until = "for good" if ban.until is None else f"until {moment(ban.until)}"
    whom = f" To ask why, contact {contact} and name the ban's id." if contact else ""
    message = f"This client is banned {until}: {ban.reason} (ban {ban.id}).{whom}"
    return Problem(403, "client_banned", message)


def no_key_fits(plane: Plane) -> Problem:
    """401: no configured mirror takes this caller's key; says which keys are accepted."""
    return unauthorized(f"No mirror here takes this key. {accepted_keys(plane)}")


def accepted_keys(plane: Plane) -> str:
    """One sentence on the keys that are accepted here."""
    kinds = plane.router.callers
    patterns = sorted({p for u in plane.upstreams for p in u.mirror.client_keys})
    texts = []
    if Caller.own in kinds and patterns:
        own = (
            "your own OpenAI key" if "*" in patterns else f"your own key like {', '.join(patterns)}"
        )
        texts.append(own)
    if Caller.issued in kinds:
        texts.append(f'a key issued here ("{plane.config.keys.prefix}…")')
    return f'Send {" or ".join(texts) or "a key"} as "Authorization: Bearer …".'
