"""`/feed.atom`: incidents and maintenances for feed readers (RFC 4287)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.steps import Steps
from dashboard.i18n.moments import iso
from dashboard.i18n.texts import Words
from dashboard.public.incidents import IncidentRow, MaintenanceRow, Update, updates
from dashboard.public.statuspage import link, link_to_plan

NAMESPACE = "http://www.w3.org/2005/Atom"


def render(
    incidents: Sequence[IncidentRow],
    planned: Sequence[MaintenanceRow],
    config: DashboardConfig,
    words: Words,
    now: float,
) -> Steps[str]:
    """The feed, newest first. The id of an entry stays the same through all its updates."""
    base = config.public_url.rstrip("/")
    feed = ET.Element("feed", {"xmlns": NAMESPACE, "xml:lang": words.language})
    _text(feed, "title", words("feed.title", title=printable(config.title)))
    _text(feed, "id", f"{base}/feed.atom" if base else "urn:mirrorgate:feed")
    updated = [row.updated_at for row in incidents] + [row.updated_at for row in planned]
    _text(feed, "updated", iso(max(updated, default=now)))
    ET.SubElement(feed, "link", {"rel": "self", "href": f"{base}/feed.atom"})
    ET.SubElement(feed, "link", {"rel": "alternate", "href": f"{base}/"})
    author = ET.SubElement(feed, "author")
    _text(author, "name", printable(config.title))
    entries = [(row.started_at, _of_incident(row, config, words)) for row in incidents]
    yield
    entries += [(row.created_at, _of_plan(row, config, words)) for row in planned]
    yield
    feed.extend(entry for _, entry in sorted(entries, key=lambda each: each[0], reverse=True))
    ET.indent(feed)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(feed, "unicode")}\n'


def _of_incident(row: IncidentRow, config: DashboardConfig, words: Words) -> ET.Element:
    state = words("incidents.open") if row.is_open else words("incidents.resolved")
    title, about = f"{row.title(words)} ({state})", f"incident:{row.id}"
    return _entry(
        title, about, row.started_at, row.updated_at, link(row, config), updates(row, words)
    )


def _of_plan(row: MaintenanceRow, config: DashboardConfig, words: Words) -> ET.Element:
    title = f"{row.headline(words) or row.name(words)} ({words(f'planned.{row.status}')})"
    span = words("planned.span", begin=iso(row.starts_at), end=iso(row.ends_at))
    return _entry(
        title,
        f"maintenance:{row.id}",
        row.created_at,
        row.updated_at,
        link_to_plan(row, config),
        row.course(words),
        span,
    )


def _entry(
    title: str,
    about: str,
    published: float,
    updated: float,
    link: str,
    course: Sequence[Update],
    *before: str,
) -> ET.Element:
    entry = ET.Element("entry")
    _text(entry, "title", title)
    _text(entry, "id", f"urn:mirrorgate:{about}")
    _text(entry, "published", iso(published))
    _text(entry, "updated", iso(updated))
    ET.SubElement(entry, "link", {"rel": "alternate", "href": link})
    lines = [*before, *(f"{iso(update.at)}  {update.text}" for update in course)]
    _text(entry, "content", "\n".join(lines)).set("type", "text")
    return entry


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, name)
    element.text = text
    return element
