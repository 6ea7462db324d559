"""Independent readers to hold the router's parsers against, and sinks that note what those report.

The strict reader of HTTP/1.1 (RFC 9112, RFC 9110) takes the grammar at its word and shares no code
with the router: no leniency that the RFCs merely allow, no obsolete forms, and only what an
intermediary should write itself. `json.loads` is the reference of the scanner of JSON bodies.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from router.wire.fields import request_rules, response_rules
from router.wire.json_scan import members, top_values
from router.wire.request import RequestHead, RequestReader
from router.wire.response import ResponseHead, ResponseReader
from router.wire.top_values import TopValues

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PCHAR = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
# RFC 3986 keeps brackets out of paths and queries, and every client sends them: "metadata[k]=v".
_QUERY = rb"(?:%b|[/?\[\]])*" % _PCHAR
_LINE = re.compile(
    rb"(?P<method>%b) (?P<target>(?:/(?:%b|[\[\]])*)+(?:\?%b)?) HTTP/1\.1"
    % (_TOKEN, _PCHAR, _QUERY)
)
_FIELD = re.compile(rb"(?P<name>%b):[ \t]*(?P<value>[\x20-\x7e\x80-\xff\t]*?)[ \t]*" % _TOKEN)
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_BODY_METHODS = (b"POST", b"PUT", b"PATCH")

JSON_NAMES = TopValues.__struct_fields__


class NotStrict(AssertionError):
    """The bytes are no well-formed request, nor the beginning of one."""


@dataclass(frozen=True)
class StrictRequest:
    """One whole request."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Names in lower case."""
    body: bytes

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for known, value in self.fields if known == name]


class _Incomplete(Exception):
    """More bytes could make it a request."""


def read_strictly(data: bytes) -> tuple[list[StrictRequest], bytes]:
    """The whole requests in `data`, and the beginning of another at its end.

    Raises NotStrict where the grammar is broken, in that beginning too as far as lines are whole.
    """
    requests = []
    while data:
        try:
            request, data = _one(data)
        except _Incomplete:
            break
        requests.append(request)
    return requests, data


def read_response(data: bytes, to_head: bool = False) -> tuple[int, bytes, bool]:
    """Status and body of one response, and whether it is complete; what ends with the connection
    never is. Raises NotStrict."""
    line, rest = _take_line(data)
    match = _STATUS.fullmatch(line)
    if match is None:
        raise NotStrict(f"status line {line!r}")
    status = int(match[1])
    fields, rest = _fields(rest)
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise NotStrict(f"framed more than once: {lengths!r} {codings!r}")
    if to_head or status < 200 or status in (204, 304):
        if rest:
            raise NotStrict("a body where none may be")
        return status, b"", True
    if lengths:
        return status, rest, len(rest) == int(lengths[0])
    if not codings:
        return status, rest, False
    try:
        body, rest = _chunks(rest)
    except _Incomplete:
        return status, b"", False
    if rest:
        raise NotStrict("more than one response")
    return status, body, True


def _one(data: bytes) -> tuple[StrictRequest, bytes]:
    line, rest = _take_line(data)
    match = _LINE.fullmatch(line)
    if match is None:
        raise NotStrict(f"request line {line!r}")
    fields, rest = _fields(rest)
    body, rest = _body(match["method"], fields, rest)
    return StrictRequest(match["method"], match["target"], tuple(fields), body), rest


def _fields(rest: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    fields: list[tuple[bytes, bytes]] = []
    while True:
        line, rest = _take_line(rest)
        if not line:
            return fields, rest
        fields.append(_field(line))


def _take_line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]):
        raise NotStrict(f"bare CR or LF in {line!r}")
    if not end:
        raise _Incomplete
    return line, rest


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise NotStrict(f"field line {line!r}")
    return match["name"].lower(), match["value"]


def _body(method: bytes, fields: list[tuple[bytes, bytes]], rest: bytes) -> tuple[bytes, bytes]:
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise NotStrict(f"Host {hosts!r}")
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise NotStrict(f"framed more than once: {lengths!r} {codings!r}")
    if codings:
        if codings != [b"chunked"]:
            raise NotStrict(f"transfer coding {codings!r}")
        return _chunks(rest)
    if lengths and _LENGTH.fullmatch(lengths[0]) is None:
        raise NotStrict(f"Content-Length {lengths!r}")
    if not lengths and method in _BODY_METHODS:
        raise NotStrict(f"{method!r} without Content-Length")
    size = int(lengths[0]) if lengths else 0
    if len(rest) < size:
        raise _Incomplete
    return rest[:size], rest[size:]


def _chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, rest = _take_line(rest)
        if _CHUNK_SIZE.fullmatch(line) is None:
            raise NotStrict(f"chunk size {line!r}")
        size = int(line, 16)
        if len(rest) < size + 2:
            raise _Incomplete
        if rest[size : size + 2] != b"\r\n":
            raise NotStrict(f"chunk data longer than {size}" if size else "a trailer")
        if not size:
            return body, rest[2:]
        body, rest = body + rest[:size], rest[size + 2 :]


class Requests:
    """Notes requests; pieces of one body count as one."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.reader = RequestReader(self, request_rules())

    def feed(self, *pieces: bytes) -> list[tuple[str, object]]:
        """Feed these pieces; everything noted so far."""
        for piece in pieces:
            self.reader.feed(memoryview(piece))
        return self.calls

    @property
    def heads(self) -> list[RequestHead]:
        """The heads noted."""
        return [value for _, value in self.calls if isinstance(value, RequestHead)]

    @property
    def head(self) -> RequestHead:
        """The first head."""
        return self.heads[0]

    def request_head(self, head: RequestHead) -> None:
        self.calls.append(("head", head))

    def request_body(self, data: bytes) -> None:
        self._grow("body", data)

    def request_end(self) -> None:
        self.calls.append(("end", None))

    def request_whole(self, head: RequestHead, body: bytes) -> None:
        self.request_head(head)
        if body:
            self.request_body(body)
        self.request_end()

    def tunnel_data(self, data: bytes) -> None:
        if data:
            self._grow("tunnel", data)

    def _grow(self, kind: str, data: bytes) -> None:
        if self.calls and self.calls[-1][0] == kind:
            known = self.calls.pop()[1]
            assert isinstance(known, bytes)
            data = known + data
        self.calls.append((kind, data))


class Responses:
    """Notes one response."""

    def __init__(self, to_head: bool = False) -> None:
        self.heads: list[ResponseHead] = []
        self.body = b""
        self.reader = ResponseReader(response_rules())
        self.reader.expect(self, to_head)

    def feed(self, *pieces: bytes) -> ResponseReader:
        """Feed these pieces, as far as the response goes."""
        for piece in pieces:
            self.reader.feed(memoryview(piece))
            self.body += b"".join(self.reader.parts)
        return self.reader

    @property
    def head(self) -> ResponseHead:
        """The last head."""
        return self.heads[-1]

    def informational(self, head: ResponseHead) -> None:
        self.heads.append(head)

    def response_head(self, head: ResponseHead) -> None:
        self.heads.append(head)


def loaded(body: bytes) -> list[tuple[str, Any]] | None:
    """The pairs of the outermost object, as `json.loads` has them; None if it is none.

    Floats deeper in it stay as they are written.
    """
    outermost: list[tuple[str, Any]] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost[:] = pairs
        return dict(pairs)

    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=note, parse_float=str.encode)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return [(key, _float(value)) for key, value in outermost]


def _float(value: object) -> object:
    return float(value) if isinstance(value, bytes) else value


def _loaded_value(text: str | bytes) -> object:
    return _float(json.loads(text, parse_float=str.encode))


def same(one: object, other: object) -> bool:
    """Equal, and of the same types; NaN equals itself."""
    return repr(one) == repr(other)


def check_json_scan(body: bytes) -> None:
    """Both readers agree with `json.loads`, and places are exact."""
    pairs, read, top = loaded(body), members(body), top_values(body)
    if pairs is None:
        assert read is None
        return
    assert read is not None
    assert same([(m.key, m.value) for m in read.members], pairs)
    for member in read.members:
        assert same(_loaded_value(read.text[member.begin : member.end]), member.value)
    last = dict(pairs)
    for name in JSON_NAMES:
        raw = bytes(getattr(top, name))
        assert bool(raw) == (name in last)
        assert not raw or same(_loaded_value(raw), last[name])
