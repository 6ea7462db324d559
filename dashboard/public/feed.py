"""`/feed.atom`: incidents for feed readers (RFC 4287)."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from dashboard.common.config import DashboardConfig
from dashboard.common.printable import printable
from dashboard.common.steps import Steps
from dashboard.i18n.moments import iso
from dashboard.i18n.texts import Words
from dashboard.public.incidents import IncidentRow, updates
from dashboard.public.statuspage import link

NAMESPACE = "http://www.w3.org/2005/Atom"


def render(
    rows: Sequence[IncidentRow], config: DashboardConfig, words: Words, now: float
) -> Steps[str]:
    """The feed. The id of an entry stays the same through all its updates."""
    base = config.public_url.rstrip("/")
    feed = ET.Element("feed", {"xmlns": NAMESPACE, "xml:lang": words.language})
    _text(feed, "title", words("feed.title", title=printable(config.title)))
    _text(feed, "id", f"{base}/feed.atom" if base else "urn:mirrorgate:feed")
    _text(feed, "updated", iso(max((row.updated_at for row in rows), default=now)))
    ET.SubElement(feed, "link", {"rel": "self", "href": f"{base}/feed.atom"})
    ET.SubElement(feed, "link", {"rel": "alternate", "href": f"{base}/"})
    author = ET.SubElement(feed, "author")
    _text(author, "name", printable(config.title))
    for row in rows:
        feed.append(_entry(row, config, words))
        yield
    ET.indent(feed)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(feed, "unicode")}\n'


def _entry(row: IncidentRow, config: DashboardConfig, words: Words) -> ET.Element:
    entry = ET.Element("entry")
    state = words("incidents.open") if row.is_open else words("incidents.resolved")
    _text(entry, "title", f"{row.title(words)} ({state})")
    _text(entry, "id", f"urn:mirrorgate:incident:{row.id}")
    _text(entry, "published", iso(row.started_at))
    _text(entry, "updated", iso(row.updated_at))
    ET.SubElement(entry, "link", {"rel": "alternate", "href": link(row, config)})
    lines = [f"{iso(update.at)}  {update.text}" for update in updates(row, words)]
    _text(entry, "content", "\n".join(lines)).set("type", "text")
    return entry


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, name)
    element.text = text
    return element
