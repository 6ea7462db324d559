"""The model that an upload names, and how many images it asks for, found while it passes (RFC 7578,
RFC 2046 section 5.1).

Servers differ in how they read what is written strangely, and who uploads might have a cheap model
read here and a dear one there. So a form is read in its plain spelling only; in any other its model
and its images are not known.
"""

from __future__ import annotations

import re
from typing import Final

_FORM = re.compile(
    rb"""multipart/form-data(?:;[ \t]*charset=[a-z0-9-]+)?"""
    rb""";[ \t]*boundary=(?:"([^"\\]{1,70})"|([^",;\\ \t]{1,70}))(?:;[ \t]*charset=[a-z0-9-]+)?""",
    re.IGNORECASE,
)
_LINE: Final = re.compile(rb"[A-Za-z-]{1,60}:[^\r\n]*+")
_FIELD = re.compile(
    rb"""content-disposition:[ \t]*form-data;[ \t]*name="([^"\\\r\n]*)\""""
    rb"""(?:;[ \t]*filename="[^"\\\r\n]*")?(?:;[ \t]*filename\*=[^";\\\r\n]*)?""",
    re.IGNORECASE,
)
_MOST_HEAD = 4096
_MOST_VALUE = 256
_MOST_MODELS = 8
_NUMBER = re.compile(rb"[0-9]{1,4}")
_READ = (b"model", b"n")
_LATER, _NEVER = -1, -2
"""A part is not here yet, or cannot be read."""


class UploadTap:
    """Finds the models and the number of images that a form names, while it passes."""

    __slots__ = ("_broken", "_carry", "_delimiter", "_images", "_waits", "models")

    def __init__(self, content_type: bytes) -> None:
        form = _FORM.fullmatch(content_type.strip())
        self._delimiter = b"--" + (form[1] or form[2]) if form is not None else b""
        self._carry = b"\r\n"  # the first delimiter may do without
        self._broken = form is None
        self._waits = False
        """True if a part has begun that could not be read to its content yet."""
        self.models: set[str] = set()
        self._images = 1
        """The most of any `n`; 0 where one could not be read."""

    def __repr__(self) -> str:
        return f"<UploadTap {sorted(self.models)}>"

    @property
    def unclear(self) -> bool:
        """True if it may name another model than was found."""
        return self._broken or self._waits

    @property
    def images(self) -> int:
        """Images that it asks for; 0: not known."""
        return 0 if self.unclear else self._images

    def feed(self, piece: bytes) -> None:
        """Note a piece of the body."""
        if self._broken:
            return
        text, begin = self._carry + piece, 0
        self._waits = False
        while (at := text.find(self._delimiter, begin)) >= 0:
            begin = self._read(text, at)
            if begin in (_LATER, _NEVER):
                self._waits, self._broken = True, begin == _NEVER
                self._carry = text[max(at - 2, 0) :] if begin == _LATER else b""
                return
        self._carry = text[max(begin, len(text) - len(self._delimiter) - 1) :]

    def _read(self, text: bytes, at: int) -> int:
        """Read the part that begins with this delimiter; where the next may begin."""
        begin = at + len(self._delimiter)
        if text[at - 2 : at] != b"\r\n":
            return _NEVER
        if text.startswith(b"--", begin):
            return begin + 2
        end = text.find(b"\r\n\r\n", begin) + 4
        if (len(text) if end < 4 else end) - begin > _MOST_HEAD:
            return _NEVER
        if end < 4:
            return _LATER
        name = _name(text[begin:end])
        if name is None or (name != b"model" and b"model" in name.lower()):
            return _NEVER
        if name == b"N":
            self._images = 0
        return self._value(name, text, end) if name in _READ else end

    def _value(self, name: bytes, text: bytes, begin: int) -> int:
        at = text.find(self._delimiter, begin)
        if (len(text) if at < 0 else at) - begin > _MOST_VALUE:
            return _NEVER
        if at < 0:
            return _LATER
        if at < begin + 2 or text[at - 2 : at] != b"\r\n" or len(self.models) >= _MOST_MODELS:
            return _NEVER
        value = text[begin : at - 2]
        if name == b"model":
            self.models.add(value.decode("utf-8", "replace"))
        elif not _NUMBER.fullmatch(value):
            self._images = 0
        elif self._images:
            self._images = max(self._images, int(value))
        return at - 2


def _name(head: bytes) -> bytes | None:
    """The name of a part; None when its head is not written plainly."""
    lines = head.split(b"\r\n")[1:-2]
    if head.startswith(b"\r\n") and all(map(_LINE.fullmatch, lines)):
        fields = [line for line in lines if line.lower().startswith(b"content-disposition")]
        if len(fields) == 1 and (found := _FIELD.fullmatch(fields[0])) is not None:
            return found[1]
    return None
