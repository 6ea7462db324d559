"""`mirrorgate status`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from monitor.common.durations import ago, moment, roughly
from router.cli.client import Client
from router.cli.console import DONE, Console, plain

HELP = "the mirrors, their state and why, as a table"
_CHANGES = ("WHEN", "STATE", "VERDICT", "VANTAGE", "WHY")
_HEADER = ("ID", "NAME", "STATE", "FOR", "TRAFFIC", "FIRST BYTE", "WHY")


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
    for warning in _warnings(status):
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
        f"mirrorgate {status.get('version', '?')}, process {status.get('pid', '?')}, "
        f"up {running}, {alive} of {len(workers)} workers alive"
    )


def _row(node: Mapping[str, Any], console: Console, now: datetime) -> tuple[str, ...]:
    return (
        plain(node.get("id")),
        plain(node.get("name")),
        console.state(plain(node.get("state"))),
        ago(node.get("since"), now),
        traffic(node, now),
        _first_byte(node),
        plain(node.get("detail") or node.get("verdict")),
    )


def traffic(node: Mapping[str, Any], now: datetime) -> str:
    """True if new requests go to a mirror, and if not, why."""
    if node.get("enabled") is False:
        return "no (not enabled)"
    wish = node.get("wish") or "use"
    if wish != "use":
        end = moment(node.get("wish_until"))
        rest = f", for {roughly((end - now).total_seconds())}" if end else ""
        return f"no ({wish}{rest})"
    if ejection := node.get("ejection"):
        return f"no ({ejected(ejection, now)})"
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


def _warnings(status: Mapping[str, Any]) -> list[str]:
    config = status.get("config") or {}
    warnings = []
    if problem := config.get("problem"):
        warnings.append(f"{config.get('file')} is not in use: {problem}")
    if problem := (status.get("store") or {}).get("problem"):
        warnings.append(f"the store takes nothing: {plain(problem)}")
    if unwritten := (status.get("store") or {}).get("unwritten"):
        warnings.append(f"in effect, but not written yet: {unwritten} bans and wishes")
    warnings.extend(
        f"notifications: {plain(each['receiver'])}: {plain(each['problem'])}"
        for each in status.get("notifications") or ()
        if each.get("problem")
    )
    for name in ("missing_settings", "cautions"):
        warnings.extend(plain(sentence) for sentence in status.get(name) or ())
    if paths := status.get("restart_needed"):
        warnings.append(f"changed, but only in effect after a restart: {', '.join(paths)}")
    return warnings
