"""`mirrorgate check` and `mirrorgate reload`: the configuration file, valid and in effect."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.common.settings import SettingsError
from router.cli.client import Client, Refused
from router.cli.console import DONE, USAGE, Console, plain
from router.control import document
from router.control.changes import cautions

CHECK = "validate the configuration: exit 0, or 2 with one line per fault"
RELOAD = "reload the running instance; a bad file changes nothing and exits 2"


def check(args: Namespace, console: Console) -> int:
    """Say every fault, or that there is none."""
    path = document.find(args.config, console.environ)
    try:
        found = document.load(path, console.environ)
    except SettingsError as error:
        if not args.json:
            raise
        faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
        console.data({"ok": False, "file": str(path), "faults": faults, "notes": []})
        return USAGE
    notes = advice(found)
    if args.json:
        console.data({"ok": True, "file": str(found.path), "faults": [], "notes": notes})
        return DONE
    _say_fine(console, path, len(found.config.mirrors), notes)
    return DONE


def _say_fine(console: Console, path: Path, mirrors: int, notes: list[str]) -> None:
    for note in notes:
        console.note(f"note: {note}")
    console.say(f"{path} is fine: {mirrors} mirror{'s' if mirrors != 1 else ''}")


def advice(found: document.Document) -> list[str]:
    """Return warnings about settings that are allowed but probably not meant."""
    notes = []
    for index, mirror in enumerate(found.config.mirrors):
        if mirror.base_path.endswith("/v1"):
            notes.append(f'mirrors[{index}].url ends in "/v1": requests would go to /v1/v1/…')
    if not any(mirror.enabled for mirror in found.config.mirrors):
        notes.append("no mirror is enabled: every request will be answered with 503")
    return notes + cautions(found.config)


def declare(parser: ArgumentParser) -> None:
    """The arguments of `reload`."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only show how the file differs from what is running, without secrets",
    )


def reload(args: Namespace, console: Console) -> int:
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
        _say_changes(console, result)
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


def _say_changes(console: Console, result: Mapping[str, Any]) -> None:
    kinds = ("added", "removed", "changed")
    mirrors = [f"{kind}: {', '.join(result[kind])}" for kind in kinds if result.get(kind)]
    settings = result.get("settings") or ()
    others = [f"settings: {', '.join(settings)}"] if settings else []
    restart = result.get("restart") or ()
    for line in mirrors + others or ["reloaded" if restart else "reloaded: nothing differs"]:
        console.say(line)
    for path in restart:
        console.note(f"{path} takes effect after a restart")
