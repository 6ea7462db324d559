"""The status page as plain text, for `curl`, in columns; a wide character counts as two."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from dashboard.common.printable import printable_lines
from dashboard.i18n.moments import ago, said
from dashboard.i18n.texts import Words
from dashboard.public.incidents import IncidentRow, MaintenanceRow
from dashboard.public.page import Page
from dashboard.public.rows import Node

_MARKS = {"up": "✔", "degraded": "▲", "down": "✘", "maintenance": "■", "unknown": "?"}
_GAP = "  "
_WIDEST = 40
"""Columns of a cell: a longer name would push the rest of its line out of sight."""


def width(text: str) -> int:
    """Columns that `text` takes in a terminal (Unicode Standard Annex 11)."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, most: int = _WIDEST) -> str:
    """`text`, or as much of its beginning as takes `most` columns with the mark of the cut."""
    if width(text) <= most:
        return text
    taken, columns = 0, 1
    while (columns := columns + _columns(text[taken])) <= most:
        taken += 1
    return f"{text[:taken]}…"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the columns of `rows` aligned; a column with nothing in it is left out, and all
    but the last are cut where they are too wide."""
    rows = [[*map(cut, row[:-1]), row[-1]] for row in rows]
    filled = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(width(row[i]) for row in rows) for i in filled}
    return [
        _GAP.join(row[i] + " " * (widths[i] - width(row[i])) for i in filled).rstrip()
        for row in rows
    ]


def render(page: Page) -> str:
    """The whole page."""
    parts = (_head, _incidents, _maintenances, _entrances, _nodes, _bans, _foot)
    sections = [part(page) for part in parts]
    text = "\n\n".join("\n".join(lines) for lines in sections if lines)
    return f"{printable_lines(text)}\n"


def _head(page: Page) -> list[str]:
    lines = [page.title, page.banner, *filter(None, [page.next_step, page.queue, page.old_past])]
    return [*lines, "", page.notice] if page.notice else lines


def _incidents(page: Page) -> list[str]:
    words, lines = page.words, []
    for incident in page.open_incidents:
        began = incident.started_at
        since = words("incidents.since", time=page.said(began), length=page.lasting(began))
        lines.append(f"  {_MARKS[incident.tone]} {incident.title(words)}{_GAP}{since}")
        lines += _messages(page, incident)
    return [words("incidents.open.title"), *lines] if lines else []


def _maintenances(page: Page) -> list[str]:
    words, lines = page.words, []
    for plan in page.maintenances:
        begin, end = page.said(plan.starts_at), page.said(plan.ends_at)
        span = words("planned.span", begin=begin, end=end)
        name = plan.headline(words) or plan.name(words)
        lines.append(f"  {_MARKS['maintenance']} {name}{_GAP}{span}")
        lines += _messages(page, plan)
    return [words("planned.title"), *lines] if lines else []


def _messages(page: Page, about: IncidentRow | MaintenanceRow) -> list[str]:
    """The operator's messages, a line of theirs a line."""
    lines = []
    for update in about.said(page.words):
        first, *more = update.text.splitlines() or [""]
        lines.append(f"      {page.said(update.at)}{_GAP}{first}")
        lines += [f"        {line}" for line in more]
    return lines


def _entrances(page: Page) -> list[str]:
    if not page.entrances:
        return [page.words("docs.start.nowhere")]
    rows = [("", "", "")]
    rows.extend(
        (f"  {e.url}", e.region, page.words(e.way) if e.way else "") for e in page.entrances
    )
    return [page.words("entrances.title"), *table(rows)[1:]]


def _nodes(page: Page) -> list[str]:
    words = page.words
    keys = ("state", "name", "region", "host", "cdn", "since", "latency", "probed")
    head = [*(words(f"nodes.{key}") for key in keys), words("uptime.30d"), words("nodes.verdict")]
    rows = [head, *(_node(page, row) for row in page.nodes)]
    return table(rows) if page.nodes else []


def _node(page: Page, row: Node) -> list[str]:
    words = page.words
    since = said(row.since, page.now, page.zone, words) if row.since else ""
    total = row.total_ms if row.latency_ms and not row.stale else None
    probed = ago(page.now - row.last_probe, words) if row.last_probe else ""
    rotation = page.rotation(row)
    out = f" ({rotation})" if not row.in_rotation else ""
    return [
        f"{_MARKS[row.state]} {words(f'state.{row.state}')}{out}",
        row.name,
        row.region,
        row.host or "",
        page.cdn(row),
        since,
        "" if total is None else f"{total} ms",
        probed,
        "" if row.uptime["30d"].uptime is None else f"{row.uptime['30d'].uptime} %",
        _diagnosis(page, row),
    ]


def _diagnosis(page: Page, row: Node) -> str:
    """The meaning of the verdict, where it is not that all is well, with its code: the page has
    both too. Of old news, the state that was known last."""
    words = page.words
    if row.stale:
        return words("nodes.last_known", state=words(f"state.{row.last_known}"))
    meaning = words.verdict(row.verdict, row.level)
    said = f"{meaning} ({row.verdict})" if meaning else row.verdict
    held = row.held_until
    alone = "" if held is None else words("nodes.left_alone", time=page.said(held))
    parts = ("" if row.verdict == "ok" else said, alone, page.contrast(row))
    return " · ".join(filter(None, parts))


def _bans(page: Page) -> list[str]:
    if page.bans is None:
        return []
    words = page.words
    title = words("bans.title")
    if not page.bans:
        return [title, f"  {words('bans.none')}"]
    head = (
        "",
        *(words(f"bans.{k}") for k in ("ip", "location", "reason", "since", "until", "user_agent")),
    )
    rows = [head]
    rows.extend(
        (
            "  ",
            ban.ip,
            ban.location or "-",
            words.reason(ban.reason),
            page.said(ban.since),
            page.said(ban.until) if ban.until else words("bans.forever"),
            ban.user_agent,
        )
        for ban in page.bans
    )
    lines = table([("", *row[1:]) for row in rows])
    count = words("bans.count", count=page.ban_count)
    owed = [f"  {page.attribution.text}: {page.attribution.url}"] if page.attribution else []
    return [f"{title} ({count})", *(f"  {line}" for line in lines), *owed]


def _foot(page: Page) -> list[str]:
    words = page.words
    return [
        words("page.updated", time=page.said(page.now), zone=page.zone),
        *(
            f"{Words(c)('language.name')}: /?lang={c}"
            for c in page.languages
            if c != words.language
        ),
        "JSON: /api/v1/nodes  /api/v1/incidents  /api/v1/health  /api/v1/openapi.json",
    ]
