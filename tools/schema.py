"""`docs/config.schema.json`: `python -m tools.schema > docs/config.schema.json`.

A JSON schema (draft 7, as editors of TOML read it) of the configuration, made from its
declarations: editors complete the names of settings, show what they mean, and mark wrong types.
What depends on several settings, or on the machine, only `mirrorgate check` knows.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING
from typing import Annotated, Any, Literal

from monitor.common.settings import Kind, key_of
from router.control.sections import Config, default_text

Schema = dict[str, Any]
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_FROM_OUTSIDE = r"^(env|file):.+"
_STRINGS = {
    Kind.duration: rf"^{_NUMBER}\s*(ms|s|m|h|d)$",
    Kind.size: rf"^{_NUMBER}\s*(B|KiB|MiB|GiB)$",
}


def schema() -> Schema:
    """The schema of a configuration file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mirrorgate",
        **_table(Config),
    }


def _table(cls: Any) -> Schema:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)
    required = [
        key_of(field)
        for field in fields
        if field.default is MISSING and field.default_factory is MISSING
    ]
    found: Schema = {
        "type": "object",
        "description": (cls.__doc__ or "").strip().partition("\n")[0],
        "properties": {key_of(field): _property(field, hints[field.name]) for field in fields},
        "additionalProperties": False,
    }
    return {**found, "required": required} if required else found


def _property(field: dataclasses.Field[Any], hint: Any) -> Schema:
    found = _value(hint)
    if field.metadata.get("doc"):
        found["description"] = _described(field, hint)
    return found


def _described(field: dataclasses.Field[Any], hint: Any) -> str:
    meaning = str(field.metadata["doc"])
    optional = field.default is not MISSING or field.default_factory is not MISSING
    if optional and not dataclasses.is_dataclass(hint):
        meaning += f" (default: {default_text(field, hint)})"
    return meaning


def _value(hint: Any) -> Schema:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _table(hint)
    if origin is Annotated:
        outside = {"type": "string", "pattern": _FROM_OUTSIDE}
        written = {"type": "string", "pattern": _STRINGS[args[1]]}
        return {"anyOf": [{"type": "number", "minimum": 0}, written, outside]}
    if origin is Literal:
        return {"type": "string", "anyOf": [{"enum": list(args)}, {"pattern": _FROM_OUTSIDE}]}
    if origin is tuple:
        return {"type": "array", "items": _value(args[0])}
    if origin is dict:
        several = _value(args[1])  # one may stand for a list of one
        inner = {"anyOf": [several["items"], several]} if "items" in several else several
        return {"type": "object", "additionalProperties": inner}
    names: Mapping[Any, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": names[hint]}


def render() -> str:
    """The whole file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render(), end="")
