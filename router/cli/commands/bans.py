"""`mirrorgate bans`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from monitor.common.durations import ago, duration, until
from router.cli.arguments import count, network, seconds
from router.cli.client import Client, unwritten
from router.cli.console import DONE, FAILED, Console, plain

HELP = "banned clients: list, add, remove, allow"
_NETWORK = "an address, or a CIDR"
_PATH = "/api/admin/bans"
_HEADER = (
    "NETWORK",
    "LOCATION",
    "UNTIL",
    "SINCE",
    "REASON",
    "BY",
    "TIMES",
    "ID",
    "USER AGENT",
)


def declare(parser: ArgumentParser, common: list[Any]) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="bans in force, newest first", parents=common)
    listing.add_argument(
        "--limit", type=count, default=100, help="at most this many (default: 100)"
    )
    add = actions.add_parser("add", help="ban an address or a network", parents=common)
    _network(add)
    _lasting(add, "until it is removed")
    add.add_argument("--reason", default="operator", help="shown to the client and on the page")
    remove = actions.add_parser("remove", help="lift the bans on it, or all", parents=common)
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("network", metavar="IP", nargs="?", type=network, help=_NETWORK)
    which.add_argument("--all", action="store_true", help="lift every ban")
    allow = actions.add_parser(
        "allow",
        help="lift the bans on it; it will not be limited or banned automatically",
        parents=common,
    )
    _network(allow)
    _lasting(allow, "for good")


def _network(parser: ArgumentParser) -> None:
    parser.add_argument("network", metavar="IP", type=network, help=_NETWORK)


def _lasting(parser: ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="DURATION",
        type=seconds,
        help=f'such as "30m", "1h" or "7d"; default: {default}',
    )


def run(args: Namespace, console: Console) -> int:
    """Do the action."""
    actions: dict[str, Callable[[Namespace, Console, Client], int]] = {
        "list": _list,
        "add": _add,
        "remove": _remove,
        "allow": _allow,
    }
    return actions[args.action](args, console, Client.of(args, console))


def _list(args: Namespace, console: Console, client: Client) -> int:
    answer = client.call("GET", f"{_PATH}?{urlencode({'limit': args.limit})}")
    if args.json:
        console.data(answer)
        return DONE
    now = datetime.now(UTC)
    rows = [_row(ban, now) for ban in answer.get("bans", ())]
    if rows:
        console.table(_HEADER, rows)
    else:
        console.say("nobody is banned")
    if (more := answer.get("total", 0) - len(rows)) > 0:
        console.note(f"{more} more: see them with --limit {len(rows) + more}")
    return DONE


def _row(ban: dict[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        plain(ban.get("network")),
        plain(ban.get("location")) or "-",
        until(ban.get("until"), now),
        f"{ago(ban.get('since'), now)} ago",
        plain(ban.get("reason")),
        plain(ban.get("by")),
        plain(ban.get("count")),
        plain(ban.get("id")),
        plain(ban.get("user_agent")) or "-",
    )


def _add(args: Namespace, console: Console, client: Client) -> int:
    body = {"network": args.network, "for": args.seconds, "reason": args.reason}
    ban = client.call("POST", _PATH, body)
    if args.json:
        console.data(ban)
        return DONE
    end = ban.get("until")
    ending = until(end, datetime.now(UTC)) if end else "it is removed"
    console.say(f"{plain(ban.get('network'))} is banned until {ending}")
    console.advise(unwritten(ban))
    return DONE


def _remove(args: Namespace, console: Console, client: Client) -> int:
    wanted = "all" if args.all else args.network
    answer = client.call("DELETE", f"{_PATH}?{urlencode({'network': wanted})}")
    removed = answer.get("removed") or []
    if args.json:
        console.data(answer)
        return DONE if removed else FAILED
    if not removed:
        console.note("nobody is banned" if args.all else _not_banned(args.network))
        return FAILED
    for ban in removed:
        console.say(f"{plain(ban.get('network'))} is no longer banned")
    console.advise(unwritten(answer))
    return DONE


def _not_banned(network: str) -> str:
    return f"{network} is not banned: see `mirrorgate bans list`"


def _allow(args: Namespace, console: Console, client: Client) -> int:
    body = {"network": args.network, "for": args.seconds}
    answer = client.call("POST", f"{_PATH}/allow", body)
    if args.json:
        console.data(answer)
    else:
        ending = f" for {duration(args.seconds)}" if args.seconds else ""
        console.say(f"{args.network} is not banned, and will not be automatically{ending}")
        console.advise(unwritten(answer))
    return DONE
