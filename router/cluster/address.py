"""Addresses of Valkey or Redis: one server, one that Sentinels watch over, or a cluster. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

SERVER, SENTINEL, CLUSTER = "server", "sentinel", "cluster"
FORMS = (
    '"redis://HOST:6379/0", "rediss://…" (TLS), "redis+sentinel://HOST:26379,HOST:26379/MASTER", '
    '"redis+cluster://HOST:6379,HOST:6379" or "unix:///PATH"'
)
MOST_HOSTS = 16
"""Hosts of one URL; each may cost a second when it does not answer."""

_SCHEME = re.compile(r"(?:redis|valkey)(s?)(?:\+(sentinel|cluster))?://")
_NODE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+)(?::(\d{1,5}))?")
_OF_SENTINELS = ("sentinel_username", "sentinel_password")
"""Parameters of a URL; all others are redis-py's."""


@dataclass(frozen=True, slots=True)
class Address:
    """A URL of `cluster.url`, taken apart."""

    kind: str
    nodes: tuple[tuple[str, int], ...]
    """Hosts and ports; none for a Unix socket."""
    service: str
    """Name under which Sentinels know the server; "" without them."""
    place: str
    """As operators are told it: without the password."""
    _scheme: str
    _user: str
    _path: str
    _parameters: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart. Raises ValueError, which says what was expected."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path and not parts.hostname:
            user, parameters = parts.netloc.rpartition("@")[0], tuple(parse_qsl(parts.query))
            return cls(SERVER, (), "", parts.path, "unix", user, parts.path, parameters)
        scheme = _SCHEME.match(url)
        if scheme is None:
            raise ValueError(f"expected {FORMS}")
        user, _, hosts = parts.netloc.rpartition("@")
        kind = scheme[2] or SERVER
        nodes = tuple(_node(each, 26379 if kind == SENTINEL else 6379) for each in hosts.split(","))
        service, database = _path_of(parts.path, kind)
        if kind == SERVER and len(nodes) > 1:
            raise ValueError(f"several hosts are of Sentinels or of a cluster: expected {FORMS}")
        if len(nodes) > MOST_HOSTS:
            raise ValueError(f"expected at most {MOST_HOSTS} hosts, got {len(nodes)}")
        place = ",".join(_joined(*node) for node in nodes) + f"/{service}" * bool(service)
        return cls(
            kind,
            nodes,
            service,
            place,
            f"redis{scheme[1]}",
            user,
            f"/{database}",
            tuple(parse_qsl(parts.query)),
        )

    def url(self) -> str:
        """The URL of the one server that this names, or of the first of its hosts."""
        return self.url_of(*self.nodes[0]) if self.nodes else self._url(self._user, "", self._path)

    def url_of(self, host: str, port: int) -> str:
        """The URL of a server, with what else this one says."""
        return self._url(self._user, _joined(host, port), self._path)

    def url_of_sentinels(self) -> str:
        """The URL of the first Sentinel; they have a password of their own or none."""
        name, word = (dict(self._parameters).get(each, "") for each in _OF_SENTINELS)
        user = f"{quote(name, safe='')}:{quote(word, safe='')}" if word else ""
        return self._url(user, _joined(*self.nodes[0]), "")

    def _url(self, user: str, place: str, path: str) -> str:
        parameters = [pair for pair in self._parameters if pair[0] not in _OF_SENTINELS]
        netloc = f"{user}@{place}" if user else place
        return urlunsplit((self._scheme, netloc, path, urlencode(parameters), ""))


def fault_of(url: str) -> str | None:
    """The fault of such a URL, if it has one."""
    try:
        Address.of(url)
    except ValueError as error:
        return str(error)
    return None


def _node(text: str, default: int) -> tuple[str, int]:
    found = _NODE.fullmatch(text)
    port = int(found[2] or default) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError(f'expected HOST or HOST:PORT, got "{text}"')
    return found[1].strip("[]"), port


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path_of(path: str, kind: str) -> tuple[str, int]:
    """Name of the service, and number of the database."""
    words = path.strip("/").split("/") if path.strip("/") else []
    service = words.pop(0) if words and kind == SENTINEL else ""
    if kind == SENTINEL and not service:
        expected = '"redis+sentinel://HOST:26379/mymaster"'
        raise ValueError(f"after the Sentinels comes the name of the master: expected {expected}")
    database = words.pop(0) if words else "0"
    if words or not re.fullmatch(r"\d{1,5}", database):
        raise ValueError(f'expected the number of a database, got "{"/".join([database, *words])}"')
    if kind == CLUSTER and database != "0":
        raise ValueError(f'a cluster has one database: leave out "/{database}"')
    return service, int(database)
