"""Locations of addresses, from a database file of the operator's; nobody is asked over the network.

Layouts differ. MaxMind nests and translates (`country.names.zh-CN`, `subdivisions[0].names`),
DB-IP's and IPinfo's smaller files are flat (`country_name`, `stateprov`, `as_name`). Of what there
is, the country, the first subdivision and the network's operator are shown; never more, so that a
masked address stays one of many.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import maxminddb

log = logging.getLogger("control")

_REMEMBERED = 4096
_LONGEST = 64
_COUNTRY = ("country_name", "country", "country_code", "country_iso_code")
_REGION = ("subdivision", "region_name", "region", "stateprov", "state1", "state")
_OPERATOR = ("as_name", "isp", "organization", "autonomous_system_organization", "as_organization")


@dataclass(frozen=True, slots=True)
class Attribution:
    """Attribution that a database's licence demands where its results are shown."""

    text: str
    url: str


_ATTRIBUTIONS = (
    ("geolite", Attribution("GeoLite data by MaxMind", "https://www.maxmind.com")),
    ("dbip", Attribution("IP Geolocation by DB-IP", "https://db-ip.com")),
    ("ipinfo", Attribution("IP address data by IPinfo", "https://ipinfo.io")),
    ("ip2location", Attribution("IP2Location LITE data", "https://lite.ip2location.com")),
)
"""By a part of the database's type, in small letters without "-": the vendors' terms of use."""


class Locations:
    """Looks addresses up; opens the file anew when it is replaced."""

    def __init__(self) -> None:
        self._path = ""
        self._seen: tuple[int, int] | None = None
        self._reader: maxminddb.Reader | None = None
        self._known: dict[tuple[str, str], str] = {}
        self.attribution: Attribution | None = None

    def use(self, path: str) -> None:
        """Look into this file from now on; "" into none. Cheap when nothing has changed."""
        seen = _stamp(path)
        if (path, seen) != (self._path, self._seen):
            self._path, self._seen = path, seen
            self._open(path if seen else "")

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def of(self, network: str, language: str) -> str:
        """The location of a network, in a few words; "" if unknown."""
        if self._reader is None:
            return ""
        known = self._known.get((network, language))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[network, language] = self._look_up(network, language)
        return known

    def _open(self, path: str) -> None:
        self.close()
        self._known.clear()
        self.attribution = None
        if not path:
            return
        try:
            self._reader = maxminddb.open_database(path)
            self.attribution = attribution_of(self._reader.metadata().database_type)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            log.error("locations are unknown, %s cannot be read: %s", path, error)

    def _look_up(self, network: str, language: str) -> str:
        assert self._reader is not None
        address = ipaddress.ip_network(network).network_address
        try:
            found = self._reader.get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):  # IPv6 in a database without it
            return ""
        return in_words(found, language) if isinstance(found, Mapping) else ""


def attribution_of(database_type: str) -> Attribution | None:
    """Attribution to show beside results of such a database, if any."""
    plain = database_type.lower().replace("-", "").replace(" ", "")
    return next((said for part, said in _ATTRIBUTIONS if part in plain), None)


def in_words(found: Mapping[str, Any], language: str) -> str:
    """Country, subdivision and operator of a record, as far as it has them."""
    subdivisions = found.get("subdivisions")
    first = subdivisions[0] if isinstance(subdivisions, list) and subdivisions else None
    parts = (
        _name(found.get("country"), language) or _first(found, _COUNTRY),
        _name(first, language) or _first(found, _REGION),
        _first(found, _OPERATOR) or _nested_operator(found),
    )
    told: list[str] = []
    for part in parts:
        if part and part not in told:
            told.append(part)
    return " ".join(told)


def _name(value: Any, language: str) -> str:
    """A name in MaxMind's form, in this language or else in English."""
    names = value.get("names") if isinstance(value, Mapping) else None
    if not isinstance(names, Mapping):
        return _text(value.get("iso_code")) if isinstance(value, Mapping) else ""
    wanted = "zh-CN" if language == "zh" else language
    return _text(names.get(wanted) or names.get("en"))


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((text for key in keys if (text := _text(found.get(key)))), "")


def _nested_operator(found: Mapping[str, Any]) -> str:
    traits = found.get("traits")
    return _first(traits, _OPERATOR) if isinstance(traits, Mapping) else ""


def _text(value: Any) -> str:
    return value.strip()[:_LONGEST] if isinstance(value, str) else ""


def _stamp(path: str) -> tuple[int, int] | None:
    """Tells one version of a file from another; None when it is not there."""
    if not path:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
