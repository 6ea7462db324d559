"""`mirrorgate db`"""

from __future__ import annotations

import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from router.cli.client import answers
from router.cli.console import DONE, CommandFailed, Console
from router.control import document

HELP = "the store: upgrade, backup, copy"
SILENCE = 2.0
"""Seconds of work after which a word is said."""


def declare(parser: ArgumentParser, common: list[Any]) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser(
        "upgrade",
        help="create the tables, or bring them to this version",
        description="Create the tables, or bring them to this version. On SQLite `mirrorgate run` "
        "does so itself, after a copy of the file; in PostgreSQL only this command does.",
        parents=common,
    )
    backup = actions.add_parser(
        "backup",
        help="write a consistent copy, while running or not",
        description="Write a consistent copy to a new file, while running or not: an SQLite file, "
        "or an archive of PostgreSQL's pg_dump for pg_restore.",
        parents=common,
    )
    backup.add_argument("file", metavar="FILE", type=Path, help="a file that is not there yet")
    copy = actions.add_parser(
        "copy",
        help="copy all of it into an empty database, such as from SQLite to PostgreSQL",
        description="Copy all of it into an empty database, such as from SQLite to PostgreSQL, "
        "while no instance runs. Then name that one in store.url.",
        parents=common,
    )
    copy.add_argument(
        "url",
        metavar="URL",
        help='as store.url; "env:NAME" or "file:PATH" keep a password out of the command line',
    )


def run(args: Namespace, console: Console) -> int:
    """Do the action."""
    path = document.find(args.config, console.environ)
    url = document.store_url(path, console.environ)
    from monitor.store.errors import StoreError  # other commands do without the database

    try:
        if args.action == "upgrade":
            return _upgrade(args, console, path, url)
        if args.action == "copy":
            return _copy(args, console, path, url)
        return _backup(args, console, url)
    except StoreError as error:
        raise CommandFailed(str(error)) from None


def _upgrade(args: Namespace, console: Console, path: Path, url: str) -> int:
    from monitor.store.database import backend_of

    if url.startswith("sqlite") and answers(document.socket_path(path, console.environ)):
        raise CommandFailed("an instance uses this file: stop it first; `mirrorgate run` upgrades")
    with _patience(console, "changing the tables"):
        before, after = backend_of(url).upgrade()
    if args.json:
        console.data({"from": before or None, "to": after})
    elif before == after:
        console.say(f"the store has schema {after} already")
    else:
        console.say(f"the store has schema {after} now; before it had {before or 'no tables'}")
    return DONE


def _backup(args: Namespace, console: Console, url: str) -> int:
    from monitor.store.database import backend_of

    with _patience(console, "copying"):
        backend_of(url).backup(str(args.file))
    size = args.file.stat().st_size
    if args.json:
        console.data({"file": str(args.file.absolute()), "bytes": size})
    else:
        console.say(f"{args.file} is a copy of the store ({size / (1 << 20):.1f} MiB)")
    return DONE


def _copy(args: Namespace, console: Console, path: Path, url: str) -> int:
    from monitor.store.transfer import transfer

    if answers(document.socket_path(path, console.environ)):
        raise CommandFailed("an instance uses this store: stop it first, so that nothing is missed")
    if not document.has_store(url):
        raise CommandFailed(f"{url} is not there: there is nothing to copy")
    target = document.target_url(args.url, console.environ)
    with _patience(console, "copying"):
        copied = transfer(url, target)
    if args.json:
        console.data({"rows": copied})
    else:
        console.table(("TABLE", "ROWS"), [(name, str(n)) for name, n in copied.items() if n])
        console.say("all of it is copied: put that URL into store.url, then `mirrorgate check`")
    return DONE


@contextmanager
def _patience(console: Console, what: str) -> Iterator[None]:
    """Say what takes so long."""
    timer = threading.Timer(SILENCE, console.note, [f"mirrorgate: {what} …"])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
