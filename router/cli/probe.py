"""`mirrorgate probe`: one diagnosis by hand, without a running instance."""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.languages import LANGUAGES
from monitor.common.settings import SettingsError
from monitor.diagnosis.telling import Situation
from monitor.diagnosis.verdicts import NAME_CUT
from router.cli.arguments import ip_address
from router.cli.client import Client
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console, language_of
from router.cli.init import mirrors_of
from router.control import document

if TYPE_CHECKING:
    from monitor.engine.diagnose import Inspection

HELP = "diagnose a mirror or URL step by step; exit 0 if it can serve, 1 if it cannot"


def declare(parser: ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "target", metavar="MIRROR|URL", nargs="?", help="an id from the configuration, or a URL; "
        "default: all mirrors of the configuration",
    )  # fmt: skip
    parser.add_argument(
        "--patient", action="store_true",
        help="wait out what a blocked name may set off (about 3 minutes): surer",
    )  # fmt: skip
    parser.add_argument(
        "--anyway", action="store_true",
        help="also try what the running instance leaves alone: that may prolong a block",
    )  # fmt: skip
    parser.add_argument(
        "--lang", choices=LANGUAGES, help="the language of the report; default: the locale's"
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, to paste")
    parser.add_argument(
        "--address", metavar="IP", action="append", type=ip_address, default=[],
        help="try this address instead of asking resolvers; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--ca-file", metavar="FILE", default="", help="PEM file of a private certificate authority"
    )
    parser.add_argument(
        "--allow-private", action="store_true", help="a name may lead to private addresses"
    )


def run(args: Namespace, console: Console) -> int:
    """Inspect, and show what was found: 0 if all can serve."""
    if args.json and args.markdown:
        raise CommandFailed("--json and --markdown exclude each other", USAGE)
    mirrors, config, situation = chosen(args, console)
    free = [mirror for mirror in mirrors if args.anyway or not spared(mirror, args, console)]
    found = inspected([_adapted(mirror, args) for mirror in free], config, args, console)
    _show(found, args, console, situation)
    return DONE if len(free) == len(mirrors) and all(seen.ok for seen in found) else FAILED


def spared(mirror: MirrorConfig, args: Namespace, console: Console) -> bool:
    """True if a running instance leaves the mirror alone because of a block; says what it knows.

    Its name would be shown to an address that is quarantined, which may prolong the block.
    """
    try:
        status = Client.of(args, console).call("GET", "/api/admin/status")
    except (CommandFailed, SettingsError):
        return False
    nodes: dict[str, dict[str, Any]] = {node["id"]: node for node in status["nodes"]}
    node = nodes.get(mirror.id, {})
    cut = [p for p in node.get("paths", ()) if p["verdict"] in NAME_CUT and not p["usable"]]
    if not cut or node.get("host") != mirror.host:
        return False
    console.note(
        f"{mirror.id}: left alone, because the running instance suspects that its name is blocked. "
        "What it has found follows; --anyway tries it all the same, which may prolong the block."
    )
    for path in cut:
        console.note(f"  {path['hostname']} over {path['address']}: {path['verdict']}")
        for sentence in path["evidence"]:
            console.note(f"    {sentence}")
    return True


def chosen(
    args: Namespace, console: Console
) -> tuple[list[MirrorConfig], MonitorConfig, Situation]:
    """Which mirrors, how to probe, and what there is beside them. Raises CommandFailed, or
    SettingsError if it is needed."""
    is_url = args.target is not None and re.search(r"[.:/]", args.target) is not None
    try:
        path = document.find(args.config, console.environ)
        config = document.load(path, console.environ).config
    except SettingsError:
        if not is_url or args.config:
            raise
        return mirrors_of([args.target], console), MonitorConfig(), Situation.unknown
    beside = Situation.others if len(config.mirrors) > 1 else Situation.alone
    if args.target is None:
        return list(config.mirrors), config.monitor, beside
    known = [mirror for mirror in config.mirrors if mirror.id == args.target]
    if not known and not is_url:
        ids = ", ".join(mirror.id for mirror in config.mirrors)
        raise CommandFailed(f'{path} has no mirror "{args.target}": it has {ids}', USAGE)
    if known:
        return known, config.monitor, beside
    return mirrors_of([args.target], console), config.monitor, Situation.unknown


def _adapted(mirror: MirrorConfig, args: Namespace) -> MirrorConfig:
    return replace(
        mirror,
        addresses=tuple(args.address) or mirror.addresses,
        ca_file=args.ca_file or mirror.ca_file,
        allow_private=args.allow_private or mirror.allow_private,
    )


def inspected(
    mirrors: Sequence[MirrorConfig], config: MonitorConfig, args: Namespace, console: Console
) -> list[Inspection]:
    """Diagnose them one after the other."""
    import asyncio  # needed by few commands, as is the inspector

    from monitor.diagnosis.timing import NORMAL
    from monitor.engine.diagnose import inspector
    from router.cli.progress import progress

    async def inspect_all() -> list[Inspection]:
        async with (
            progress(console.note) as shown,
            inspector(config, NORMAL, shown.say, patient=args.patient, sleep=shown.sleep) as by,
        ):
            return [await by.inspect(mirror) for mirror in mirrors]

    return asyncio.run(inspect_all())


def _show(
    found: Sequence[Inspection], args: Namespace, console: Console, situation: Situation
) -> None:
    from router.cli.probe_report import across, json_of, markdown_of, text_of

    now, language = time.time(), args.lang or language_of(console.environ)
    if args.json:
        mirrors = [json_of(seen, now, situation) for seen in found]
        console.data({"mirrors": mirrors, "in_common": across(found, "en")})
        return
    lines_of = markdown_of if args.markdown else text_of
    for index, seen in enumerate(found):
        if index:
            console.say("")
        for line in lines_of(seen, now, language, situation):
            console.say(line)
    for line in across(found, language):
        console.say(f"- {line}" if args.markdown else f"\n{line}")
