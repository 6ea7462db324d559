"""`mirrorgate notify`"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from monitor.notify.config import names_of
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console, plain
from router.control import document
from router.control.sections import notification_style

HELP = "send a test message to every [[notify]] of the configuration file"


def declare(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("what", choices=("test",), help="test: send a message that says so")


def run(args: Namespace, console: Console) -> int:
    """Send a message to each, side by side, and say what became of it; the instance may be off."""
    found = document.load(document.find(args.config, console.environ), console.environ)
    receivers = tuple(dict.fromkeys(found.config.notify))
    if not receivers:
        raise CommandFailed(f"{found.path} has no [[notify]]: add one with its url", USAGE)
    console.note(f"sending to {len(receivers)} …")
    from monitor.notify.receiver import send_tests  # the other commands do without aiohttp

    outcomes = send_tests(receivers, notification_style(found.config))
    told = [
        {"receiver": name, "ok": not outcome.problem, "problem": outcome.problem}
        for name, outcome in zip(names_of(receivers), outcomes, strict=True)
    ]
    if args.json:
        console.data({"receivers": told})
    else:
        for each in told:
            result = plain(each["problem"]) if each["problem"] else "taken"
            console.say(f"{plain(each['receiver'])}: {result}")
    return DONE if all(each["ok"] for each in told) else FAILED
