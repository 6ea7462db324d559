"""The sections of `config.toml`, what must hold between them, and all settings as declared.

The example file, the documentation and `mirrorgate help` are made from the declarations.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal

from dashboard.common.config import AdminConfig, DashboardConfig
from monitor.common.config import MirrorConfig, MonitorConfig, StoreConfig
from monitor.common.durations import duration
from monitor.common.logs import LogConfig
from monitor.common.settings import Kind, join_path, key_of, setting
from monitor.notify.config import NotifyConfig
from monitor.notify.message import Style
from router.admission.config import KeysConfig, LimitsConfig, PriceConfig, dated
from router.cluster.config import TOLD_BY_ALL, ClusterConfig
from router.forwarding.config import LegacyConfig, RouterConfig, TracesConfig

_ANY_ADDRESS = ("0.0.0.0", "[::]")


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration."""

    mirrors: tuple[MirrorConfig, ...] = setting((), "the mirrors")
    router: RouterConfig = setting(RouterConfig)
    limits: LimitsConfig = setting(LimitsConfig)
    monitor: MonitorConfig = setting(MonitorConfig)
    dashboard: DashboardConfig = setting(DashboardConfig)
    admin: AdminConfig = setting(AdminConfig)
    store: StoreConfig = setting(StoreConfig)
    cluster: ClusterConfig = setting(ClusterConfig)
    log: LogConfig = setting(LogConfig)
    traces: TracesConfig = setting(TracesConfig)
    legacy: LegacyConfig = setting(LegacyConfig)
    keys: KeysConfig = setting(KeysConfig)
    notify: tuple[NotifyConfig, ...] = setting((), "receivers of notices of changes")
    prices: dict[str, tuple[PriceConfig, ...]] = setting({}, "what models cost", check=dated)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Two listeners on one port: the second could not be bound. Instances without a common
        store: each would have bans and keys of its own."""
        if self.cluster.url and self.store.url.startswith("sqlite"):
            problem = 'all instances need one store: set store.url = "postgresql://…"'
            yield "cluster.url", problem
        taken: list[tuple[str, str]] = []
        for section in ("router", "dashboard", "admin"):
            listen = getattr(self, section).listen
            for other, address in taken:
                if _same_port(listen, address):
                    yield f"{section}.listen", f"the port is taken by {other}.listen ({address})"
            taken.append((section, listen))


def vantage_name(config: Config) -> str:
    """The name of the place that this configuration runs at."""
    return config.monitor.vantage or socket.gethostname()


def told_as(config: Config) -> str:
    """The name under which is kept what operators were told; all of a cluster have one."""
    return TOLD_BY_ALL if config.cluster.url else vantage_name(config)


def notification_style(config: Config) -> Style:
    """The settings of all notifications: page title and vantage tell instances apart."""
    page = config.dashboard
    origin = f"{page.title} {vantage_name(config)}"
    return Style(page.languages[0], page.timezone, origin, page.public_url)


def _same_port(one: str, other: str) -> bool:
    host, _, port = one.rpartition(":")
    other_host, _, other_port = other.rpartition(":")
    meet = host == other_host or host in _ANY_ADDRESS or other_host in _ANY_ADDRESS
    return bool(one and other) and port == other_port != "0" and meet


_EXAMPLES = {
    "mirrors.id": "openai",
    "mirrors.url": "https://api.openai.com",
    "notify.url": "https://hooks.example.com/mirrorgate",
}
"""Values for what has no default."""
_MODEL = "gpt-4"
"""A key for tables that are named by their owner."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting."""

    key: str
    kind: str
    """What is written: "string", "duration", "one of …"."""
    value: str
    """Its default as TOML; where there is none, an example."""
    doc: str
    required: bool
    restart: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One table."""

    header: str
    """As TOML writes it: "[router]" or "[[mirrors]]"."""
    doc: str
    settings: tuple[Declared, ...]

    @property
    def optional(self) -> bool:
        """True if it stands for something that need not exist at all."""
        return self.header.startswith("[[") or '"' in self.header


def sections() -> Iterator[Section]:
    """Every table of the configuration, in the order of the example file."""
    hints = typing.get_type_hints(Config, include_extras=True)
    for field in dataclasses.fields(Config):
        yield from _sections(hints[field.name], field.name)


def _sections(hint: Any, path: str) -> Iterator[Section]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        yield from _section(args[0], path, f"[[{path}]]")
    elif origin is dict:
        path = join_path(path, f"{_MODEL}.").removesuffix('."') + '"'
        one = typing.get_args(args[1])[0] if typing.get_origin(args[1]) is tuple else args[1]
        yield from _section(one, path, f"[{path}]")
    else:
        yield from _section(hint, path, f"[{path}]")


def _section(cls: Any, path: str, header: str) -> Iterator[Section]:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = dataclasses.fields(cls)
    plain = [field for field in fields if not _is_section(hints[field.name], field)]
    settings = tuple(_declared(field, hints[field.name], path) for field in plain)
    yield Section(header, _first_line(cls.__doc__), settings)
    for field in fields:
        if field not in plain:
            yield from _sections(hints[field.name], join_path(path, key_of(field)))


def _is_section(hint: Any, field: dataclasses.Field[Any]) -> bool:
    """Tables of their own, and lists of tables whose form no default or text shows."""
    if dataclasses.is_dataclass(hint):
        return True
    items = typing.get_origin(hint) is tuple and typing.get_args(hint)[0]
    return dataclasses.is_dataclass(items) and "[{" not in field.metadata["doc"]


def _declared(field: dataclasses.Field[Any], hint: Any, path: str) -> Declared:
    required = field.default is MISSING and field.default_factory is MISSING
    return Declared(
        key_of(field),
        _kind(hint),
        json.dumps(_EXAMPLES[f"{path}.{key_of(field)}"]) if required else default_text(field, hint),
        field.metadata["doc"],
        required,
        field.metadata["restart"],
    )


def default_text(field: dataclasses.Field[Any], hint: Any) -> str:
    """The default of a setting, as TOML."""
    if field.metadata["shown"]:
        return str(field.metadata["shown"])
    value: Any = field.default if field.default_factory is MISSING else field.default_factory()
    if typing.get_origin(hint) is Annotated and typing.get_args(hint)[1] is Kind.duration:
        return json.dumps(duration(value)) if value else "0"
    return _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return (
            "{}"
            if not value
            else f"{{ {', '.join(f'{k} = {_toml(v)}' for k, v in value.items())} }}"
        )
    return json.dumps(value, ensure_ascii=False)


def _kind(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return str(args[1].value)
    if origin is Literal:
        return " or ".join(json.dumps(choice) for choice in args)
    if origin is tuple:
        return (
            "list of tables" if dataclasses.is_dataclass(args[0]) else f"list of {_kind(args[0])}"
        )
    if origin is dict:
        return "table"
    return {bool: "true or false", int: "whole number", float: "number"}.get(hint, "string")


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
