"""Validators of settings: each returns the fault of a value, or None."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def valid_host(host: str) -> bool:
    """True if `host` is an IP literal or a DNS name that can be asked for."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return len(host) <= 253 and all(map(_LABEL.fullmatch, labels))
    return True


def positive(value: float) -> str | None:
    """The value is above zero."""
    return None if value > 0 else f"expected more than 0, got {value:g}"


def at_least(minimum: float) -> Callable[[float], str | None]:
    """The value is `minimum` or more."""
    return lambda v: None if v >= minimum else f"expected at least {minimum:g}, got {v:g}"


def between(low: float, high: float) -> Callable[[float], str | None]:
    """The value lies within [low, high]."""
    return lambda v: None if low <= v <= high else f"expected {low:g} to {high:g}, got {v:g}"


def at_most_characters(most: int) -> Callable[[str], str | None]:
    """The text is not longer."""
    return lambda v: None if len(v) <= most else f"expected at most {most} characters, got {len(v)}"


name = at_most_characters(100)
"""A name or title: pages, feeds and messages have a line for it."""


def each(check: Callable[[str], str | None]) -> Callable[[tuple[str, ...]], str | None]:
    """Every item of a list passes `check`."""
    return lambda values: next((wrong for v in values if (wrong := check(v))), None)


def host(text: str) -> str | None:
    """A DNS name or an IP address."""
    return None if valid_host(text) else f'expected a host name, got "{text}"'


def address(text: str) -> str | None:
    """An IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f'expected an IP address, got "{text}"'
    return None


def network(text: str) -> str | None:
    """An address, or a network in CIDR form."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f'expected an address or a network such as "192.0.2.0/24", got "{text}"'
    return None


def listen_address(text: str) -> str | None:
    """HOST:PORT, the host an IP address or "localhost"; an IPv6 address stands in brackets."""
    host_part, _, port = text.rpartition(":")
    bare = host_part.removeprefix("[").removesuffix("]")
    fine = re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65535
    bracketed = host_part.startswith("[") and host_part.endswith("]")
    if not fine or bracketed != (":" in bare) or (bare != "localhost" and address(bare)):
        return f'expected ADDRESS:PORT such as "127.0.0.1:8080" or "[::]:8080", got "{text}"'
    return None


def host_and_port(text: str) -> str | None:
    """HOST:PORT; an IPv6 address stands in brackets."""
    host_part, _, port = text.rpartition(":")
    bare = host_part.removeprefix("[").removesuffix("]")
    bracketed = host_part.startswith("[") and host_part.endswith("]")
    number = re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= 65535
    if number and bare and bracketed == (":" in bare) and valid_host(bare):
        return None
    return f'expected HOST:PORT such as "one.one.one.one:443", got "{text}"'


def http_url(text: str) -> str | None:
    """An absolute http(s) URL without query, fragment and credentials."""
    credentials = "@" in text
    problem = "expected an http(s) URL" if credentials else f'expected an http(s) URL, got "{text}"'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return problem
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return problem
    if parts.query or parts.fragment or parts.username is not None:
        return "expected a URL without query, fragment and credentials"
    if not parts.hostname.isascii():
        return _in_ascii(parts.hostname) or problem
    if not valid_host(parts.hostname) or not re.fullmatch(r"[!-~]+", text):
        return problem
    return None


def _in_ascii(host: str) -> str | None:
    """The advice for an internationalized host name; None if it is none."""
    try:
        return f'expected a host in ASCII: write "{host.encode("idna").decode()}"'
    except UnicodeError:
        return None


def webhook_url(text: str) -> str | None:
    """An absolute http(s) URL; webhooks carry their token in the path or in the query."""
    return http_url(text.partition("?")[0]) and (
        "expected an http(s) URL without credentials before the host"
    )


def optional(check: Callable[[str], str | None]) -> Callable[[str], str | None]:
    """Empty, or passes `check`."""
    return lambda text: check(text) if text else None


def path_prefix(text: str) -> str | None:
    """A path prefix such as "/v1/": begins and ends with a slash, no dot segments or escapes."""
    if re.fullmatch(r"/(?:[A-Za-z0-9_~.-]+/)*", text) and "/." not in text:
        return None
    return f'expected a path such as "/v1/", got "{text}"'


def served_path(text: str) -> str | None:
    """A path prefix, or a path such as "/v1/messages" that stands for itself and what is below."""
    if text and (path_prefix(f"{text}/") is None or path_prefix(text) is None):
        return None
    return f'expected a path such as "/v1/" or "/v1/messages", got "{text}"'


def header_safe(text: str) -> str | None:
    """Text that can be put into a header field: visible ASCII, no spaces."""
    return None if re.fullmatch(r"[!-~]*", text) else "expected visible ASCII without spaces"
