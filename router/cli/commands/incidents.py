"""`mirrorgate incidents`: incidents, operators' words on them, and planned maintenance."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from monitor.common.durations import ago, moment, until
from monitor.health.announcements import INCIDENT_STATUSES, MAINTENANCE_STATUSES
from monitor.health.incidents import IMPACTS
from router.cli.arguments import count, local_moment, seconds
from router.cli.client import Client
from router.cli.console import DONE, Console, plain

HELP = "incidents and planned maintenance on the status page: list, open, edit, update, plan, end"
_INCIDENTS = "/api/admin/incidents"
_MAINTENANCES = "/api/admin/maintenances"
_HEADER = ("ID", "STATUS", "IMPACT", "BEGAN", "MIRRORS", "TITLE", "UPDATES")
_PLANNED = ("ID", "STATUS", "BEGINS", "ENDS", "MIRRORS", "TITLE", "UPDATES")
_TIME = '"2026-12-01 02:00", local, or with an offset: 2026-12-01T02:00+08:00'
_STATUSES = tuple(dict.fromkeys((*INCIDENT_STATUSES, *MAINTENANCE_STATUSES)))


def declare(parser: ArgumentParser, common: list[Any]) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the newest first", parents=common)
    listing.add_argument("--limit", type=count, default=20, help="at most this many (default: 20)")
    opened = actions.add_parser(
        "open",
        help="announce what no probe sees; `update --status resolved` ends it",
        parents=common,
    )
    for what, of in (("title", "its title"), ("text", "the first message about it")):
        opened.add_argument(f"--{what}-zh", default="", help=f"{of} in Chinese")
        opened.add_argument(f"--{what}-en", default="", help=f"{of} in English")
    opened.add_argument("--impact", choices=IMPACTS, required=True)
    opened.add_argument(
        "--nodes", metavar="ID,ID", default="", help="mirrors concerned; default: none by name"
    )
    opened.add_argument(
        "--since", metavar="TIME", type=local_moment, help=f"when it began: {_TIME}; default: now"
    )
    edit = actions.add_parser("edit", help="give it another title or impact", parents=common)
    edit.add_argument("id", metavar="ID")
    _both(edit, "title")
    edit.add_argument("--impact", choices=IMPACTS, help="default: as the monitor has it")
    update = actions.add_parser(
        "update", help="say how it goes, of an incident or a maintenance", parents=common
    )
    update.add_argument("id", metavar="ID")
    update.add_argument("--status", choices=_STATUSES, required=True)
    _both(update, "text")
    plan = actions.add_parser("plan", help="plan the maintenance of mirrors", parents=common)
    plan.add_argument("mirrors", metavar="MIRROR", nargs="+")
    plan.add_argument(
        "--at",
        metavar="TIME",
        type=local_moment,
        help=f"{_TIME}; default: now",
    )
    plan.add_argument("--for", dest="seconds", metavar="DURATION", type=seconds, required=True)
    _both(plan, "title")
    end = actions.add_parser("end", help="end a maintenance, or call it off", parents=common)
    end.add_argument("id", metavar="ID")


def _both(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("--zh", default="", help=f"the {what} in Chinese")
    parser.add_argument("--en", default="", help=f"the {what} in English")


def run(args: Namespace, console: Console) -> int:
    """Do the action."""
    actions: dict[str, Callable[[Namespace, Client], tuple[Any, str]]] = {
        "open": _open,
        "edit": _edit,
        "update": _update,
        "plan": _plan,
        "end": _end,
    }
    client = Client.of(args, console)
    if args.action == "list":
        return _list(args, console, client)
    answer, said = actions[args.action](args, client)
    if args.json:
        console.data(answer)
    else:
        console.say(said)
    return DONE


def _list(args: Namespace, console: Console, client: Client) -> int:
    answer = client.call("GET", f"{_INCIDENTS}?{urlencode({'limit': args.limit})}")
    if args.json:
        console.data(answer)
        return DONE
    now = datetime.now(UTC)
    incidents = [_incident(each, now) for each in answer.get("incidents", ())]
    planned = [_maintenance(each, now) for each in answer.get("maintenances", ())][: args.limit]
    if planned:
        console.table(_PLANNED, planned)
        console.say("")
    if incidents:
        console.table(_HEADER, incidents)
    else:
        console.say("no incident has been recorded")
    return DONE


def _incident(each: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        plain(each["id"]),
        plain(each["status"]),
        plain(each.get("edited_impact") or each["impact"]),
        f"{ago(each['started_at'], now)} ago",
        plain(" ".join(node["id"] for node in each["nodes"])),
        plain(_title(each.get("title")) or each["verdict"]),
        str(len(each["updates"])),
    )


def _maintenance(each: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    begin = moment(each["starts_at"])
    return (
        plain(each["id"]),
        plain(each["status"]),
        f"{begin.astimezone():%Y-%m-%d %H:%M}" if begin else "-",
        until(each["ends_at"], now).partition(" (")[0],
        plain(" ".join(each["mirrors"])),
        plain(_title(each.get("title"))),
        str(len(each["updates"])),
    )


def _title(title: Mapping[str, str] | None) -> str:
    return (title.get("en") or title.get("zh") or "") if title else ""


def _open(args: Namespace, client: Client) -> tuple[Any, str]:
    body = {
        "title": {"zh": args.title_zh, "en": args.title_en},
        "impact": args.impact,
        "mirrors": [each.strip() for each in args.nodes.split(",") if each.strip()],
        "started_at": args.since,
        "text": {"zh": args.text_zh, "en": args.text_en},
    }
    answer = client.call("POST", _INCIDENTS, body)
    return answer, f"{plain(answer['id'])} was opened: end it with an update of status resolved"


def _edit(args: Namespace, client: Client) -> tuple[Any, str]:
    body = {"title": {"zh": args.zh, "en": args.en}, "impact": args.impact or ""}
    return client.call("POST", f"{_INCIDENTS}/{_quoted(args.id)}", body), f"{args.id} was edited"


def _update(args: Namespace, client: Client) -> tuple[Any, str]:
    body = {"status": args.status, "text": {"zh": args.zh, "en": args.en}}
    path = f"{_INCIDENTS}/{_quoted(args.id)}/updates"
    return client.call("POST", path, body), f"the update of {args.id} was published"


def _plan(args: Namespace, client: Client) -> tuple[Any, str]:
    title = {"zh": args.zh, "en": args.en}
    body = {"mirrors": args.mirrors, "starts_at": args.at, "for": args.seconds, "title": title}
    answer = client.call("POST", _MAINTENANCES, body)
    return (
        answer,
        f"{plain(answer['id'])}: maintenance of {', '.join(answer['mirrors'])} is planned",
    )


def _end(args: Namespace, client: Client) -> tuple[Any, str]:
    answer = client.call("DELETE", f"{_MAINTENANCES}/{_quoted(args.id)}")
    return answer, f"{plain(answer['id'])} is {plain(answer['status'])}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
