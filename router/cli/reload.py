"""`mirrorgate reload`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from router.cli.client import Client, Refused
from router.cli.console import DONE, USAGE, Console, plain

HELP = "reload the running instance; a bad file changes nothing and exits 2"


def declare(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only show how the file differs from what is running, without secrets",
    )


def run(args: Namespace, console: Console) -> int:
    """Ask for a reload and say what it changed."""
    if args.dry_run:
        return _compare(args, console)
    try:
        result = Client.of(args, console).call("POST", "/api/admin/reload")
    except Refused as refused:
        if not refused.faults:
            raise
        return _refused(args, console, refused.faults)
    if args.json:
        console.data(result)
    else:
        _say(console, result)
    return DONE


def _compare(args: Namespace, console: Console) -> int:
    told = Client.of(args, console).call("GET", "/api/admin/configuration")
    if args.json:
        console.data(told)
        return USAGE if told["faults"] else DONE
    for fault in told["faults"]:
        console.note(fault)
    differing = [each for each in told["settings"] if each["differs"]]
    for each in differing:
        restart = " (after a restart)" if each["restart"] else ""
        console.say(f"{plain(each['path'])}{restart}")
        console.say(f"  - {plain(each['running'] or '(not there)')}")
        console.say(f"  + {plain(each['file'] or '(not there)')}")
    if not differing and not told["faults"]:
        console.say("nothing differs")
    return USAGE if told["faults"] else DONE


def _refused(args: Namespace, console: Console, faults: list[str]) -> int:
    if args.json:
        console.data({"faults": faults})
    for fault in faults:
        console.note(fault)
    console.note("nothing was changed: the running instance keeps its last good configuration")
    return USAGE


def _say(console: Console, result: Mapping[str, Any]) -> None:
    kinds = ("added", "removed", "changed")
    mirrors = [f"{kind}: {', '.join(result[kind])}" for kind in kinds if result.get(kind)]
    settings = result.get("settings") or ()
    others = [f"settings: {', '.join(settings)}"] if settings else []
    restart = result.get("restart") or ()
    for line in mirrors + others or ["reloaded" if restart else "reloaded: nothing differs"]:
        console.say(line)
    for path in restart:
        console.note(f"{path} takes effect after a restart")
