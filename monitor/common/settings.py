"""From a TOML table to frozen dataclasses: every fault is found, named by its path, and said once.

A setting is declared where it is used, with its meaning: `setting(default, "what it does")`.
`config.example.toml` and the documentation are held to these declarations by a test.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")


class Kind(Enum):
    """Units of a string in TOML that is read into a number."""

    duration = "duration"
    size = "size"


Duration = Annotated[float, Kind.duration]
"""Seconds, written as a number or as "30s", "5m", "2h", "90d", "250ms"."""
Size = Annotated[int, Kind.size]
"""Bytes, written as a number or as "64KiB", "4MiB", "1GiB"."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)")
_LARGEST = 1e15
"""Above this a duration or a size is a slip, and arithmetic on it is no longer exact."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}

Check = Callable[[Any], str | None]
"""Tells what is wrong with a value, or None."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration; `path` is where, as `mirrors[1].url`."""

    path: str
    message: str

    def __str__(self) -> str:
        """One line, whatever the configuration contains."""
        text = f"{self.path}: {self.message}" if self.path else self.message
        return text.translate(_CONTROLS)

    def without_value(self) -> Fault:
        """The same without the value, which every message names last, after ", got "."""
        return Fault(self.path, self.message.partition(", got ")[0])


class SettingsError(ValueError):
    """A configuration that cannot be used, with all its faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class Compared(typing.NamedTuple):
    """A setting that is not at its default, or that the file has otherwise."""

    path: str
    running: str | None
    """As it is written, without secrets; None where there is none of this path."""
    file: str | None
    differs: bool
    restart: bool
    """True if only a restart changes it."""


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    check: Check | None = None,
    restart: bool = False,
    secret: bool = False,
    shown: str | None = None,
) -> Any:
    """Declare a setting.

    `check` tells what is wrong with a value; `restart` marks what a reload cannot change; a fault
    never names the value of a `secret`; `shown` is how the default is written in
    `config.example.toml` where the plain value would not be clear.
    """
    metadata = {
        "doc": doc,
        "check": check,
        "restart": restart,
        "secret": secret,
        "shown": shown,
    }
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if default is MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def key_of(field: dataclasses.Field[Any]) -> str:
    """The name of a field in TOML: `for_` and `from_` avoid Python's keywords."""
    return field.name.removesuffix("_")


def parse_duration(text: str) -> float:
    """Seconds of "30s". Raises ValueError."""
    return _quantity(text, _SECONDS, 'a duration such as 30, "30s", "5m" or "2h"')


def parse_size(text: str) -> int:
    """Bytes of "4MiB". Raises ValueError."""
    return int(_quantity(text, _BYTES, 'a size such as 4096 or "4MiB"'))


def _quantity(text: str, units: Mapping[str, float], expected: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise ValueError(f"expected {expected}, got {_show(text)}")
    amount = float(match[1]) * units[match[2]]
    if amount >= _LARGEST:
        raise ValueError(f"expected {expected}, got {_show(text)}")
    return amount


def read(cls: type[T], table: Any, path: str = "") -> T:
    """Build `cls` from a TOML table. Raises SettingsError with every fault found."""
    faults: list[Fault] = []
    value = collect(cls, table, path, faults)
    if faults or value is None:
        raise SettingsError(faults)
    return value


def collect(cls: type[T], table: Any, path: str, faults: list[Fault]) -> T | None:
    """Build `cls` from a TOML table; append faults instead of raising, then return None."""
    before = len(faults)
    if not isinstance(table, Mapping):
        faults.append(Fault(path, f"expected a table, got {_show(table)}"))
        return None
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {key_of(f): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    faults.extend(
        Fault(join_path(path, key), _unknown(key, fields)) for key in table if key not in fields
    )
    values = {
        field.name: _field(field, hints[field.name], table[key], join_path(path, key), faults)
        for key, field in fields.items()
        if key in table
    }
    faults.extend(
        Fault(join_path(path, key), "is required")
        for key, field in fields.items()
        if key not in table and field.default is MISSING and field.default_factory is MISSING
    )
    if len(faults) > before:
        return None
    built = cls(**values)
    for key, message in getattr(built, "faults", tuple)():
        faults.append(Fault(f"{path}.{key}" if path else key, message))
    return built if len(faults) == before else None


def to_table(built: Any) -> Any:
    """The table that `read` would build this from, every setting written out."""
    if dataclasses.is_dataclass(built):
        return {key_of(f): to_table(getattr(built, f.name)) for f in dataclasses.fields(built)}
    if isinstance(built, tuple):
        return [to_table(item) for item in built]
    if isinstance(built, Mapping):
        return {key: to_table(value) for key, value in built.items()}
    return built


def _field(
    field: dataclasses.Field[Any], hint: Any, value: Any, path: str, faults: list[Fault]
) -> Any:
    found: list[Fault] = []
    built = _value(hint, value, path, found)
    check: Check | None = field.metadata.get("check")
    if check is not None and not found and (wrong := check(built)):
        found.append(Fault(path, wrong))
    secret = field.metadata.get("secret", False)
    faults.extend(fault.without_value() if secret else fault for fault in found)
    return built


def _value(hint: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return collect(typing.cast(type[Any], hint), value, path, faults)
    if origin is tuple:
        return _tuple(typing.get_args(hint)[0], value, path, faults)
    if origin in (dict, Mapping) or origin is types.MappingProxyType:
        return _mapping(typing.get_args(hint)[1], value, path, faults)
    try:
        return _scalar(hint, origin, value)
    except ValueError as error:
        faults.append(Fault(path, str(error)))
        return None


def _tuple(item: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    if not isinstance(value, list | tuple):
        faults.append(Fault(path, f"expected a list, got {_show(value)}"))
        return None
    return tuple(_value(item, v, f"{path}[{i}]", faults) for i, v in enumerate(value))


def _mapping(item: Any, value: Any, path: str, faults: list[Fault]) -> Any:
    if not isinstance(value, Mapping):
        faults.append(Fault(path, f"expected a table, got {_show(value)}"))
        return None
    several = typing.get_origin(item) is tuple  # there one table is a list of one
    given = {k: [v] if several and isinstance(v, Mapping) else v for k, v in value.items()}
    return {k: _value(item, v, join_path(path, k), faults) for k, v in given.items()}


def _scalar(hint: Any, origin: Any, value: Any) -> Any:
    if origin is Literal:
        return _choice(typing.get_args(hint), value)
    if origin is Annotated:
        return _amount(typing.get_args(hint)[1], value)
    if hint is float:
        return _number(value)
    words = {bool: "true or false", int: "a whole number", str: "a string"}[hint]
    if type(value) is not hint:
        raise ValueError(f"expected {words}, got {_show(value)}")
    return value


def _choice(choices: tuple[Any, ...], value: Any) -> Any:
    if value not in choices:
        raise ValueError(f"expected one of {', '.join(map(_show, choices))}, got {_show(value)}")
    return value


def _amount(kind: Kind, value: Any) -> float | int:
    parse: Callable[[str], float | int] = parse_duration if kind is Kind.duration else parse_size
    if isinstance(value, str):
        return parse(value)
    allowed = (int, float) if kind is Kind.duration else (int,)
    if type(value) not in allowed or not 0 <= value < _LARGEST:
        raise ValueError(f"expected a {kind.value}, got {_show(value)}")
    return float(value) if kind is Kind.duration else int(value)


def _number(value: Any) -> float:
    fine = type(value) in (int, float) and abs(value) < _LARGEST and math.isfinite(value)
    if not fine:
        raise ValueError(f"expected a number, got {_show(value)}")
    return float(value)


def _unknown(key: str, fields: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, fields, n=1)
    return f'unknown setting, did you mean "{close[0]}"?' if close else "unknown setting"


def join_path(path: str, key: str) -> str:
    """The path of a key in the table at `path`, as TOML writes it: `prices."gpt-4.1"`."""
    key = key if _BARE_KEY.fullmatch(key) else f'"{key}"'
    return f"{path}.{key}" if path else key


def _show(value: Any) -> str:
    """A value as people wrote it, short; the inside of a table or list may be anybody's secret."""
    if isinstance(value, Mapping | list | tuple):
        return "a table" if isinstance(value, Mapping) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
