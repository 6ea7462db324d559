"""`mirrorgate run`"""

from __future__ import annotations

from argparse import Namespace

from router.cli.console import Console
from router.control import document

HELP = "start; SIGTERM or SIGINT drain and stop, a second one ends at once, SIGHUP reloads"


def run(args: Namespace, console: Console) -> int:
    """Start and stay until stopped. Raises SettingsError."""
    path = document.find(args.config, console.environ)
    from router.cli.startup import start as serve  # every other command does without the servers

    return serve(path)
