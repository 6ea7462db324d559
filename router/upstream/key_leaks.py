"""The search for a mirror's own key in what that mirror sends, so that no client gets it.

It is found as it is, in UTF-16, with characters escaped as in JSON, in a URL or by their numbers in
HTML, and in base64: as an honest mirror quotes it. One that wants its own key to be known can
always say it in another way. What passes in pieces is searched as a whole: an end that a key may
begin with is held back until the next piece shows what it is. What is read here are the bytes of a
body: of a WebSocket the payloads of its frames, since a frame's head may stand within the key.
"""

from __future__ import annotations

import re
from base64 import b64encode
from bisect import bisect_right
from string import ascii_letters, digits
from typing import Final

from monitor.common.inflate import READABLE, CannotInflate, Inflater
from router.wire.error_response import Problem
from router.wire.octets import AMPERSAND, BACKSLASH, PERCENT

LEAST_KEY = 8
"""Bytes; what is shorter is a word that answers may hold, and no key."""
_MOST_HELD = 64 << 10
"""Bytes of a compressed body that are held back until what is in them is known."""
_LEAST_INFLATED, _MOST_RATIO = 1 << 20, 100
"""A compressed body may become so long, and then so many times its size: JSON and events shrink to
a fifth or a fiftieth; what shrinks to a thousandth is made to keep a worker busy."""
_LEAST_ESCAPES, _ESCAPES_PER_BYTE = 16_384, 2
"""It may have so many escaped characters, and so many for each of its bytes: each takes a
microsecond, and HTML in JSON has one for each byte when it is compressed."""
_ESCAPE = re.compile(
    rb"\\{1,8}(?:u00([2-7][0-9a-f])|(/))|%([2-7][0-9a-f])"
    rb"|&#(?:x0{0,2}([2-7][0-9a-f])|0{0,2}(3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]));",
    re.IGNORECASE,
)
"""An escaped visible character. Backslashes double with each JSON text within another one."""
_LONGEST_ESCAPE = 13
_ESCAPE_BEGINS: Final = (b"%", b"\\u00", b"\\/", b"&#")
_BEGINS = (rb"%", rb"\\u00")
_PART_OF_ESCAPE = re.compile(
    rb"(?:\\{1,8}(?:u(?:0(?:0[2-7]?)?)?)?|%[2-7]?|&(?:#(?:x0{0,2}(?:[2-7][0-9a-f]?)?|[0-9]{0,5})?)?)\Z",
    re.IGNORECASE,
)
_MAY_GO_ON = frozenset(f"{ascii_letters}{digits}+/-_\\%&#;".encode())
QUOTED = Problem(
    502,
    "upstream_error",
    "The mirror's answer is not shown, for it quotes a key of ours or is compressed unasked.",
    tried=True,
)
"""The answer in place of one that quotes a mirror's key, or cannot be searched for it."""


class KeyForms:
    """The forms in which a key may be quoted; made once for each key."""

    __slots__ = ("_ends", "_escapes", "_forms", "_longest", "_wide")

    def __init__(self, key: bytes) -> None:
        encoded = [_in_base64(key, before) for before in range(3)]
        url_safe = [form.replace(b"+", b"-").replace(b"/", b"_") for form in encoded]
        self._forms = tuple(dict.fromkeys((key, *encoded, *url_safe)))
        self._wide = tuple(
            key.decode("latin-1").encode(f"utf-16-{order}") for order in ("le", "be")
        )
        """In UTF-16, as a body may be by its charset."""
        self._longest = max(map(len, self._forms))
        self._ends = _MAY_GO_ON | frozenset(key) | {0}
        """Bytes that a form may hold: after any other one nothing has begun."""
        self._escapes = [re.compile(begin + _codes(b"".join(self._forms))) for begin in _BEGINS]
        """Finds escaped characters that a form has; most that are escaped are of other kinds."""

    def __repr__(self) -> str:
        return "<KeyForms>"

    @classmethod
    def of(cls, key: bytes) -> KeyForms | None:
        """The forms of a key; None if it is too short to be searched for."""
        return cls(key) if len(key) >= LEAST_KEY else None

    def are_in(self, data: bytes) -> bool:
        """True if the key stands in these bytes."""
        for form in self._forms:
            if data.find(form) >= 0:  # `in` tries a number first, and makes an exception of it
                return True
        if 0 in data and any(form in data for form in self._wide):
            return True
        if not self._has_escapes(data):
            return False
        plain = _ESCAPE.sub(_character, data)
        return any(form in plain for form in self._forms)

    def _has_escapes(self, data: bytes) -> bool:
        if AMPERSAND in data and data.find(b"&#") >= 0:  # a byte is found ten times as fast as two
            return True
        if PERCENT not in data and BACKSLASH not in data:
            return False
        return data.find(b"\\/") >= 0 or any(found.search(data) for found in self._escapes)

    def begun_in(self, data: bytes) -> int:
        """The length of the longest end of `data` with which the key may begin."""
        if not data or data[-1] not in self._ends:
            return 0
        part = _PART_OF_ESCAPE.search(data, max(len(data) - _LONGEST_ESCAPE, 0))
        window = data[-_LONGEST_ESCAPE * self._longest :]
        if part is None and not self._has_escapes(window):
            return self._overlap(window)
        whole = window[: len(window) - len(part[0])] if part is not None else window
        plain, marks = _unescaped(whole)
        begins = len(plain) - self._overlap(plain)
        was_at, stands_at = marks[bisect_right(marks, (begins, len(window))) - 1]
        return max(len(window) - (stands_at + begins - was_at), self._overlap(window))

    def nearly_ends(self, data: bytes) -> bool:
        """True if `data` ends with half of the key or more: that counts even if no more comes."""
        texts = (data, _ESCAPE.sub(_character, _PART_OF_ESCAPE.sub(b"", data)))
        forms = self._forms + self._wide
        return any(2 * _overlap(text, form) >= len(form) for text in texts for form in forms)

    def _overlap(self, text: bytes) -> int:
        return max(_overlap(text, form) for form in self._forms + self._wide)


class KeyScan:
    """Searches what passes in pieces."""

    __slots__ = ("_forms", "_held", "found")

    def __init__(self, forms: KeyForms) -> None:
        self._forms = forms
        self._held = b""
        self.found = False
        """True if the key was found: nothing passes from then on."""

    def __repr__(self) -> str:
        return f"<KeyScan {'found' if self.found else len(self._held)}>"

    @property
    def holds(self) -> bool:
        """True if an end is held back."""
        return bool(self._held)

    def feed(self, piece: bytes) -> bytes:
        """Search on; returns what may pass now."""
        if self.found:
            return b""
        forms, data = self._forms, self._held + piece if self._held else piece
        if forms.are_in(data):
            self._held, self.found = b"", True
            return b""
        begun = forms.begun_in(data)
        self._held = data[len(data) - begun :] if begun else b""
        return data[: len(data) - begun] if begun else data

    def finish(self) -> bytes:
        """Take the end that was held back, since nothing follows."""
        rest, self._held = self._held, b""
        if rest and self._forms.nearly_ends(rest):
            self.found = True
            return b""
        return rest


class BodyScan:
    """Searches one response's body, which may be compressed.

    Then it is searched as it is, too: a member's head has room for texts, and so has what follows
    the last member (RFC 1952, section 2.3), which passes only as far as it can be inflated.
    """

    __slots__ = ("_escapes", "_held", "_inflater", "_packed", "_raw", "_scan", "_size", "refused")

    def __init__(self, forms: KeyForms, encoding: bytes) -> None:
        """`encoding`: of the body, in small letters; empty: it is not compressed."""
        self._scan = KeyScan(forms)
        self._raw = KeyScan(forms)
        """Of the compressed bytes."""
        self._packed = bool(encoding)
        self._inflater = Inflater() if encoding in READABLE else None
        self._size = self._escapes = 0
        """Bytes of a compressed body so far, and escapes in what it holds."""
        self._held: list[bytes] = []
        """Compressed pieces that hold an end which is open."""
        self.refused = False
        """True if it must not reach the client: the key is in it, or it cannot be searched."""

    def __repr__(self) -> str:
        return f"<BodyScan {'refused' if self.refused else self._scan}>"

    def feed(self, parts: list[bytes], ended: bool) -> list[bytes]:
        """Search what one read brought; returns what may pass now."""
        scan = self._scan
        if self._packed:
            parts = self._unpack(parts, ended)
        else:
            parts = [out for part in parts if (out := scan.feed(part))]
            if ended and scan.holds and (rest := scan.finish()):
                parts.append(rest)
        self.refused = self.refused or scan.found
        return [] if self.refused else parts

    def _unpack(self, parts: list[bytes], ended: bool) -> list[bytes]:
        scan, raw, held = self._scan, self._raw, self._held
        held += (out for part in parts if (out := raw.feed(part)))
        try:
            for part in parts:
                self._search(part)
        except CannotInflate:
            self.refused = True
        if ended:
            scan.finish()
            if rest := raw.finish():
                held.append(rest)
        self.refused = self.refused or raw.found
        if scan.holds:
            self.refused = self.refused or sum(map(len, held)) > _MOST_HELD
            return []
        self._held = []
        return held

    def _search(self, part: bytes) -> None:
        if self._inflater is None:
            raise CannotInflate("it is compressed in a way that is not read here")
        self._size += len(part)
        most = max(_LEAST_INFLATED, _MOST_RATIO * self._size)
        most_escapes = _LEAST_ESCAPES + _ESCAPES_PER_BYTE * self._size
        for piece in self._inflater.feed(part):
            self._escapes += sum(map(piece.count, _ESCAPE_BEGINS))
            if self._escapes > most_escapes:
                raise CannotInflate("it has too many escapes for its size")
            self._scan.feed(piece)
            if self._scan.found:
                return
            if self._inflater.size > most:
                raise CannotInflate("it is made to be very long")
        if self._inflater.over:
            raise CannotInflate("what follows it is not compressed")


def _in_base64(key: bytes, before: int) -> bytes:
    """The characters that stand for a key alone, after so many bytes of something else."""
    first = -(-before * 8 // 6)
    return b64encode(bytes(before) + key)[first : (before + len(key)) * 8 // 6]


def _codes(characters: bytes) -> bytes:
    """A pattern of the hexadecimal codes of these characters."""
    codes = {b"%02x" % character for character in characters}
    ends = {code[:1]: b"".join(c[1:] for c in sorted(codes) if c[:1] == code[:1]) for code in codes}
    parts = (begin + b"[" + end + end.upper() + b"]" for begin, end in sorted(ends.items()))
    return b"(?:" + b"|".join(parts) + b")"


def _character(escape: re.Match[bytes]) -> bytes:
    code = escape[1] or escape[3] or escape[4]
    if code:
        return bytes((int(code, 16),))
    return bytes((int(escape[5]),)) if escape[5] else b"/"


def _unescaped(data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """The bytes without escapes, and marks: where something stands in them, and in `data`."""
    parts: list[bytes] = []
    marks = [(0, 0)]
    size = at = 0
    for escape in _ESCAPE.finditer(data):
        start, end = escape.span()
        size += start - at
        parts += (data[at:start], _character(escape))
        marks += ((size, start), (size + 1, end))
        size, at = size + 1, end
    return b"".join((*parts, data[at:])), marks


def _overlap(text: bytes, form: bytes) -> int:
    """The length of the longest end of `text` with which `form` begins, and does not end."""
    at = text.find(form[:1], max(len(text) - len(form) + 1, 0))
    while at >= 0:
        if form.startswith(text[at:]):
            return len(text) - at
        at = text.find(form[:1], at + 1)
    return 0
