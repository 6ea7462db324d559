"""`mirrorgate init`: a short configuration for these mirrors, written whatever probes say."""

from __future__ import annotations

import json
import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from monitor.common import validators
from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.common.settings import SettingsError
from router.cli.commands.configuration import advice
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console
from router.control import document

HELP = "write a short config.toml for these mirrors, after probing them; asks for what is not given"
CALLERS = ("own", "issued", "anonymous")
_ELSEWHERE = ("env:", "file:")
_PATIENCE = 30.0
"""Seconds for one probe; each of its steps has a limit of its own, below this in sum."""
_SERVICE = {
    "admin": {"socket": "/run/mirrorgate/mirrorgate.sock"},
    "store": {"url": "sqlite:////var/lib/mirrorgate/mirrorgate.db"},
}
"""In the folders that deploy/systemd/mirrorgate.service and the image give to the process."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The content of the file."""

    mirrors: Sequence[MirrorConfig]
    api_key: str = ""
    callers: Sequence[str] = ()
    title: str = ""
    service: bool = False


def declare(parser: ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("urls", metavar="URL", nargs="*", help="base URL of a mirror")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help='the mirrors\' own key, for callers without one; rather "env:NAME" or "file:PATH"',
    )
    parser.add_argument(
        "--callers",
        metavar="KINDS",
        type=_callers,
        help='who may call, of "own", "issued" and "anonymous", with commas between them',
    )
    parser.add_argument("--title", metavar="TEXT", help="title of the status page")
    parser.add_argument(
        "--service",
        action="store_true",
        help="socket in /run/mirrorgate and database in /var/lib/mirrorgate, as the systemd unit "
        "and the image have them",
    )


def _callers(text: str) -> list[str]:
    found = [word.strip() for word in text.split(",")]
    if not found or any(word not in CALLERS for word in found):
        raise ArgumentTypeError(f'expected some of {", ".join(CALLERS)}, got "{text}"')
    return list(dict.fromkeys(found))


def run(args: Namespace, console: Console) -> int:
    """Ask, probe, tell, write."""
    named = args.config or console.environ.get("MIRRORGATE_CONFIG")
    path = Path(named or document.DEFAULT_FILES[0])
    if path.exists() and not args.force:
        raise CommandFailed(f"{path} exists: overwrite it with --force, or edit it", FAILED)
    if not path.parent.is_dir():
        raise CommandFailed(f"the folder {path.parent} does not exist: make it first", FAILED)
    wanted = _wanted(args, console)
    text = text_of(wanted)
    notes = _checked(text, path, wanted.api_key.startswith(_ELSEWHERE), console)
    console.note(f"probing {len(wanted.mirrors)} mirror{'s' if len(wanted.mirrors) > 1 else ''} …")
    for line in probed(wanted.mirrors):
        console.note(line)
    _write(path, text, wanted)
    for note in notes:
        console.note(f"note: {note}")
    given = f" --config {path}" if args.config else ""
    console.say(f"{path} is written: start with `mirrorgate run{given}`")
    return DONE


def _wanted(args: Namespace, console: Console) -> Wanted:
    """The arguments; the rest is asked at the terminal, if the mirrors are."""
    if args.urls:
        urls, ask = args.urls, False
    elif console.interactive:
        ask = True
        urls = console.ask("base URLs of your mirrors, with spaces between them:").split()
    else:
        urls, ask = [], False
    if not urls:
        raise CommandFailed("name at least one mirror: mirrorgate init URL", USAGE)
    mirrors = mirrors_of(urls, console)
    key, callers, title = args.api_key, args.callers, args.title
    if ask and key is None:
        key = console.ask('their own key, or "env:NAME" (empty: callers bring theirs):')
    if ask and callers is None:
        default = "own,issued" if key else "own"
        try:
            callers = _callers(console.ask("who may call (own, issued, anonymous)?", default))
        except ArgumentTypeError as error:
            raise CommandFailed(str(error), USAGE) from None
    if ask and title is None:
        title = console.ask("title of the status page:", "mirrorgate")
    return Wanted(mirrors, key or "", callers or (), title or "", args.service)


def _checked(text: str, path: Path, elsewhere: bool, console: Console) -> list[str]:
    """Warnings about the file to be written. Raises SettingsError for faults in it; that a key
    which is kept elsewhere is not there yet is none: it may be there only for mirrorgate."""
    try:
        found = document.parsed(text, path, console.environ)
    except SettingsError as error:
        missing = [fault for fault in error.faults if fault.path.endswith(".api_key")]
        if not elsewhere or len(missing) < len(error.faults):
            raise
        return [str(fault) for fault in missing]
    return advice(found)


def mirrors_of(urls: Sequence[str], console: Console) -> list[MirrorConfig]:
    """One mirror for each different URL. Raises CommandFailed for what is no URL."""
    cleaned = list(dict.fromkeys(_cleaned(url, console) for url in urls))
    ids = ids_of(cleaned)
    return [MirrorConfig(id=i, url=url) for i, url in zip(ids, cleaned, strict=True)]


def _cleaned(url: str, console: Console) -> str:
    full = url if re.match("[A-Za-z]+:/", url) else f"https://{url}"
    if problem := validators.http_url(full):
        raise CommandFailed(problem, USAGE)
    full = full.rstrip("/")
    if full.endswith("/v1"):
        full = full.removesuffix("/v1")
        console.note(f"{url}: the /v1 belongs to requests, the mirror is {full}")
    return full


def probed(mirrors: Sequence[MirrorConfig]) -> list[str]:
    """Return the results of probing all of them, in lines; a mirror that cannot be probed has its
    reason."""
    import asyncio  # needed by no other command, as is the prober

    from monitor.engine.diagnose import probe_once

    async def probe(mirror: MirrorConfig) -> list[str]:
        try:
            async with asyncio.timeout(_PATIENCE):
                return list((await probe_once(mirror, MonitorConfig())).lines())
        except TimeoutError:
            return [f"{mirror.id}: no result within {_PATIENCE:g} s"]
        except OSError as error:
            return [f"{mirror.id}: could not be probed: {error}"]

    async def probe_all() -> list[list[str]]:
        return await asyncio.gather(*map(probe, mirrors))

    return [line for lines in asyncio.run(probe_all()) for line in lines]


def text_of(wanted: Wanted) -> str:
    """The configuration file."""
    sections = [
        "# Written by `mirrorgate init`. Every setting, with its default: docs/configuration.md.\n"
        "# `mirrorgate reload` takes changes over, `mirrorgate doctor` looks for what is wrong.\n"
    ]
    if wanted.callers:
        sections.append(
            "[router]\n"
            '# "own": with a key of a mirror; "issued": with one of `mirrorgate keys create`;\n'
            '# "anonymous": without any.\n'
            f"callers = {_toml(list(wanted.callers))}\n"
        )
    if wanted.title:
        sections.append(f"[dashboard]\ntitle = {_toml(wanted.title)}\n")
    for name, settings in _SERVICE.items() if wanted.service else ():
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
        sections.append(f"[{name}]\n{lines}")
    hosts = [mirror.host for mirror in wanted.mirrors]
    for mirror in wanted.mirrors:
        alone = hosts.count(mirror.host) == 1
        name = mirror.host if alone else mirror.url.partition("://")[2].rstrip("/")[:100]
        key = (
            "# For callers with an issued key or none; only this mirror gets it.\n"
            f"api_key = {_toml(wanted.api_key)}\n"
        )
        sections.append(
            f"[[mirrors]]\nid = {_toml(mirror.id)}\nname = {_toml(name)}\n"
            f"url = {_toml(mirror.url)}\n{key if wanted.api_key else ''}"
        )
    return "\n".join(sections)


def _toml(value: object) -> str:
    """A string or a list of them: JSON is TOML for these, apart from DEL (toml.io/en/v1.0.0)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, text: str, wanted: Wanted) -> None:
    """Whole or not at all, with the mode of the file that was there; where it holds a key, only
    its owner may read a new one, and the group of its folder a service's."""
    secret = wanted.api_key and not wanted.api_key.startswith(_ELSEWHERE)
    there = path.exists()
    try:
        if there:
            mode = path.stat().st_mode & 0o777
        else:
            mode = 0o640 if wanted.service else 0o600 if secret else 0o644
        with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                if wanted.service:
                    os.fchown(file.fileno(), -1, path.parent.stat().st_gid)
                if there:
                    Path(file.name).replace(path)
                else:
                    path.hardlink_to(file.name)  # never over one that came meanwhile
            finally:
                with suppress(FileNotFoundError):
                    Path(file.name).unlink()
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}", FAILED) from None


_GENERIC = ("api", "www", "gateway", "proxy")
"""First labels that tell nothing when another follows."""


def ids_of(urls: Sequence[str]) -> list[str]:
    """A short, stable id for each URL; a number tells apart those that would be the same."""
    taken: list[str] = []
    for url in urls:
        wanted = _id_of(url)
        names = (wanted, *(f"{wanted}-{n}" for n in range(2, len(urls) + 2)))
        taken.append(next(name for name in names if name not in taken))
    return taken


def _id_of(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if validators.address(host) is None:
        name = f"{host}-{parts.port}" if parts.port else host
    else:
        name = _telling_label(host.split("."))
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:56].strip("-")
    return cleaned or "mirror"


def _telling_label(labels: list[str]) -> str:
    generic = len(labels) > 2 and labels[0] in _GENERIC
    return labels[1] if generic else labels[0]
