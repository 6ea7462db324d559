"""Writing a configuration as TOML, as far as tests need it."""

import json
from collections.abc import Mapping


def dump(config: Mapping[str, object]) -> str:
    """Return `config` as TOML: tables for the mappings on top, inline tables below.

    A JSON string is a valid TOML basic string (https://toml.io/en/v1.0.0#string), apart from DEL.
    """
    plain = [f"{_value(key)} = {_value(value)}" for key, value in config.items() if _flat(value)]
    tables = [_table(key, value) for key, value in config.items() if not _flat(value)]
    return "\n".join(["\n".join(plain), *tables]).lstrip("\n")


def _flat(value: object) -> bool:
    if isinstance(value, list):
        return not value or not isinstance(value[0], Mapping)
    return not isinstance(value, Mapping)


def _table(key: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(f"[[{_value(key)}]]\n{_lines(item)}\n" for item in value)
    return f"[{_value(key)}]\n{_lines(value)}\n"


def _lines(table: object) -> str:
    assert isinstance(table, Mapping)
    return "".join(f"{_value(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"no TOML for {value!r}")
