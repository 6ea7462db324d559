"""`env:NAME` and `file:PATH`: strings of a configuration that are kept elsewhere.

What they stand for never appears in a fault: `discreet` takes it out again.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.common.settings import Fault, join_path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_FILE = 64 * 1024
"""Bytes. A secret is short; a larger file is a wrong path."""

_SHORTEST_SECRET = 4
"""Characters. Shorter values are no secrets, and would be found within ordinary words."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A value that was kept elsewhere: at which setting, how it was written, what it is."""

    path: str
    reference: str
    value: str


class Resolver:
    """Replaces references in a TOML document; collects faults and what was replaced."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self.faults: list[Fault] = []
        self.found: list[Resolved] = []

    def resolve(self, value: Any, path: str = "") -> Any:
        """`value` with every reference in it replaced; a copy."""
        if isinstance(value, dict):
            return {key: self.resolve(v, join_path(path, key)) for key, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(v, f"{path}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, str) and value.startswith(("env:", "file:")):
            return self._look_up(value, path)
        return value

    def _look_up(self, reference: str, path: str) -> str:
        kind, _, name = reference.partition(":")
        try:
            text = self._variable(name) if kind == "env" else self._file(name)
        except ValueError as error:
            self.faults.append(Fault(path, str(error)))
            return reference
        self.found.append(Resolved(path, reference, text))
        return text

    def _variable(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError('expected "env:NAME", NAME being an environment variable')
        if name not in self._environ:
            raise ValueError(f"the environment variable {name} is not set")
        return _filled(self._environ[name], f"the environment variable {name}")

    def _file(self, name: str) -> str:
        if not name:
            raise ValueError('expected "file:PATH"')
        return _filled(_read_small(self._folder / name), f"the file {self._folder / name}")


def _filled(text: str, what: str) -> str:
    text = text.rstrip("\r\n")
    if not text:  # an empty token or key would switch a protection off without a word
        raise ValueError(f"{what} is empty")
    return text


def _read_small(file: Path) -> str:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would block, a device never end
            raise ValueError(f"{file} is not a file")
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from None
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"{file} is larger than {_LARGEST_FILE // 1024} KiB")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None


def discreet(fault: Fault, found: list[Resolved]) -> Fault:
    """The fault without any value that was kept elsewhere."""
    message = fault.message
    for item in sorted(found, key=lambda r: len(r.value), reverse=True):
        own = item.path.startswith(fault.path)  # the setting itself, or a list around it
        if own:
            message = message.partition(", got ")[0]
        if own or len(item.value) >= _SHORTEST_SECRET:
            message = message.replace(item.value, item.reference)
    return Fault(fault.path, message)
