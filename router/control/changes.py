"""Differences between two configurations, and settings that are allowed but dangerous together."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, NamedTuple

from monitor.common.settings import (
    Compared,
    join_path,
    key_of,
    to_table,
)
from router.admission.config import LimitsConfig
from router.admission.credentials import Caller
from router.control.sections import Config

_TLS = ("router.tls_cert", "router.tls_key")
"""Another certificate is taken over by a reload; whether there is TLS at all is not."""
_LONGEST = 2000
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Differences between two configurations."""

    added: tuple[str, ...] = ()
    """Ids of mirrors."""
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """Paths of other settings that differ and take effect on reload."""
    restart: tuple[str, ...] = ()
    """Paths of settings that differ and take effect only after a restart."""


def differences(old: Config, new: Config) -> Changes:
    """Return the changes of a reload from `old` to `new`."""
    before = {mirror.id: mirror for mirror in old.mirrors}
    after = {mirror.id: mirror for mirror in new.mirrors}
    pairs = zip(_settings(old, lists=False), _settings(new, lists=False), strict=True)
    switched = _TLS if bool(old.router.tls_cert) != bool(new.router.tls_cert) else ()
    differing = [
        (path, field.metadata["restart"] or path in switched)
        for (path, field, was), (_, _, value) in pairs
        if value != was and path != "mirrors"
    ]
    return Changes(
        added=tuple(i for i in after if i not in before),
        removed=tuple(i for i in before if i not in after),
        changed=tuple(i for i in after if i in before and after[i] != before[i]),
        settings=tuple(path for path, restart in differing if not restart),
        restart=tuple(path for path, restart in differing if restart),
    )


def _settings(
    built: Any, path: str = "", *, lists: bool = True
) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """Every setting with its path, its declaration and its value; within lists too, or not."""
    for field in dataclasses.fields(built):
        value = getattr(built, field.name)
        here = join_path(path, key_of(field))
        inner = list(_tables(value, here, lists))
        for place, table in inner:
            yield from _settings(table, place, lists=lists)
        if not inner:
            yield here, field, value


def _tables(value: Any, path: str, lists: bool) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        yield path, value
    elif lists and isinstance(value, tuple):
        yield from ((f"{path}[{i}]", v) for i, v in enumerate(value) if dataclasses.is_dataclass(v))
    elif lists and isinstance(value, Mapping):
        tables = ((k, v) for k, v in value.items() if dataclasses.is_dataclass(v))
        yield from ((join_path(path, k), v) for k, v in tables)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


_HIDDEN = "(hidden)"
_TELLTALE = frozenset(("client_keys",))
"""Settings that may hold a part of a secret."""


def compared(
    running: Config, file: Config | None, kept_elsewhere: Collection[str]
) -> tuple[Compared, ...]:
    """The settings that are not at their default or differ, without secrets.

    `file`: what it says now; None where it cannot be used. `kept_elsewhere`: paths of settings
    whose values are not told either.
    """
    ours = dict(_by_path(running))
    theirs = ours if file is None else dict(_by_path(file))
    found = []
    for path in dict.fromkeys((*ours, *theirs)):
        mine, other = ours.get(path), theirs.get(path)
        field = (mine or other or _NOTHING).field
        usual = _default(field)
        differs = (mine is None) != (other is None) or (
            mine is not None and other is not None and mine.value != other.value
        )
        if not differs and mine is not None and mine.value == usual:
            continue
        hidden = any(each is not None and each.place in kept_elsewhere for each in (mine, other))
        shown = [None if each is None else _shown(each, hidden) for each in (mine, other)]
        restart = bool(field.metadata.get("restart"))
        found.append(Compared(path, shown[0], shown[1], differs, differs and restart))
    return tuple(found)


class _Given(NamedTuple):
    """A setting with its value."""

    place: str
    """Its path as faults name it, with the number of a list's item."""
    field: dataclasses.Field[Any]
    value: Any


_NOTHING = _Given("", dataclasses.fields(Changes)[0], ())


def _by_path(config: Config) -> Iterator[tuple[str, _Given]]:
    """Every setting by a path that stays when others are added: mirrors are named by their id."""
    names = {f"mirrors[{i}]": f"mirrors.{m.id}" for i, m in enumerate(config.mirrors)}
    for place, field, value in _settings(config):
        head, dot, rest = place.partition(".")
        yield (names[head] + dot + rest if head in names else place), _Given(place, field, value)


def _shown(given: _Given, hidden: bool) -> str:
    """A value as TOML writes it, without secrets."""
    field, value = given.field, given.value
    secret = field.metadata.get("secret") or field.name in _TELLTALE or hidden
    if value and secret:
        return _HIDDEN
    return json.dumps(to_table(value), ensure_ascii=False, default=str)[:_LONGEST]


def cautions(config: Config) -> list[str]:
    """A sentence on each, for the log, `mirrorgate check` and `mirrorgate status`."""
    found = list(_of_pages(config))
    if Caller.anonymous in config.router.callers:
        found += _of_anonymous_callers(config)
    return found


def _of_pages(config: Config) -> Iterator[str]:
    page = config.dashboard
    if page.public_url and not page.entrances:
        yield (
            "dashboard.public_url is set without dashboard.entrances: visitors are told no more of "
            "where the API is than router.listen: set dashboard.entrances"
        )


def _of_anonymous_callers(config: Config) -> Iterator[str]:
    if not _limited(config.limits):
        yield (
            "router.callers has anonymous and [limits] are off: one client can spend all of the "
            "mirrors' keys: set limits.connections and limits.requests_per_second"
        )
    if not any(mirror.api_key for mirror in config.mirrors if mirror.enabled):
        yield (
            "router.callers has anonymous, but no mirror has an api_key: who sends no key is "
            "refused: set mirrors.api_key"
        )


def _limited(limits: LimitsConfig) -> bool:
    exempt = any(ipaddress.ip_network(n, strict=False).prefixlen == 0 for n in limits.allow)
    return bool(limits.connections or limits.requests_per_second) and not exempt
