"""`mirrorgate init`: a short configuration for these mirrors, written whatever probes say."""

from __future__ import annotations

import json
import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from monitor.common import validators
from monitor.common.config import MirrorConfig, MonitorConfig
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console
from router.control import document

HELP = "write a short config.toml for these mirrors, after probing them"
_PATIENCE = 30.0
"""Seconds for one probe; each of its steps has a limit of its own, below this in sum."""


def declare(parser: ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("urls", metavar="URL", nargs="+", help="base URL of a mirror")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: Namespace, console: Console) -> int:
    """Probe, tell, write."""
    named = args.config or console.environ.get("MIRRORGATE_CONFIG")
    path = Path(named or document.DEFAULT_FILES[0])
    if path.exists() and not args.force:
        raise CommandFailed(f"{path} exists: overwrite it with --force, or edit it", FAILED)
    if not path.parent.is_dir():
        raise CommandFailed(f"the folder {path.parent} does not exist: make it first", FAILED)
    mirrors = mirrors_of(args.urls, console)
    console.note(f"probing {len(mirrors)} mirror{'s' if len(mirrors) > 1 else ''} …")
    for line in probed(mirrors):
        console.note(line)
    _write(path, text_of(mirrors), args.force)
    given = f" --config {path}" if args.config else ""
    console.say(f"{path} is written: start with `mirrorgate run{given}`")
    return DONE


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


def text_of(mirrors: Sequence[MirrorConfig]) -> str:
    """The configuration file."""
    tables = [
        f"[[mirrors]]\nid = {json.dumps(m.id)}\nname = {json.dumps(m.host)}\n"
        f"url = {json.dumps(m.url)}\n"
        for m in mirrors
    ]
    about = "# Every setting, with its default: docs/configuration.md and config.example.toml\n"
    return "\n".join([about, *tables])


def _write(path: Path, text: str, force: bool) -> None:
    try:
        if force:
            _replace(path, text)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}", FAILED) from None


def _replace(path: Path, text: str) -> None:
    """Whole or not at all, with the mode of the file that was there."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            Path(file.name).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()
            raise


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
