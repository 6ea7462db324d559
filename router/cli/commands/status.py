"""`mirrorgate status` and `mirrorgate explain`: the running instance, and why it does so."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from monitor.common.cost_terms import COST_TERMS
from monitor.common.durations import MOST_SKEW, ago, moment, roughly
from router.cli.arguments import count
from router.cli.client import Client
from router.cli.console import DONE, USAGE, CommandFailed, Console, language_of, plain

HELP = "the mirrors, their state and why, as a table"
EXPLAIN = "why each mirror is chosen or not, or the attempts of one request"
_CHANGES = ("WHEN", "STATE", "VERDICT", "VANTAGE", "WHY")
_HEADER = ("ID", "NAME", "STATE", "FOR", "TRAFFIC", "FIRST BYTE", "WHY")
_TARGET = "/api/admin/explain"
_COSTS = ("ID", "ROTATION", "WORKER", "HERE", "COST", *map(str.upper, COST_TERMS))
_FITS = ("ID", "STATE", "CALLERS' KEYS", "OWN KEY", "PRIORITY", "PATHS", "MODELS")
_RECENT = ("WHEN", "ID", "ENDPOINT", "OUTCOME", "TOOK", "ATTEMPTS")
_ATTEMPTS = ("ATTEMPT", "MIRROR", "AFTER", "TOOK", "OUTCOME")


def declare(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "mirror", metavar="MIRROR", nargs="?", help="the last 100 changes of this one's state"
    )


def run(args: Namespace, console: Console) -> int:
    """Show what the running instance knows."""
    if args.mirror:
        return _changes(args, console)
    status = Client.of(args, console).call("GET", "/api/admin/status")
    if args.json:
        console.data(status)
        return DONE
    now = datetime.now(UTC)
    console.say(_summary(status))
    console.table(_HEADER, [_row(node, console, now) for node in status.get("nodes", ())])
    for warning in warnings(status):
        console.note(warning)
    return DONE


def _changes(args: Namespace, console: Console) -> int:
    path = f"/api/admin/mirrors/{quote(args.mirror, safe='')}/transitions"
    told = Client.of(args, console).call("GET", path)
    if args.json:
        console.data(told)
        return DONE
    rows = [
        (
            f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if (at := moment(each["at"])) else "-",
            console.state(plain(each["state"])),
            plain(each["verdict"]),
            plain(each["vantage"]),
            plain(each["detail"]),
        )
        for each in told["transitions"]
    ]
    if rows:
        console.table(_CHANGES, rows)
    else:
        console.say("no change of its state has been recorded")
    return DONE


def _summary(status: Mapping[str, Any]) -> str:
    workers = status.get("workers", ())
    alive = sum(bool(worker.get("alive")) for worker in workers)
    running = roughly(status.get("uptime_seconds") or 0)
    return (
        f"mirrorgate {status.get('version', '?')}, {_forms(workers)}, "
        f"process {status.get('pid', '?')}, "
        f"up {running}, {alive} of {len(workers)} workers alive"
    )


def _forms(workers: Iterable[Mapping[str, Any]]) -> str:
    """The form of the workers; both where one was started after a source had changed."""
    return " and ".join(sorted({worker.get("form") or "?" for worker in workers})) or "?"


def _row(node: Mapping[str, Any], console: Console, now: datetime) -> tuple[str, ...]:
    language, why = language_of(console.environ), node.get("why") or {}
    return (
        plain(node.get("id")),
        plain(node.get("name")),
        console.state(plain(node.get("state"))),
        ago(node.get("since"), now),
        traffic(node, now),
        _first_byte(node),
        plain(why.get(language) or node.get("detail") or node.get("verdict")),
    )


def traffic(node: Mapping[str, Any], now: datetime) -> str:
    """`yes` if new requests go to a mirror, else `no` with the reason."""
    if node.get("enabled") is False:
        return "no (not enabled)"
    override = node.get("wish") or "use"
    if override != "use":
        end = moment(node.get("wish_until"))
        rest = f", for {roughly((end - now).total_seconds())}" if end else ""
        return f"no ({override}{rest})"
    if ejection := node.get("ejection"):
        return f"no ({ejected(ejection, now)})"
    if end := moment(node.get("held_until")):
        return f"no (left alone, for {roughly((end - now).total_seconds())})"
    return "yes" if node.get("in_rotation") else "no"


def ejected(ejection: Mapping[str, Any], now: datetime) -> str:
    """Why failing requests keep a mirror out of rotation, and for how much longer."""
    end, cause = moment(ejection.get("until")), plain(ejection.get("cause"))
    if end is None:
        return f"ejected, {cause}, on trial"
    return f"ejected, {cause}, for {roughly((end - now).total_seconds())}"


def _first_byte(node: Mapping[str, Any]) -> str:
    """The best of all vantages, in milliseconds."""
    vantages = (node.get("vantages") or {}).values()
    known = [(vantage.get("latency_ms") or {}).get("first_byte") for vantage in vantages]
    times = [time for time in known if isinstance(time, int | float)]
    return f"{min(times):.0f} ms" if times else "-"


def warnings(status: Mapping[str, Any]) -> list[str]:
    """A sentence on each thing that an operator should look after."""
    config = status.get("config") or {}
    found = []
    if problem := config.get("problem"):
        found.append(f"{config.get('file')} is not in use: {problem}")
    if problem := (status.get("store") or {}).get("problem"):
        found.append(f"the store cannot be written: {plain(problem)}")
    if unwritten := (status.get("store") or {}).get("unwritten"):
        found.append(f"in effect, but not written yet: {unwritten} bans and overrides")
    if dropped := (status.get("store") or {}).get("dropped_lately"):
        found.append(f"history has gaps: {dropped} rows were dropped in the last hour")
    found.extend(
        f"notifications: {plain(each['receiver'])}: {plain(each['problem'])}"
        for each in status.get("notifications") or ()
        if each.get("problem")
    )
    if problem := (status.get("cluster") or {}).get("problem"):
        said = plain(problem)
        found.append(f"Valkey does not answer ({said}): limits are held with the last shares")
    ahead = (status.get("cluster") or {}).get("clock_ahead") or 0.0
    if abs(ahead) > MOST_SKEW:
        side = "ahead of" if ahead > 0 else "behind"
        found.append(
            f"the clock here is {roughly(abs(ahead))} {side} Valkey's: bans and keys end here at "
            "another time than elsewhere; compare it on all hosts (timedatectl)"
        )
    for name in ("missing_settings", "cautions"):
        found.extend(plain(sentence) for sentence in status.get(name) or ())
    if paths := status.get("restart_needed"):
        found.append(f"changed, but only in effect after a restart: {', '.join(paths)}")
    return found


def declare_explain(parser: ArgumentParser) -> None:
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


def explain(args: Namespace, console: Console) -> int:
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
    return tuple(f"{each[name]:.4g}" for name in ("cost", *COST_TERMS))


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
