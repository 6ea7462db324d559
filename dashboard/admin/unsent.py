"""Forms of the desk that arrived without their session: kept for the operator to send again.

The sign-in page carries their fields, then the new session's next page offers them; nothing is
stored meanwhile, and nothing is done unasked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from dashboard.admin.sessions import Flash
from dashboard.i18n.texts import Words

HOME = "/admin/"
ACTION = re.compile(r"/admin/do/([a-z]{1,20}(?:-[a-z]{1,20}){0,2})")
"""Addresses of forms."""
_OURS = re.compile(r"/admin/(?!do(?:/|$)|sign-)[A-Za-z0-9_/-]{0,200}")
"""Addresses of pages."""
_MOST = 48_000
"""Bytes of a form that is kept, as it is sent: more than the longest update of an incident, and so
few that the sign-in page can carry it."""
_MOST_FIELDS = 300
_NAME, _BACK, _FIELD = "unsent", "unsent.back", "unsent:"
_KEPT = frozenset(
    (
        *("mirror", "mirrors", "wish", "for", "incident", "about", "status", "impact", "seen"),
        *("title_zh", "title_en", "text_zh", "text_en", "starts_at", "started_at", "maintenance"),
        *("network", "reason", "key", "name", "quota", "tokens", "rate", "models", "expires_at"),
    )
)
"""Fields that are kept, of which none is secret (`key` is the id of one)."""

Form = Mapping[str, list[str]]


def own_address(text: str) -> str:
    """The address of a page of the desk, whatever was asked for."""
    return text if _OURS.fullmatch(text) and "//" not in text else HOME


@dataclass(frozen=True, slots=True)
class Unsent:
    """A form that was not taken."""

    name: str = ""
    """Of the action; empty: there is none."""
    back: str = HOME
    fields: dict[str, list[str]] = field(default_factory=dict)

    @property
    def carried(self) -> list[tuple[str, str]]:
        """The hidden fields by which the sign-in page carries it."""
        if not self.name:
            return []
        fields = [
            (f"{_FIELD}{name}", each) for name, those in self.fields.items() for each in those
        ]
        return [(_NAME, self.name), (_BACK, self.back), *fields]

    def offered(self, words: Words) -> Flash | None:
        """The offer to send it again, for the page that it came from."""
        if not self.name:
            return None
        text = words("desk.unsent" if self.fields else "desk.unsent.lost")
        return Flash(text, False, self.back, self.name, self.fields, again=bool(self.fields))


def posted(path: str, form: Form) -> Unsent:
    """The form that was posted to this address."""
    action = ACTION.fullmatch(path)
    back = own_address(form.get("back", [""])[0])
    return Unsent(action[1], back, _bounded(form)) if action else Unsent(back=back)


def carried(form: Form) -> Unsent:
    """The form that a sign-in page has carried."""
    name = form.get(_NAME, [""])[0]
    if not ACTION.fullmatch(f"/admin/do/{name}"):
        return Unsent()
    fields = {key.removeprefix(_FIELD): form[key] for key in form if key.startswith(_FIELD)}
    return Unsent(name, own_address(form.get(_BACK, [""])[0]), _bounded(fields))


def _bounded(form: Form) -> dict[str, list[str]]:
    """The fields that are kept; none if they are too long."""
    kept = {name: values for name, values in form.items() if name in _KEPT}
    values = [value for those in kept.values() for value in those]
    length = sum(len(quote_plus(value)) for value in values)
    return kept if length <= _MOST and len(values) <= _MOST_FIELDS else {}
