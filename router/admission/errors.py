"""Errors of admission; each text names the next step."""

from __future__ import annotations

from router.admission.ban_list import Held
from router.wire.error_response import Problem, moment


def too_large(limit: int) -> Problem:
    """The refusal of a body above the limit."""
    amount = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    message = f"The request body has more than {amount}, the most that is accepted here."
    return Problem(413, "request_too_large", f"{message} Send less, or in several requests.")


def banned(ban: Held, contact: str) -> Problem:
    """The refusal of a banned client: its end, reason and contact."""
    until = "for good" if ban.until is None else f"until {moment(ban.until)}"
    whom = f" To ask why, contact {contact} and name the ban's id." if contact else ""
    message = f"This client is banned {until}: {ban.reason} (ban {ban.id}).{whom}"
    return Problem(403, "client_banned", message)
