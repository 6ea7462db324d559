"""`mirrorgate explain`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from monitor.common.durations import moment, roughly
from router.cli.arguments import count
from router.cli.client import Client
from router.cli.console import DONE, USAGE, CommandFailed, Console, plain
from router.cli.status import traffic

HELP = "why each mirror is chosen or not, or the attempts of one request"
_TARGET = "/api/admin/explain"
_TERMS = (
    "latency",
    "oldest",
    "network",
    "waiting",
    "streaming",
    "success",
    "weight",
    "ramp",
    "failing",
)
"""How `router/balancing/load.py` calls the parts of a cost, and the failures of a minute."""
_COSTS = ("ID", "ROTATION", "WORKER", "HERE", "COST", *map(str.upper, _TERMS))
_FITS = ("ID", "STATE", "CALLERS' KEYS", "OWN KEY", "PRIORITY", "PATHS", "MODELS")
_RECENT = ("WHEN", "ID", "ENDPOINT", "OUTCOME", "TOOK", "ATTEMPTS")
_ATTEMPTS = ("ATTEMPT", "MIRROR", "AFTER", "TOOK", "OUTCOME")


def declare(parser: ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "request",
        metavar="REQUEST_ID",
        nargs="?",
        help="the x-mirrorgate-request-id of one of the last answers",
    )
    parser.add_argument(
        "--recent",
        type=count,
        metavar="COUNT",
        help="the last requests that failed somewhere or took more than 10 s",
    )


def run(args: Namespace, console: Console) -> int:
    """Ask the workers of the running instance."""
    if args.request and args.recent:
        raise CommandFailed("a request and --recent exclude each other", USAGE)
    wanted = {"request": args.request, "recent": args.recent}
    query = urlencode({name: value for name, value in wanted.items() if value})
    query = f"?{query}" if query else ""
    told = Client.of(args, console).call("GET", _TARGET + query)
    if args.json:
        console.data(told)
    elif args.request:
        _show_request(told, console)
    elif args.recent:
        _show_recent(told["requests"], console)
    else:
        _show_mirrors(told, console)
    for slot in told.get("silent", ()):
        console.note(f"worker {slot} did not answer within a second")
    return DONE


# Mirrors


def _show_mirrors(told: Mapping[str, Any], console: Console) -> None:
    mirrors, now = told["mirrors"], datetime.now(UTC)
    console.say(f"policy {told['policy']}")
    console.table(_COSTS, [row for mirror in mirrors for row in _costs(mirror, now)])
    console.say("")
    console.table(_FITS, [_fits(mirror, console) for mirror in mirrors])


def _costs(mirror: Mapping[str, Any], now: datetime) -> list[tuple[str, ...]]:
    """A row for each worker; what all have in common stands in the first."""
    head = (plain(mirror["id"]), traffic(mirror, now))
    seen = [(slot, each) for slot, each in mirror["workers"].items() if each is not None]
    if not seen:
        return [(*head, *("-",) * (len(_COSTS) - 2))]
    return [
        (*(head if place == 0 else ("", "")), slot, _here(each), *_numbers(each))
        for place, (slot, each) in enumerate(seen)
    ]


def _numbers(each: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{each[name]:.4g}" for name in ("cost", *_TERMS))


def _here(each: Mapping[str, Any]) -> str:
    """The state of a mirror in this worker."""
    why, breaker = each["why_not"], each["breaker"]
    if why == "ejected":
        why = f"ejected, {breaker['cause']}, for {roughly(breaker['seconds_left'])}"
    elif why == "on trial" and breaker["has_lease"]:
        why = "next in line for a trial"
    elif why == "rate limited":
        why = f"rate limited for {roughly(each['limited_seconds'])}"
    keys = each["keys_limited"]
    limited = f"rate limited for {keys} key{'s' if keys > 1 else ''}" if keys else ""
    last = "the last resort" if why == "down" and each["fallback_rank"] else ""
    kinds = each["refusals"]
    refuses = f"refuses {kinds} kind{'s' if kinds > 1 else ''} of requests" if kinds else ""
    return ", ".join(part for part in (why, last, limited, refuses) if part) or "yes"


def _fits(mirror: Mapping[str, Any], console: Console) -> tuple[str, ...]:
    takes = mirror["takes"]
    return (
        plain(mirror["id"]),
        console.state(plain(mirror["state"])),
        plain(takes["callers_keys"]),
        plain(takes["own_key"]),
        plain(takes["priority"]),
        _listed(takes["paths"]),
        _listed(takes["models"]),
    )


def _listed(names: Sequence[str]) -> str:
    return plain(" ".join(names)) if names else "all"


# One request


def _show_request(told: Mapping[str, Any], console: Console) -> None:
    asked = f"{told['method']} {told['path']} ".lstrip()
    began = moment(told["began"])
    at = f"{began.astimezone():%Y-%m-%d %H:%M:%S}" if began else "-"
    kind = f"({told['endpoint']}{', stream' if told['stream'] else ''})"
    console.say(f"{plain(told['id'])}: {plain(asked + kind)}, worker {told['worker']}")
    mirror = f" from {told['mirror']}" if told["mirror"] else ""
    took = f"{told['seconds']:.3f} s"
    console.say(f"{at}, {took}: {told['status']} {plain(told['outcome'])}{mirror}")
    attempts = told["attempts"]
    if attempts:
        console.table(_ATTEMPTS, [_attempt(n, each) for n, each in enumerate(attempts, 1)])
    else:
        console.say("no mirror was asked")


def _show_recent(requests: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not requests:
        console.say("no request has failed anywhere or taken long")
        return
    console.table(_RECENT, map(_recent, requests))


def _recent(told: Mapping[str, Any]) -> tuple[str, ...]:
    began = moment(told["began"])
    tried = " → ".join(f"{each['mirror']} {each['outcome']}" for each in told["attempts"])
    return (
        f"{began.astimezone():%m-%d %H:%M:%S}" if began else "-",
        plain(told["id"]),
        plain(told["endpoint"]),
        plain(f"{told['status']} {told['outcome']}"),
        f"{told['seconds']:.3f} s",
        plain(tried) or "-",
    )


def _attempt(number: int, each: Mapping[str, Any]) -> tuple[str, ...]:
    times = (f"{each['after']:.3f} s", f"{each['seconds']:.3f} s")
    return (str(number), plain(each["mirror"]), *times, plain(each["outcome"]))
