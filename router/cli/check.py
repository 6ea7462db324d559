"""`mirrorgate check`"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from monitor.common.settings import SettingsError
from router.cli.console import DONE, USAGE, Console
from router.control import document
from router.control.changes import cautions

HELP = "validate the configuration: exit 0, or 2 with one line per fault"


def run(args: Namespace, console: Console) -> int:
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
    _say(console, path, len(found.config.mirrors), notes)
    return DONE


def _say(console: Console, path: Path, mirrors: int, notes: list[str]) -> None:
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
