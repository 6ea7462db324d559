"""Settings that traffic shows to be missing: said once in the log, and in the status."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("control")

_SENTENCES = {
    "trusted_proxies": (
        "{address} looks like a proxy ({looks}) and is not trusted, so all clients behind it count "
        "as one: put {value} into router.trusted_proxies"
    ),
    "client_ip_header": (
        "{address} is a trusted proxy but does not send {field}, so all clients behind it count "
        "as one: set router.client_ip_header to the field that it sends"
    ),
}


class Notices:
    """Notices of workers since the configuration was read."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def hear(self, message: Mapping[str, Any]) -> None:
        """A worker has noticed that a setting is missing."""
        setting, looks = message["setting"], message["looks"]
        if setting not in _SENTENCES or (setting, looks) in self._known:
            return
        values = {**message, "looks": _in_words(looks), "value": _value(message)}
        sentence = _SENTENCES[setting].format_map(values)
        self._known[setting, looks] = sentence
        log.warning("%s", sentence)

    def clear(self) -> None:
        """Another configuration is in use."""
        self._known.clear()

    def sentences(self) -> list[str]:
        """Each says which setting is missing."""
        return list(self._known.values())


def _in_words(looks: str) -> str:
    return "it names clients of its own" if looks == "private" else f"of {looks}"


def _value(message: Mapping[str, Any]) -> str:
    looks = message["looks"]
    if looks in ("private", "cloudflare"):
        return f'"{message["address"]}" or "{looks}"' if looks == "private" else f'"{looks}"'
    return f"the ranges that {looks} publishes"
