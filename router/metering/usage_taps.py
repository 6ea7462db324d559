"""Usage noted from response bodies in passing: JSON documents and event streams."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

import msgspec

from router.metering.shapes import Choice, Chunk
from router.metering.usage import Usage
from router.metering.usage_reader import (
    answer_of,
    duration_near_begin,
    inner_usage_near_end,
    is_last,
    parsed,
    says_only_usage,
    usage_near_end,
    usage_of_answer,
    usage_of_event,
)
from router.upstream.dialect import Dialect, Sight, look
from router.wire.octets import BACKSLASH, CR, LF
from router.wire.sse import EventSplitter

MOST_KEPT: Final = 64 << 10
"""Bytes of the beginning that are kept, and of the end."""
_IMAGE_KEYS = re.compile(rb'(?<!\\)"(?:b64_json|url)"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}"')
_LONGEST = 32
"""Bytes of such a key, with what follows it, at most; and the one before."""
_SAYS_ERROR = re.compile(rb'\s*\{\s*"error"\s*:\s*[{"]')


class JsonTap:
    """Reads one JSON answer."""

    __slots__ = (
        "_carry",
        "_counts_images",
        "_end",
        "_end_size",
        "_head",
        "error",
        "images",
        "size",
    )

    def __init__(self, counts_images: bool) -> None:
        self._counts_images = counts_images
        self._carry = b""
        self._head = b""
        self._end: deque[bytes] = deque()
        self._end_size = 0
        self.size = 0
        self.images = 0
        self.error = False
        """True if it says that there is no answer."""

    def __repr__(self) -> str:
        return f"<JsonTap {self.size} B>"

    def feed(self, piece: bytes) -> None:
        """Note a piece."""
        self.size += len(piece)
        if self._counts_images:
            self._count(piece)
        room = MOST_KEPT - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if piece:
            self._keep_end(piece)

    def _keep_end(self, piece: bytes) -> None:
        self._end.append(piece[-MOST_KEPT:])
        self._end_size += len(self._end[-1])
        while self._end_size - len(self._end[0]) >= MOST_KEPT:
            self._end_size -= len(self._end.popleft())

    def _count(self, piece: bytes) -> None:
        text, known = self._carry + piece, len(self._carry)
        self.images += sum(found.end() > known for found in _IMAGE_KEYS.finditer(text))
        self._carry = text[-_LONGEST:]

    def usage(self) -> Usage | None:
        """The stated usage, after the end."""
        end = b"".join(self._end)
        if len(self._head) + len(end) < self.size:
            return usage_near_end(self._head, end) or duration_near_begin(self._head)
        answer = answer_of(self._head + end if end else self._head)
        if answer is None:
            self.error = _SAYS_ERROR.match(self._head) is not None
            return None
        self.error = bool(answer.error)
        return usage_of_answer(answer)


MOST_EVENT: Final = 256 << 10
"""Bytes of an event that are kept to read it, or until it is known whether it is left out."""
MOST_TAIL = 64 << 10
"""Bytes of the end of a longer one."""
_EOL = rb"(?>\r\n|\n|\r)"
_BLANK: Final = b"\n\n"
_END = re.compile(_EOL + _EOL)
_BETWEEN_EVENTS = re.compile(rb"(?:(?::[^\r\n]*+)?+" + _EOL + rb")++")
"""Lines that wait for nothing: blank ones and comments, before an event. All at once, for there may
be as many as bytes."""
_NO_EVENT_BEGINS: Final = b":\r\n"
_USAGE = re.compile(rb'"usage"[ \t]*+:[ \t]*+\{')
_ERROR: Final = re.compile(
    rb'"error"[ \t]*+:[ \t]*+[{"]|"(?:error|response\.failed)"|event: ?error'
)
_CONTENT: Final = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|refusal|arguments)"[ \t]*+:[ \t]*+"(?!")'
)
_DELTA = re.compile(rb'"type"[ \t]*+:[ \t]*+"(?:[a-z_]+\.[a-z_.]*?delta|content_block_delta)"')
_CONTENT_TEXT: Final = re.compile(
    rb'"(?:content|text|reasoning_content|reasoning|refusal|arguments|delta|thinking|partial_json)"'
    rb'[ \t]*+:[ \t]*+"([^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+)'
)
"""Within one line: how a line ends must not count, for it may not have come whole."""
_REASONS = re.compile(
    rb'"reasoning(?:_content)?"[ \t]*+:[ \t]*+"(?!")|"thinking_delta"'
    rb'|"type"[ \t]*+:[ \t]*+"(?:response\.)?reasoning'
)
_LONGEST_TOKEN: Final = 16
"""Bytes of an event's text up to which it is taken for one token, as nearly all are."""
_IMAGE = re.compile(rb'"type"[ \t]*+:[ \t]*+"image_(?:generation|edit)\.completed"')
_chunk: Final = msgspec.json.Decoder(Chunk).decode
_CHUNK_BEGINS: Final = b"data: {"
_BEFORE_CHUNK: Final = len("data: ")
_CHAT: Final = Dialect.chat
_CHUNKS: Final = (Dialect.chat, Dialect.completions)


class EventTap:
    """Reads one stream of events."""

    __slots__ = (
        "_after_cr",
        "_content_mark",
        "_dialect",
        "_hid",
        "_hide",
        "_rest",
        "_tail",
        "content",
        "error",
        "events",
        "final",
        "images",
        "reasons",
        "tokens",
        "usage",
    )

    def __init__(self, dialect: Dialect, hide: bool) -> None:
        """`hide`: the event that says nothing but the use is left out."""
        self._dialect = dialect
        self._hide = hide
        self._content_mark = _CONTENT if dialect in _CHUNKS else _DELTA
        self._rest = b""
        """Of an event that has begun."""
        self._tail = b""
        """The end so far of one that was too long; all of it has gone on."""
        self._after_cr = False
        """True if the last piece ended with a CR that ends an event: its LF may follow."""
        self._hid = False
        """True if that event was left out, and so is its LF."""
        self.events = self.content = 0
        """Events, and those with content."""
        self.tokens = 0
        """Roughly what they hold: some mirrors put many into one event."""
        self.images = 0
        self.error = False
        """True if an event said that there will be no answer."""
        self.usage: Usage | None = None
        self.final = False
        """True if that is the use of the whole answer, not of what there is so far."""
        self.reasons = False
        """True if it shows reasoning, or that there is some."""

    def __repr__(self) -> str:
        return f"<EventTap {self.content} events, {self.usage}>"

    def feed(self, piece: bytes) -> bytes:
        """Read a piece; what may go on now."""
        if not (self._rest or self._tail or self._after_cr) and _is_one_event(piece):
            return b"" if self._read(piece) and self._hide else piece
        out: list[bytes] = []
        text = self._whole_line_end(piece, out)
        if self._tail:
            text = self._read_long(text, out)
        search_from, begin = max(0, len(self._rest) - 2), 0
        text = self._rest + text
        while end := _end_of_event(text, begin, search_from):
            self._pass_on(text[begin:end], out)
            begin = search_from = end
        if begin and begin == len(text):
            self._after_cr = text.endswith(b"\r")
        self._rest = text[begin:] if begin else text
        self._give_up_long(out)
        return b"".join(out) if self._hide else piece

    def finish(self) -> bytes:
        """The stream has ended: what was kept of an event that lacks its blank line."""
        out: list[bytes] = []
        if self._rest:
            self._pass_on(self._rest, out)
        if self._tail:
            self._end_long(self._tail)
        self._rest = b""
        return b"".join(out) if self._hide else b""

    def _whole_line_end(self, piece: bytes, out: list[bytes]) -> bytes:
        """A piece without the second half of a CR LF, which belongs to what was before."""
        if not self._after_cr or not piece:
            return piece
        self._after_cr = False
        if not piece.startswith(b"\n"):
            return piece
        if not self._hid:
            out.append(b"\n")
        return piece[1:]

    def _give_up_long(self, out: list[bytes]) -> None:
        """Give up an event that is too long: its end need not be awaited."""
        rest = self._rest
        if len(rest) > MOST_EVENT:
            out.append(rest)
            self.images += _IMAGE.search(rest, 0, 4096) is not None
            self.content += 1
            self.tokens += 1
            self._rest, self._tail = b"", rest[-MOST_TAIL:]

    def _read_long(self, piece: bytes, out: list[bytes]) -> bytes:
        """Let a long event pass; what follows it."""
        text, known = self._tail + piece, len(self._tail)
        found = _END.search(text, known - 2)
        if found is None:
            self._tail = text[-MOST_TAIL:]
            out.append(piece)
            return b""
        out.append(text[known : found.end()])
        self._after_cr, self._hid = found.end() == len(text) and text.endswith(b"\r"), False
        self._end_long(text[: found.end()])
        return text[found.end() :]

    def _end_long(self, tail: bytes) -> None:
        self._tail = b""
        told = inner_usage_near_end(tail)
        if told is not None:
            self.usage, self.final = told, True

    def _pass_on(self, event: bytes, out: list[bytes]) -> None:
        """Read an event, and let it go on unless it is left out."""
        self._hid = event[0] not in _NO_EVENT_BEGINS and self._read(event) and self._hide
        if not self._hid:
            out.append(event)

    def _count(self, choices: list[Choice]) -> None:
        """Count the words of a chunk of the usual shape."""
        said = reasoned = 0
        for choice in choices:
            delta = choice.delta
            said += _size(delta.content) + _size(delta.refusal)
            reasoned += _size(delta.reasoning_content) + _size(delta.reasoning)
        if said or reasoned:
            self.content += 1
            self.tokens += _tokens(said + reasoned)
        self.reasons = self.reasons or reasoned > 0

    def _read(self, event: bytes) -> bool:
        """Note what an event says; whether that is nothing but the use."""
        self.events += 1
        if self._dialect is _CHAT and (choices := _usual_choices(event)) is not None:
            self._count(choices)
            return False
        if self._content_mark.search(event) is not None:
            self.content += 1
            self.tokens += tokens_in(event)
        if not self.reasons and (event.find(b'"reasoning') >= 0 or event.find(b"thinking") >= 0):
            self.reasons = _REASONS.search(event) is not None
        has_usage = event.find(b'"usage"') >= 0 and _USAGE.search(event) is not None
        if not has_usage and not _may_tell_error_or_image(event):
            return False
        only_usage = False
        for one in EventSplitter(len(event) + 1).feed(event + b"\n\n"):
            data = parsed(one.data)
            if data is None:
                continue
            self.images += _IMAGE.search(one.data) is not None
            self.error = self.error or look(self._dialect, one).sight is Sight.error
            if has_usage:
                self.usage = usage_of_event(self._dialect, data, self.usage)
                self.final = is_last(data)
                only_usage = self._dialect in _CHUNKS and says_only_usage(data)
        return only_usage


def _usual_choices(event: bytes) -> list[Choice] | None:
    """The choices of an event that is one chunk of the usual shape, as nearly every one is: to read
    it takes half of looking for words in any JSON. None where it may say anything else: use, an
    error, tools, or words in another place, or in escapes, which count as they are written."""
    if not event.startswith(_CHUNK_BEGINS) or not event.endswith(_BLANK):
        return None
    data = event[_BEFORE_CHUNK : -len(_BLANK)]
    if BACKSLASH in data or LF in data:  # another line has a field of its own
        return None
    try:
        return _chunk(data).choices
    except (msgspec.DecodeError, RecursionError):
        return None


def _size(text: str | None) -> int:
    """Bytes of a text in UTF-8."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def tokens_in(event: bytes) -> int:
    """Tokens that an event with content may hold."""
    return _tokens(sum([len(text[1]) for text in _CONTENT_TEXT.finditer(event)]))


def _tokens(size: int) -> int:
    """Tokens in so many bytes, by OpenAI's rule of thumb of four bytes each."""
    return size // 4 if size > _LONGEST_TOKEN else 1


def _may_tell_error_or_image(event: bytes) -> bool:
    """True if to look closer at an event for an error or an image; cheap, as nearly none does."""
    if event.find(b"error") >= 0 or event.find(b"response.failed") >= 0:
        return _ERROR.search(event) is not None
    return event.find(b"image_") >= 0 and _IMAGE.search(event) is not None


def _is_one_event(piece: bytes) -> bool:
    """True for an event of one line with its blank line, and no comment: as they mostly come."""
    return (
        piece.endswith(_BLANK)
        and piece.find(LF) == len(piece) - len(_BLANK)
        and CR not in piece
        and piece[0] not in _NO_EVENT_BEGINS
    )


def _end_of_event(text: bytes, begin: int, search_from: int) -> int:
    """Where an event ends that begins there, or a line before one; 0: not yet. `search_from` is
    where that can be seen first."""
    if begin == len(text):
        return 0
    if text[begin] in _NO_EVENT_BEGINS:
        between = _BETWEEN_EVENTS.match(text, begin)
        if between is not None:
            return between.end()
    if CR not in text:  # as nearly always; a regular expression costs ten times as much
        at = text.find(_BLANK, max(begin, search_from))
        return at + len(_BLANK) if at >= 0 else 0
    found = _END.search(text, max(begin, search_from))
    return found.end() if found is not None else 0
