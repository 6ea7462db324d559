"""From the file `config.toml` to a checked configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from monitor.config import MirrorConfig, StoreConfig, mirror_faults
from monitor.settings import Fault, SettingsError, collect
from router.admission.config import KeysConfig
from router.main.changes import Changes as Changes
from router.main.changes import differences as differences
from router.main.changes import unused as unused
from router.main.files import anchored, file_faults, open_regular, socket_fault, store_from
from router.main.references import Resolver, discreet
from router.main.sections import Config as Config

DEFAULT_FILES = (Path("config.toml"), Path("/etc/mirrorgate/config.toml"))
"""Where a configuration is looked for when none is named, in this order."""
STDIN = Path("/dev/stdin")
"""A configuration that another program writes; children of the supervisor find it empty."""
_LARGEST_FILE = 4 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration with its source."""

    raw: dict[str, Any]
    """The TOML with references resolved, as plain JSON-able values: it holds secrets."""
    config: Config
    """The checked settings; paths of files in them are absolute."""
    path: Path
    """The file, absolute; its folder is what relative paths in it start from."""


def find(given: str | None, environ: Mapping[str, str]) -> Path:
    """The configuration file to use: as given, `$MIRRORGATE_CONFIG`, or the first default.

    A named file is not checked for existence. Raises SettingsError when there is none to use.
    """
    if named := given or environ.get("MIRRORGATE_CONFIG"):
        return Path(named)
    for path in DEFAULT_FILES:
        if path.exists():
            return path
    looked = " and ".join(map(str, DEFAULT_FILES))
    hint = "write one with `mirrorgate init URL`, or name one with --config"
    raise SettingsError(
        [Fault("", f"there is no configuration file (looked for {looked}): {hint}")]
    )


def load(path: Path, environ: Mapping[str, str]) -> Document:
    """Read, resolve and check a configuration file. Raises SettingsError with every fault."""
    path = path.absolute()
    table = _parse(path)
    resolver = Resolver(path.parent, environ)
    raw = resolver.resolve(table)
    config, faults = _checked(raw, path.parent)
    if config is not None:
        faults += file_faults(config)
    unresolved = [fault.path for fault in resolver.faults]
    faults = [
        discreet(fault, resolver.found)
        for fault in faults
        if not any(path.startswith(fault.path) for path in unresolved)
    ]
    if faults or resolver.faults or config is None:
        raise SettingsError([*resolver.faults, *faults])
    return Document(raw, config, path)


def from_raw(raw: dict[str, Any], path: Path) -> Document:
    """The document that `load` gave to another process. Reads no file."""
    path = path.absolute()
    config, faults = _checked(raw, path.parent)
    if config is None or faults:
        raise SettingsError(faults)
    return Document(raw, config, path)


def socket_path(path: Path, environ: Mapping[str, str]) -> Path:
    """The socket of the instance that runs with this file, whatever else is wrong with the file.

    Commands need no more, and may lack the environment that the running instance has.
    """
    path = path.absolute()
    default = path.parent / Config().admin.socket
    try:
        admin = _parse(path).get("admin")
    except SettingsError:
        if default.exists():
            return default
        raise
    name = admin.get("socket") if isinstance(admin, dict) else None
    resolver = Resolver(path.parent, environ)
    name = resolver.resolve(name, "admin.socket")
    if resolver.faults:
        raise SettingsError(resolver.faults)
    return path.parent / name if isinstance(name, str) and name else default


def store_url(path: Path, environ: Mapping[str, str]) -> str:
    """Where the store is, whatever else is wrong with the file, and whatever secrets lack here.

    Raises SettingsError.
    """
    return store_from(path.absolute().parent, _section(path, environ, "store", StoreConfig).url)


def has_store(url: str) -> bool:
    """Whether there is something to read; to ask a file that is not there would make it."""
    name = url.removeprefix("sqlite:///")
    return name == url or Path(name).exists()


def key_prefix(path: Path, environ: Mapping[str, str]) -> str:
    """What issued keys begin with, whatever else is wrong with the file. Raises SettingsError."""
    return _section(path, environ, "keys", KeysConfig).prefix


def _section(path: Path, environ: Mapping[str, str], name: str, kind: type[T]) -> T:
    resolver = Resolver(path.absolute().parent, environ)
    table = resolver.resolve(_parse(path.absolute()).get(name, {}), name)
    faults = list(resolver.faults)
    config = collect(kind, table, name, faults)
    if config is None or faults:
        raise SettingsError(faults)
    return config


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") if path == STDIN else open(open_regular(path), "rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise _unusable(path, "is larger than 4 MiB")
        return tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise _unusable(path, "does not exist: write it with `mirrorgate init URL`") from None
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unusable(f"{path}:{line}", "not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, content, str(error)) from None
    except (ValueError, RecursionError):  # an endless number, or thousands of brackets
        raise _unusable(path, "is not TOML that can be read") from None


def _syntax_error(path: Path, content: bytes, message: str) -> SettingsError:
    what, _, place = message.rpartition(" (at ")
    if place.startswith("line "):
        line = place.removeprefix("line ").partition(",")[0]
    else:
        line = str(len(content.decode("utf-8-sig").splitlines()))
    return _unusable(f"{path}:{line}", what[:1].lower() + what[1:])


def _unusable(place: Path | str, problem: str) -> SettingsError:
    separator = " " if isinstance(place, Path) else ": "
    return SettingsError([Fault("", f"{place}{separator}{problem}")])


def _checked(raw: dict[str, Any], folder: Path) -> tuple[Config | None, list[Fault]]:
    faults: list[Fault] = []
    config = collect(Config, raw, "", faults)
    faults += _mirror_list_faults(raw.get("mirrors", []))
    if config is None:
        return None, faults
    config = anchored(config, folder)
    return config, [*faults, *socket_fault(config)]


def _mirror_list_faults(mirrors: Any) -> Iterator[Fault]:
    """Faults of the list as a whole, found even when single mirrors have others."""
    if not isinstance(mirrors, list) or not all(isinstance(m, dict) for m in mirrors):
        return
    if not mirrors:
        hint = 'write [[mirrors]] with id = "…" and url = "https://…"'
        yield Fault("mirrors", f"at least one mirror is needed: {hint}")
    named = [MirrorConfig(id=m.get("id", f"#{i}"), url="") for i, m in enumerate(mirrors)]
    if all(isinstance(m.id, str) for m in named):
        yield from (Fault(*fault) for fault in mirror_faults(tuple(named)))
