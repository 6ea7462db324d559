"""`mirrorgate drain`, `enable` and `maintenance`: operators' overrides."""

from __future__ import annotations

import difflib
from argparse import ArgumentParser, Namespace
from typing import Any
from urllib.parse import quote

from monitor.common.durations import duration
from router.cli.arguments import seconds
from router.cli.client import Client, Refused, unwritten
from router.cli.console import DONE, CommandFailed, Console

DRAIN = "send no new requests to a mirror; running ones go on; it survives a restart"
ENABLE = "take back a drain or a maintenance"
MAINTENANCE = "as drain, and shown as maintenance on the status page"

_OVERRIDE = {"drain": "drain", "enable": "use", "maintenance": "maintenance"}
_DONE = {
    "drain": "{id} gets no new requests",
    "enable": "{id} is used again",
    "maintenance": "{id} is in maintenance",
}


def declare(parser: ArgumentParser, *, lasting: bool) -> None:
    """The arguments of the three."""
    parser.add_argument("id", metavar="ID", help="the mirror's id")
    if lasting:
        parser.add_argument(
            "--for",
            dest="seconds",
            metavar="DURATION",
            type=seconds,
            help='end by itself after this time, such as "30m" or "1h"; default: until `enable`',
        )
        parser.add_argument(
            "--yes", action="store_true", help="do so even if no other mirror is in rotation"
        )


def run(args: Namespace, console: Console) -> int:
    """Set the override."""
    client = Client.of(args, console)
    lasting = getattr(args, "seconds", None)
    if args.command != "enable" and not args.yes:
        _ask_for_the_last(client, args.id, console)
    body = {"wish": _OVERRIDE[args.command], "for": lasting}
    try:
        node = client.call("POST", f"/api/admin/mirrors/{quote(args.id, safe='')}/wish", body)
    except Refused as refused:
        if refused.status != 404:
            raise
        raise _unknown(client, args.id) from None
    if args.json:
        console.data(node)
        return DONE
    ending = f" for {duration(lasting)}" if lasting else ""
    console.say(_DONE[args.command].format(id=args.id) + ending)
    console.advise(unwritten(node))
    return DONE


def _ask_for_the_last(client: Client, wanted: str, console: Console) -> None:
    """Have it confirmed if no mirror remains for requests. Raises CommandFailed for a no."""
    nodes: list[dict[str, Any]] = client.call("GET", "/api/admin/status").get("nodes", [])
    serving = [node.get("id") for node in nodes if node.get("in_rotation")]
    if serving != [wanted]:
        return
    warning = f"{wanted} is the last mirror in rotation: without it no request can be served"
    if not console.interactive:
        raise CommandFailed(f"{warning}; repeat this with --yes if that is meant")
    console.note(warning)
    if not console.confirmed("go on?"):
        raise CommandFailed("nothing was changed")


def _unknown(client: Client, wanted: str) -> CommandFailed:
    nodes: list[dict[str, Any]] = client.call("GET", "/api/admin/status").get("nodes", [])
    known = [str(node.get("id")) for node in nodes]
    close = difflib.get_close_matches(wanted, known, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(known)}"
    return CommandFailed(f'there is no mirror "{wanted}": {hint}')
