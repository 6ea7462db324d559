"""The command line: its commands, and the report of their failures."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from monitor.common.compiled import form
from monitor.common.logs import STDOUT, writer_of
from monitor.common.settings import SettingsError
from router.cli.commands import (
    audit,
    bans,
    configuration,
    db,
    doctor,
    hash_password,
    help,
    incidents,
    init,
    keys,
    notify,
    overrides,
    probe,
    status,
)
from router.cli.console import FAILED, USAGE, CommandFailed, Console, OutputLost
from router.control import document
from router.process.inherited import leave_no_core

Command = Callable[[argparse.Namespace, Console], int]

_ABOUT = "One address in front of many OpenAI API mirrors: routing, diagnosis, status page."
_CONFIG_HELP = (
    "configuration file (default: $MIRRORGATE_CONFIG, else ./config.toml, "
    "else /etc/mirrorgate/config.toml)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 bad usage or configuration."""
    leave_no_core()
    console = Console.of_process(os.environ)
    try:
        args = parser().parse_args(argv)
        command: Command = args.run
        code = command(args, console)
        console.flush()
        return code
    except OutputLost as error:
        _discard_output()
        console.note(f"mirrorgate: {error}")
        return error.code
    except CommandFailed as error:
        console.note(f"mirrorgate: {error}")
        return error.code
    except SettingsError as error:
        for fault in error.faults:
            console.note(str(fault))
        return USAGE
    except KeyboardInterrupt:
        console.note("mirrorgate: interrupted")
        return FAILED
    except BrokenPipeError:  # the reader, such as `head`, has enough
        _discard_output()
        return FAILED


def _discard_output() -> None:
    """Keep the interpreter from trying once more at its end, and from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Says a usage fault in one sentence, and where to read on."""

    def error(self, message: str) -> NoReturn:
        message = _with_suggestion(message)
        self.exit(USAGE, f"mirrorgate: {message}: see `{self.prog} --help`\n")


def _with_suggestion(message: str) -> str:
    wrong = re.search(
        r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL
    )
    if wrong is None:
        return message
    noun = "command" if wrong[1] in ("COMMAND", "ACTION") else wrong[1]
    choices = re.findall(r"[a-z-]+", wrong[3])
    close = difflib.get_close_matches(wrong[2], choices, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"there are: {', '.join(choices)}"
    return f'there is no {noun} "{wrong[2]}", {hint}'


_START = "start; SIGTERM or SIGINT drain and stop, a second one ends at once, SIGHUP reloads"


def _start(args: argparse.Namespace, console: Console) -> int:
    """Start and stay until stopped. Raises SettingsError."""
    path = document.find(args.config, console.environ)
    # Through the writer of the log, which a pipe that nobody reads does not hold up.
    writer_of(STDOUT).put(f"mirrorgate {_version()} is starting with {path}\n".encode())
    from router.cli.startup import start  # every other command does without the servers

    return start(path)


_COMMANDS: tuple[tuple[str, Command, str, bool], ...] = (
    ("init", init.run, init.HELP, False),
    ("run", _start, _START, False),
    ("check", configuration.check, configuration.CHECK, True),
    ("doctor", doctor.run, doctor.HELP, True),
    ("reload", configuration.reload, configuration.RELOAD, True),
    ("probe", probe.run, probe.HELP, True),
    ("status", status.run, status.HELP, True),
    ("explain", status.explain, status.EXPLAIN, True),
    ("drain", overrides.run, overrides.DRAIN, True),
    ("enable", overrides.run, overrides.ENABLE, True),
    ("maintenance", overrides.run, overrides.MAINTENANCE, True),
    ("bans", bans.run, bans.HELP, True),
    ("keys", keys.run, keys.HELP, True),
    ("incidents", incidents.run, incidents.HELP, True),
    ("audit", audit.run, audit.HELP, True),
    ("notify", notify.run, notify.HELP, True),
    ("hash-password", hash_password.run, hash_password.HELP, False),
    ("db", db.run, db.HELP, True),
    ("help", help.about(lambda: parser()), help.HELP, False),
    ("completion", help.completion(lambda: parser()), help.COMPLETION, False),
)
"""Name, what it runs, what it does, whether it prints data."""


def _version() -> str:
    return importlib.metadata.version("mirrorgate")


def command_names() -> tuple[str, ...]:
    """The commands of this version."""
    return tuple(name for name, *_ in _COMMANDS)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = _Parser(prog="mirrorgate", description=_ABOUT, parents=[_common()], allow_abbrev=False)
    top.set_defaults(config=None, json=False)
    version = f"mirrorgate {_version()}, {form}"
    top.add_argument("--version", action="version", version=version)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    added = {}
    for name, command, text, data in _COMMANDS:
        about = text[0].upper() + text[1:] + "."
        common = [_common(data=data)]
        added[name] = commands.add_parser(
            name, help=text, description=about, parents=common, allow_abbrev=False
        )
        added[name].set_defaults(run=command)
    init.declare(added["init"])
    doctor.declare(added["doctor"])
    probe.declare(added["probe"])
    status.declare_explain(added["explain"])
    notify.declare(added["notify"])
    configuration.declare(added["reload"])
    status.declare(added["status"])
    incidents.declare(added["incidents"], [_common(data=True)])
    for name in ("drain", "enable", "maintenance"):
        overrides.declare(added[name], lasting=name != "enable")
    bans.declare(added["bans"], [_common(data=True)])
    audit.declare(added["audit"])
    keys.declare(added["keys"], [_common(data=True)])
    db.declare(added["db"], [_common(data=True)])
    help.declare(added["help"])
    help.declare_completion(added["completion"])
    return top


def _common(*, data: bool = False) -> _Parser:
    """Options of every command; suppressed defaults let them stand before or after its name."""
    common = _Parser(add_help=False)
    common.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_HELP)
    if data:
        common.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print data as JSON"
        )
    return common
