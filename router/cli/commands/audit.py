"""`mirrorgate audit`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from monitor.common.durations import moment
from router.cli.arguments import count
from router.cli.client import Client, answers
from router.cli.console import DONE, Console, plain
from router.control import document

HELP = "who changed what, when and from where, newest first"
_HEADER = ("WHEN", "WHO", "FROM", "WHAT")


def declare(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--limit", type=count, default=50, help="at most this many (default: 50)")
    parser.add_argument(
        "--before", type=int, metavar="ID", help="only what is older than the entry of this id"
    )


def run(args: Namespace, console: Console) -> int:
    """Show what the running instance knows, or what its store has."""
    answer = _answer(args, console)
    if args.json:
        console.data(answer)
        return DONE
    rows = [_row(entry) for entry in answer.get("entries", ())]
    if rows:
        console.table(_HEADER, rows)
    else:
        console.say("nothing has been changed")
    if rest := answer.get("next"):
        console.note(f"there may be more: see it with --before {rest}")
    return DONE


def _answer(args: Namespace, console: Console) -> dict[str, Any]:
    path = document.find(args.config, console.environ)
    socket = document.socket_path(path, console.environ)
    if not answers(socket):
        url = document.store_url(path, console.environ)
        if document.has_store(url):
            from router.cli.in_store import read_log  # others need no database

            return read_log(url, args.limit, args.before)
    wanted = {"limit": args.limit, "before": args.before}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    told: dict[str, Any] = Client(socket).call("GET", f"/api/admin/audit?{query}")
    return told


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    at = moment(entry.get("at"))
    return (
        "-" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}",
        plain(entry.get("who")),
        plain(entry.get("from")),
        plain(entry.get("what")),
    )
