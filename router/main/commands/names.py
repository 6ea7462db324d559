"""Ids of mirrors, from their URLs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from monitor import checks

_GENERIC = ("api", "www", "gateway", "proxy")
"""First labels that tell nothing when another follows."""


def ids_of(urls: Sequence[str]) -> list[str]:
    """A short, stable id for each URL; a number tells apart those that would be the same."""
    taken: list[str] = []
    for url in urls:
        wanted = _id_of(url)
        names = (wanted, *(f"{wanted}-{n}" for n in range(2, len(urls) + 2)))
        taken.append(next(name for name in names if name not in taken))
    return taken


def _id_of(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if checks.address(host) is None:
        name = f"{host}-{parts.port}" if parts.port else host
    else:
        name = _telling_label(host.split("."))
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:56].strip("-")
    return cleaned or "mirror"


def _telling_label(labels: list[str]) -> str:
    generic = len(labels) > 2 and labels[0] in _GENERIC
    return labels[1] if generic else labels[0]
