"""Files that a configuration names: relative to its own folder, and there when they are needed."""

from __future__ import annotations

import errno
import os
import ssl
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from monitor.settings import Fault
from router.main.sections import Config

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
