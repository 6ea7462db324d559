"""`mirrorgate help` and `mirrorgate completion`: the command line about itself."""

from __future__ import annotations

import difflib
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from router.cli.console import DONE, USAGE, CommandFailed, Console
from router.control.sections import Declared, Section, sections

Parsers = Callable[[], ArgumentParser]
"""Makes the parser of the whole command line."""
HELP = "explain a command, a section of the configuration, a verdict or another topic"
COMPLETION = "print the completion of commands and options for a shell"
SHELLS = ("bash", "zsh", "fish")
_WIDTH = 96

_TOPICS = {
    "files": """
        The configuration is the file that --config names, else $MIRRORGATE_CONFIG, else
        ./config.toml, else /etc/mirrorgate/config.toml. Paths in it begin in its own folder:
        admin.socket (mirrorgate.sock), the SQLite database of store.url (mirrorgate.db),
        certificates, logs, and secrets that are written as "file:PATH".""",
    "environment": """
        MIRRORGATE_CONFIG names the configuration. NO_COLOR switches colours off. Any setting may
        be "env:NAME", which is read at load. NOTIFY_SOCKET and WATCHDOG_USEC are systemd's.""",
    "signals": """
        To the process that was started: SIGHUP reloads, as `mirrorgate reload`. SIGTERM and SIGINT
        refuse new connections, let running requests end within router.timeouts.drain, and stop; a
        second one stops at once.""",
    "exit-codes": """
        0: done. 1: failed, or nothing was found. 2: bad usage, or a bad configuration, which a
        restart does not heal.""",
}


def declare(parser: ArgumentParser) -> None:
    """The arguments of `help`."""
    parser.add_argument("topic", metavar="TOPIC", nargs="*", help="without one: what there is")


def declare_completion(parser: ArgumentParser) -> None:
    """The arguments of `completion`."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def completion(parser: Parsers) -> Callable[[Namespace, Console], int]:
    """`completion` for the command line of this parser."""

    def run(args: Namespace, console: Console) -> int:
        import shtab  # needed by no other command

        console.say(shtab.complete(parser(), shell=args.shell))
        return DONE

    return run


def about(parser: Parsers) -> Callable[[Namespace, Console], int]:
    """`help` for the command line of this parser."""

    def run(args: Namespace, console: Console) -> int:
        topic = " ".join(args.topic)
        for line in _told(topic, parser) if topic else _contents(parser):
            console.say(line)
        return DONE

    return run


def _contents(parser: Parsers) -> Iterator[str]:
    kinds = {
        "Commands": commands_of(parser()),
        "Configuration": [_path(section) for section in sections() if section.settings],
        "Other topics": [*_TOPICS, "a verdict, such as sni_blocked"],
    }
    yield "mirrorgate help TOPIC explains:"
    for kind, names in kinds.items():
        yield f"\n{kind}:"
        yield textwrap.fill(", ".join(names), _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _told(topic: str, parser: Parsers) -> Iterator[str]:
    """The lines about a topic. Raises CommandFailed."""
    if topic in _TOPICS:
        yield textwrap.fill(" ".join(_TOPICS[topic].split()), _WIDTH)
        return
    if (found := _parser_of(topic, parser())) is not None:
        yield found.format_help().rstrip()
        return
    declared = list(_settings(topic))
    if declared:
        yield from declared
        return
    from monitor.diagnosis.telling import tell  # most topics need no diagnosis
    from monitor.diagnosis.verdicts import VERDICTS

    if (verdict := VERDICTS.get(topic)) is None:
        known = [*_TOPICS, *commands_of(parser()), *map(_path, sections()), *VERDICTS]
        close = difflib.get_close_matches(topic, known, n=1)
        hint = f'did you mean "{close[0]}"?' if close else "see `mirrorgate help`"
        raise CommandFailed(f'there is no topic "{topic}": {hint}', USAGE)
    said = tell(topic, "en")
    yield f"{topic}: {said.what}"
    lines = {
        "Seen": verdict.seen,
        "May mean": said.cause,
        "Automatic": said.now,
        "You can": said.todo,
    }
    yield from (textwrap.fill(f"{name}: {text}", _WIDTH) for name, text in lines.items() if text)


def commands_of(parser: ArgumentParser) -> list[str]:
    """The names of the commands below a parser."""
    return [name for action in parser._actions if (names := action.choices) for name in names]


def _parser_of(topic: str, parser: ArgumentParser) -> ArgumentParser | None:
    """The parser of a command, such as "bans add"."""
    for word in topic.split():
        below = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
        if not below or word not in below[0]:
            return None
        parser = below[0][word]
    return parser


def _path(section: Section) -> str:
    return section.header.strip("[]")


def _settings(topic: str) -> Iterator[str]:
    """A section, or one setting of it."""
    for section in sections():
        path = _path(section)
        if topic == path:
            yield f"{section.header}  {section.doc}"
            for setting in section.settings:
                yield from _setting(setting, "  ")
        elif topic.startswith(f"{path}."):
            for setting in section.settings:
                if topic == f"{path}.{setting.key}":
                    yield section.header
                    yield from _setting(setting, "")


def _setting(setting: Declared, indent: str) -> Iterator[str]:
    default = "required" if setting.required else f"default: {setting.value}"
    yield f"{indent}{setting.key} ({setting.kind}; {default})"
    restart = "; takes effect after a restart" if setting.restart else ""
    yield textwrap.fill(
        f"{setting.doc}{restart}",
        _WIDTH,
        initial_indent=f"{indent}    ",
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
    )
