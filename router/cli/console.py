"""Where commands read and write: streams, environment, colour; and how they fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes: done; failed; bad usage or configuration."""

_COLOURS = {
    "up": "32",
    "degraded": "33",
    "unknown": "33",
    "down": "31",
    "maintenance": "36",
    "drain": "36",
}


class CommandFailed(Exception):
    """A command that cannot do its work: one sentence, with what to do next."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class OutputLost(CommandFailed):
    """Standard output takes nothing: a full disk, mostly."""


@dataclass(frozen=True)
class Console:
    """The streams of one call of `mirrorgate`."""

    out: TextIO
    err: TextIO
    environ: Mapping[str, str]
    source: TextIO | None = None
    """The operator's answers, where input is a terminal."""

    @classmethod
    def of_process(cls, environ: Mapping[str, str]) -> Console:
        """The process's own streams; what they cannot encode is escaped instead of failing, and
        what goes to one that the caller has closed is dropped."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        return cls(sys.stdout or _nowhere(), sys.stderr or _nowhere(), environ, sys.stdin)

    @property
    def coloured(self) -> bool:
        """On a terminal that shows colours, unless NO_COLOR says otherwise (no-color.org)."""
        plain = self.environ.get("NO_COLOR") or self.environ.get("TERM") == "dumb"
        return self.out.isatty() and not plain

    @property
    def interactive(self) -> bool:
        """True if somebody sits at it who can be asked."""
        return self.source is not None and self.source.isatty() and self.err.isatty()

    def ask(self, question: str, default: str = "") -> str:
        """The answer to a question; `default` for an empty one. Raises CommandFailed at the end
        of the input."""
        shown = f"{question} [{default}] " if default else f"{question} "
        print(shown, file=self.err, end="", flush=True)
        line = self.source.readline() if self.source is not None else ""
        if not line:
            raise CommandFailed("no answer came: nothing was changed")
        return line.strip() or default

    def confirmed(self, question: str) -> bool:
        """True if the answer is yes."""
        return self.ask(f"{question} [y/N]").lower() in ("y", "yes", "是")

    def say(self, text: str) -> None:
        """A line of the result. Raises OutputLost."""
        with _written():
            print(text, file=self.out)

    def flush(self) -> None:
        """Hand on what was said. Raises OutputLost."""
        with _written():
            self.out.flush()

    def note(self, text: str) -> None:
        """A line beside the result: progress, advice, faults."""
        print(text, file=self.err, flush=True)

    def advise(self, text: str) -> None:
        """A note, if there is anything to say."""
        if text:
            self.note(f"note: {text}")

    def redraw(self, text: str) -> None:
        """Replace the line that was drawn last beside the result, on a terminal; "" removes it."""
        shown = text
        while shown and width(shown) >= shutil.get_terminal_size().columns:
            shown = shown[:-1]
        print(f"\r\x1b[K{shown}", end="", file=self.err, flush=True)

    def data(self, value: Any) -> None:
        """The result as JSON. Raises OutputLost."""
        self.say(json.dumps(value, ensure_ascii=False, indent=2))

    def state(self, text: str) -> str:
        """The name of a state, in its colour."""
        code = _COLOURS.get(text)
        return f"\x1b[{code}m{text}\x1b[0m" if code and self.coloured else text

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print rows in aligned columns; the columns are named on top."""
        for line in aligned([header, *rows]):
            self.say(line)


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(f"the result cannot be written: {error.strerror}") from error


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, each as wide as its widest cell; the last is not padded."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]


def folded(text: str, columns: int) -> list[str]:
    """Lines of at most so many columns, broken at blanks and between wide characters, but not
    before a closing mark."""
    lines, line = [], ""
    for piece in _PIECES.findall(text):
        if line and width(line) + width(piece.rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return [*lines, line.rstrip()]


_WIDE = "\u2e80-\u9fff\uff00-\uffef"
_CLOSING, _OPENING = "，。：；、！？）》」』”", "（《「『“"
_PIECES = re.compile(
    rf"[{_OPENING}]*(?:[^\s{_OPENING}{_WIDE}]+|[{_WIDE}])[{_CLOSING}]*\s*|\s+|[{_OPENING}]+"
)


def language_of(environ: Mapping[str, str]) -> str:
    """The language of texts that are written in several, as POSIX's locale variables say."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((value for name in names if (value := environ.get(name))), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def _padded(cell: str, columns: int) -> str:
    return cell + " " * (columns - width(cell))


def width(text: str) -> int:
    """Columns of `text` on a terminal: wide and full-width characters take two (UAX #11)."""
    shown = _without_colour(text)
    return sum(_columns(character) for character in shown)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _without_colour(text: str) -> str:
    while (start := text.find("\x1b[")) >= 0 and (end := text.find("m", start)) >= 0:
        text = text[:start] + text[end + 1 :]
    return text


def plain(value: object) -> str:
    """A value from elsewhere for a cell: one line, no control characters; "-" for nothing."""
    text = "" if value is None else str(value)
    shown = "".join("?" if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    return shown or "-"
