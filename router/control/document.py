"""The file `config.toml` and the files that it names, read into a checked configuration."""

from __future__ import annotations

import errno
import os
import ssl
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from monitor.common.config import MirrorConfig, StoreConfig, mirror_faults
from monitor.common.settings import Fault, SettingsError, collect
from router.admission.config import KeysConfig
from router.control.changes import Changes as Changes
from router.control.changes import differences as differences
from router.control.references import Resolver, discreet
from router.control.sections import Config as Config

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
    kept_elsewhere: frozenset[str] = field(default=frozenset(), compare=False)
    """Paths of settings that the file refers to, as far as it was read by this process."""


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
    return _loaded(_parse(path), path, environ)


def parsed(text: str, path: Path, environ: Mapping[str, str]) -> Document:
    """The document that `load` would make of a file with this text. Raises SettingsError."""
    return _loaded(tomllib.loads(text), path.absolute(), environ)


def _loaded(table: dict[str, Any], path: Path, environ: Mapping[str, str]) -> Document:
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
    return Document(raw, config, path, frozenset(item.path for item in resolver.found))


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


def target_url(text: str, environ: Mapping[str, str]) -> str:
    """The URL of another store, as the command line names it, from this folder.

    Raises SettingsError.
    """
    resolver = Resolver(Path.cwd(), environ)
    url = str(resolver.resolve(text, "URL"))
    if resolver.faults:
        raise SettingsError(resolver.faults)
    return store_from(Path.cwd(), url)


def has_store(url: str) -> bool:
    """True if there is something to read; to ask a file that is not there would make it."""
    name = url.removeprefix("sqlite:///")
    return name == url or Path(name).exists()


def key_prefix(path: Path, environ: Mapping[str, str]) -> str:
    """Return the prefix of issued keys, whatever else is wrong with the file. Raises
    SettingsError."""
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


_SQLITE = "sqlite:///"
_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (sys/un.h)."""


def anchored(config: Config, folder: Path) -> Config:
    """The configuration with every relative path of a file made absolute, from `folder`."""
    return replace(
        config,
        router=replace(
            config.router,
            tls_cert=_from(folder, config.router.tls_cert),
            tls_key=_from(folder, config.router.tls_key),
        ),
        dashboard=replace(
            config.dashboard,
            location_database=_from(folder, config.dashboard.location_database),
        ),
        admin=replace(config.admin, socket=_from(folder, config.admin.socket)),
        store=replace(config.store, url=store_from(folder, config.store.url)),
        log=replace(config.log, access=_log_from(folder, config.log.access)),
        mirrors=tuple(replace(m, ca_file=_from(folder, m.ca_file)) for m in config.mirrors),
    )


def _from(folder: Path, name: str) -> str:
    return str(folder / name) if name else ""


def store_from(folder: Path, url: str) -> str:
    """The URL of the store with a relative path of a file made absolute, from `folder`."""
    if not url.startswith(_SQLITE):
        return url
    return _SQLITE + str(folder / url.removeprefix(_SQLITE))


def _log_from(folder: Path, access: str) -> str:
    return access if access in ("off", "-") else _from(folder, access)


def open_regular(path: Path | str) -> int:
    """A descriptor of a regular file, to be read and closed.

    A FIFO is opened without waiting for its writer, and refused as a device is, which might never
    end. Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, "it is no regular file")


def socket_fault(config: Config) -> Iterator[Fault]:
    """A socket whose absolute path is longer than the system takes."""
    length = len(config.admin.socket.encode())
    if length > _LONGEST_SOCKET:
        problem = f"its whole path has {length} bytes, {_LONGEST_SOCKET} are possible"
        yield Fault("admin.socket", f'{problem}; use a shorter one such as "/run/mirrorgate.sock"')


def file_faults(config: Config) -> Iterator[Fault]:
    """Files that are not there or cannot be used. Paths are absolute."""
    router = config.router
    if router.tls_cert and router.tls_key:
        if unreadable := _unreadable(router.tls_cert):
            yield Fault("router.tls_cert", unreadable)
        elif unreadable := _unreadable(router.tls_key):
            yield Fault("router.tls_key", unreadable)
        elif problem := _pair_problem(router.tls_cert, router.tls_key):
            yield Fault("router.tls_cert", problem)
    places = config.dashboard.location_database
    if places and (unreadable := _unreadable(places)):
        yield Fault("dashboard.location_database", unreadable)
    for index, mirror in enumerate(config.mirrors):
        if mirror.ca_file and (problem := _unreadable(mirror.ca_file) or _ca(mirror.ca_file)):
            yield Fault(f"mirrors[{index}].ca_file", problem)


def _unreadable(name: str) -> str | None:
    try:
        os.close(open_regular(name))
        return None
    except OSError as error:
        return f"cannot read {name}: {error.strerror}"


def _pair_problem(cert: str, key: str) -> str | None:
    try:  # an empty password, so that an encrypted key fails instead of asking on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else None
        return f"not a certificate with its unencrypted key in PEM form ({reason or error})"
    return None


def _ca(name: str) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=name)
    except ssl.SSLError:
        return f"{name} holds no certificate in PEM form"
    return None
