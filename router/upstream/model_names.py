"""A mirror's own names of models in place of the client's (`mirrors.model_map`): in JSON, in a
query and in a form. Only the name is exchanged; every other byte passes as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote_plus

from router.wire.json_scan import BOM, members

_MODEL = "model"
_BOUNDARY = re.compile(
    rb"""multipart/form-data\b.*;[ \t]*boundary=(?:"([^"]{1,70})"|([^";, \t]{1,70}))""", re.I
)
_NAMED = re.compile(
    rb"""(?:^|\r\n)content-disposition:[ \t]*form-data;[ \t]*name="?model"?[ \t]*(?:\r\n|$)""", re.I
)
_MOST_HEAD = 4096
"""Bytes of the head of a part; of a longer one nothing is exchanged."""
_MOST_NAME = 1024
"""Bytes of a model's name; a longer one is left as it is."""
_LATER, _NEVER = -1, -2
"""A part is not here yet, or is the last one, or cannot be read."""


def renamed_json(body: bytes, names: Mapping[str, str]) -> bytes:
    """A JSON object with the mirror's name of its top-level model. Of equal keys the last counts,
    as for `json.loads`; what cannot be read stays as it is."""
    found = members(body)
    if found is None:
        return body
    named = [member for member in found.members if member.key == _MODEL]
    last = named[-1] if named else None
    if last is None or not isinstance(last.value, str) or last.value not in names:
        return body
    skipped = len(BOM) if body.startswith(BOM) else 0
    begin = skipped + len(found.text[: last.begin].encode())
    end = begin + len(found.text[last.begin : last.end].encode())
    return b"".join((body[:begin], json.dumps(names[last.value]).encode(), body[end:]))


def renamed_query(target: bytes, names: Mapping[str, str]) -> bytes:
    """A target with the mirror's name of the model in its query."""
    path, mark, query = target.partition(b"?")
    return path + mark + b"&".join(_renamed_pair(pair, names) for pair in query.split(b"&"))


def _renamed_pair(pair: bytes, names: Mapping[str, str]) -> bytes:
    name, mark, value = pair.partition(b"=")
    model = unquote_plus(value.decode("latin-1"))
    if name != _MODEL.encode() or model not in names:
        return pair
    return name + mark + quote(names[model], safe="").encode()


def model_in_query(target: bytes) -> str:
    """The model that a query names; "" if it names none."""
    query = target.partition(b"?")[2].decode("latin-1")
    return next((value for name, value in parse_qsl(query) if name == _MODEL), "")


class FormNames:
    """Exchanges the names of models in a form (RFC 7578) while it passes.

    Held back is no more than the beginning of a part up to its value. A form that is not written
    as clients' libraries write it passes as it is.
    """

    __slots__ = ("_delimiter", "_held", "_names", "_passes")

    def __init__(self, content_type: bytes, names: Mapping[str, str]) -> None:
        found = _BOUNDARY.match(content_type.strip())
        self._delimiter = b"--" + (found[1] or found[2]) if found is not None else b""
        self._names = names
        self._held = b""
        self._passes = found is None
        """True if nothing more is exchanged."""

    def __repr__(self) -> str:
        return f"<FormNames of {len(self._names)}, {len(self._held)} bytes held>"

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the body; returns what may go on now."""
        if self._passes:
            return piece
        text, begin, end = self._held + piece, 0, 0
        out: list[bytes] = []
        while (at := text.find(self._delimiter, begin)) >= 0:
            end = self._part(text, at, out, begin)
            if end < 0:
                break
            begin = end
        else:
            at = max(begin, len(text) - len(self._delimiter) + 1)
        self._passes = end == _NEVER
        out.append(text[begin : len(text) if self._passes else at])
        self._held = b"" if self._passes else text[at:]
        return b"".join(out)

    def finish(self) -> bytes:
        """The body has ended; returns what was held back."""
        held, self._held = self._held, b""
        return held

    def _part(self, text: bytes, at: int, out: list[bytes], begin: int) -> int:
        """Pass what stands before the content of the part that begins with this delimiter, with the
        content itself if that is a model; returns where to go on."""
        head = at + len(self._delimiter)
        end = text.find(b"\r\n\r\n", head)
        if text.startswith(b"--", head) or (end < 0 and len(text) - head > _MOST_HEAD):
            return _NEVER
        if end < 0:
            return _LATER
        value, name = end + 4, b""
        if end - head <= _MOST_HEAD and _NAMED.search(text[head:end]) is not None:
            close = text.find(b"\r\n" + self._delimiter, value)
            if close < 0 and len(text) - value <= _MOST_NAME:
                return _LATER
            name = text[value : max(close, value)]
        known = self._names.get(name.decode("utf-8", "replace"))
        out.append(text[begin:value])
        if known is not None:
            out.append(known.encode())
            value += len(name)
        return value
