"""All raw requests, by group. The groups follow those of the public smuggling test suites."""

from __future__ import annotations

from tests.testkit import malformed_framing as framing
from tests.testkit import malformed_lines as lines
from tests.testkit import malformed_rest as rest
from tests.testkit.malformed_case import Case

GROUPS: dict[str, list[Case]] = {
    "controls": rest.CONTROLS,
    "both framings": framing.BOTH,
    "Content-Length": framing.LENGTHS,
    "Transfer-Encoding": framing.CODINGS,
    "chunks": framing.CHUNKS,
    "request line": lines.REQUEST_LINES,
    "target": lines.TARGETS,
    "Host": lines.HOSTS,
    "field": lines.FIELDS,
    "hop-by-hop": rest.HOP_BY_HOP,
    "identity": rest.IDENTITY,
    "upgrade": rest.UPGRADES,
    "truncated": rest.TRUNCATED,
    "foreign": rest.FOREIGN,
}
