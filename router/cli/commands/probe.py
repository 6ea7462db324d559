"""`mirrorgate probe`: one diagnosis by hand, without a running instance."""

from __future__ import annotations

import re
import signal
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.languages import LANGUAGES, Text
from monitor.common.settings import SettingsError
from monitor.diagnosis.evidence import Evidence
from monitor.diagnosis.finding import Finding, Level
from monitor.diagnosis.telling import Situation, what
from monitor.diagnosis.verdicts import NAME_CUT
from router.cli.arguments import ip_address
from router.cli.client import Client
from router.cli.commands.init import mirrors_of
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console, language_of, plain
from router.control import document

if TYPE_CHECKING:
    import asyncio

    from monitor.engine.diagnose import Inspection, Triggers

HELP = "diagnose a mirror or URL step by step; exit 0 if it can serve, 1 if it cannot"


_LEFT_ALONE = Text(
    "{mirror}：未探测，因为运行中的实例怀疑其域名被封锁，探测可能延长封锁。以下是该实例的发现；"
    "加 --anyway 仍会探测。",
    "{mirror}: not probed, because the running instance suspects that its name is blocked, and a "
    "probe may prolong the block. Its findings follow; --anyway probes all the same.",
)


def declare(parser: ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "target", metavar="MIRROR|URL", nargs="?", help="an id from the configuration, or a URL; "
        "default: all mirrors of the configuration",
    )  # fmt: skip
    parser.add_argument(
        "--patient", action="store_true",
        help="wait out what a blocked name may set off (up to 7 minutes): surer; "
        "Ctrl-C shows what is known so far",
    )  # fmt: skip
    parser.add_argument(
        "--anyway", action="store_true",
        help="also try what the running instance or a probe before this one leaves alone: "
        "that may prolong a block",
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
    nodes = watched(args, console)
    language = _language(args, console)
    free = [each for each in mirrors if args.anyway or not spared(each, nodes, console, language)]
    found = [
        replace(
            seen,
            instance=concluded(seen.mirror, nodes),
            instance_at=nodes.get(seen.mirror.id, {}).get("last_probe_at") or "",
        )
        for seen in inspected([_adapted(each, args) for each in free], config, args, console)
    ]
    _show(found, args, console, situation)
    return DONE if len(free) == len(mirrors) and all(seen.ok for seen in found) else FAILED


Nodes = Mapping[str, Mapping[str, Any]]
"""The mirrors of a running instance by id, as `/api/admin/status` has them."""


def watched(args: Namespace, console: Console) -> Nodes:
    """The mirrors that a running instance watches; none if there is no instance."""
    try:
        status = Client.of(args, console).call("GET", "/api/admin/status")
    except (CommandFailed, SettingsError):
        return {}
    return {node["id"]: node for node in status["nodes"]}


def concluded(mirror: MirrorConfig, nodes: Nodes) -> Finding | None:
    """The finding of a running instance on a mirror."""
    node = nodes.get(mirror.id, {})
    if node.get("host") != mirror.host or "because" not in node:
        return None
    evidence = tuple(map(Evidence.from_json, node["because"]))
    return Finding(node["verdict"], Level(node["level"]), evidence=evidence)


def spared(mirror: MirrorConfig, nodes: Nodes, console: Console, language: str) -> bool:
    """True if a running instance leaves the mirror alone because of a block; says what it knows.

    Its name would be shown to an address that is quarantined, which may prolong the block.
    """
    node = nodes.get(mirror.id, {})
    cut = [p for p in node.get("paths", ()) if p["verdict"] in NAME_CUT and not p["usable"]]
    if not cut or node.get("host") != mirror.host:
        return False
    console.note(_LEFT_ALONE.said(language).format(mirror=mirror.id))
    for path in cut:
        fault = what(path["verdict"], language)
        console.note(f"  {path['hostname']} ({path['address']}): {fault} ({path['verdict']})")
        for each in path.get("because", path["evidence"]):
            console.note(f"    {plain(Evidence.from_json(each).said(language))}")
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

    redraw = console.redraw if console.err.isatty() else None

    async def inspect_all() -> list[Inspection]:
        found: list[Inspection] = []
        with _interruptible() as stop:
            async with (
                progress(console.note, _language(args, console), redraw) as shown,
                inspector(
                    config,
                    NORMAL,
                    shown.say,
                    patient=args.patient,
                    sleep=shown.sleep,
                    triggers=_triggers(args, console, NORMAL.residual_max),
                    stop=stop,
                ) as by,
            ):
                for mirror in mirrors:
                    if stop.is_set():
                        break
                    found.append(await by.inspect(mirror))
        return found

    return asyncio.run(inspect_all())


@contextmanager
def _interruptible() -> Iterator[asyncio.Event]:
    """An event that the first SIGINT sets; the second one ends the command."""
    import asyncio

    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    in_main = threading.current_thread() is threading.main_thread()
    if in_main:  # others, as tests have them, get no signals
        loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        if in_main:
            loop.remove_signal_handler(signal.SIGINT)


def _triggers(args: Namespace, console: Console, keep: float) -> Triggers:
    """The memory of what was cut off, across runs; `--anyway` does not ask it."""
    from monitor.engine.diagnose import NoTriggers
    from monitor.probes.trigger_file import TriggerFile

    if args.anyway:
        return NoTriggers()

    def failed(error: OSError) -> None:
        console.note(
            f"{path}: cannot be used ({error.strerror or error}): the next probe will "
            "not know what this one has set off"
        )

    path = state_folder(args, console) / "probe-triggers.json"
    return TriggerFile(path, keep, failed=failed)


def state_folder(args: Namespace, console: Console) -> Path:
    """The folder of the store, if there is one in a file, else one of the user's (XDG Base
    Directory Specification)."""
    with suppress(SettingsError):
        file = document.find(args.config, console.environ)
        name = document.store_url(file, console.environ).partition("sqlite:///")[2]
        if name and Path(name).parent.is_dir():
            return Path(name).parent
    home = console.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "mirrorgate"


def _language(args: Namespace, console: Console) -> str:
    return args.lang or language_of(console.environ)


def _show(
    found: Sequence[Inspection], args: Namespace, console: Console, situation: Situation
) -> None:
    from router.cli.probe_report import across, json_of, markdown_of, text_of

    now, language = time.time(), _language(args, console)
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
