"""Messages to the legacy chat: what a body must say, as JSON or as a form. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from router.process.legacy_answers import Fault

LONGEST_KEY = 512
LONGEST_SESSION = 64
_MOST_FIELDS = 100
_BESIDE, _PER_CHARACTER = 8 << 10, 12
"""Bytes of a body beside the content, and of a character of it, escaped or percent-encoded."""
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^";, ]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[ \t]*form-data;[ \t]*name="([^"]*)"', re.IGNORECASE)


class Message(NamedTuple):
    """A message of a client."""

    key: str
    session: str
    content: str

    def __repr__(self) -> str:
        return f"<Message of {len(self.content)} characters>"


def longest_body(most: int) -> int:
    """Bytes that a body may have whose message has at most so many characters."""
    return _BESIDE + _PER_CHARACTER * most


def read_message(content_type: str, body: bytes, most: int) -> Message:
    """The message in a body; `most`: characters that it may have. Raises Fault."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return checked(_form(body), most)
    if kind == "multipart/form-data":
        return checked(_parts(content_type, body), most)
    return checked(_object(body), most)


def _form(body: bytes) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise _unreadable() from None


def _parts(content_type: str, body: bytes) -> Mapping[str, str]:
    """The fields of a form of parts (RFC 7578), all in memory."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _unreadable()
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    given = {}
    for part in (b"\r\n" + body).split(delimiter, _MOST_FIELDS)[1:]:
        head, _, value = part.partition(b"\r\n\r\n")
        named = (_NAME.match(line) for line in head.split(b"\r\n"))
        name = next(filter(None, named), None)
        if name is not None:
            try:
                given[name[1].decode()] = value.decode()
            except ValueError:
                raise _unreadable() from None
    return given


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise Fault(400, "The body must be a JSON object or a form.")
    return given


def _unreadable() -> Fault:
    return Fault(400, "The form cannot be read: it must be UTF-8, with a few fields.")


def checked(given: Mapping[str, Any], most: int) -> Message:
    """The message in these fields. Raises Fault."""
    key = checked_key(_text(given, "apiKey"))
    session, content = _text(given, "sessionId"), _text(given, "content")
    if not session or len(session) > LONGEST_SESSION:
        raise Fault(400, f"sessionId must have 1 to {LONGEST_SESSION} characters.")
    if not content.strip() or len(content) > most:
        raise Fault(400, f"content must have 1 to {most} characters.")
    return Message(key, session, content)


def checked_key(key: str) -> str:
    """A key that can be sent in a header. Raises Fault."""
    if not key:
        raise Fault(401, "There is no apiKey.")
    if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
        raise Fault(401, "This is no API key: send it as apiKey.")
    return key


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**LONGEST_SESSION else ""
    return value if isinstance(value, str) else ""
