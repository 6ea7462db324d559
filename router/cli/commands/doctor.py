"""`mirrorgate doctor`: what is wrong with a set-up, and what to do about it.

Nothing is changed: each check looks, and says what it saw. Without a valid configuration those that
need one are left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import resource
import shutil
import ssl
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from monitor.common.durations import MOST_SKEW
from monitor.common.settings import SettingsError
from router.cli.client import Client, running_pid
from router.cli.commands.configuration import advice
from router.cli.console import DONE, FAILED, USAGE, CommandFailed, Console, plain
from router.control import document
from router.control.document import Config, Document

HELP = "look for what is wrong with the set-up, and say what to do; exit 1 if anything is"
OK, NOTE, BAD = "ok", "note", "bad"

OLDEST_PYTHON = (3, 11)
FEW_DESCRIPTORS = 4096
"""A worker accepts about half as many clients, and each may need another one for its mirror."""
LITTLE_SPACE = 200 << 20
"""Bytes; with less, history may stop within days."""
ENDS_SOON = 14.0
"""Days."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one look."""

    about: str
    state: str
    said: str
    do: str = ""
    """What to do, where something is to be done."""


def declare(parser: ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--no-probe", action="store_true", help="do not connect to the mirrors")


def run(args: Namespace, console: Console) -> int:
    """Look at everything, and tell."""
    checks = list(_all(args, console))
    if args.json:
        fine = all(check.state != BAD for check in checks)
        console.data({"ok": fine, "checks": [asdict(check) for check in checks]})
    else:
        _say(console, checks)
    if any(check.about == "configuration" and check.state == BAD for check in checks):
        return USAGE
    return FAILED if any(check.state == BAD for check in checks) else DONE


def _say(console: Console, checks: list[Check]) -> None:
    for check in checks:
        todo = f": {check.do}" if check.do else ""
        console.say(
            f"{check.state:5} {check.about:14} {plain(check.said)}{plain(todo) * bool(todo)}"
        )
    bad = sum(check.state == BAD for check in checks)
    notes = sum(check.state == NOTE for check in checks)
    console.note(f"{bad} to fix, {notes} to look at, of {len(checks)} checks")


def _all(args: Namespace, console: Console) -> Iterator[Check]:
    yield from versions()
    yield clock_itself(time.time())
    try:
        path = document.find(args.config, console.environ)
        found = document.load(path, console.environ)
    except SettingsError as error:
        for fault in error.faults:
            yield Check("configuration", BAD, str(fault), "edit the file, then `mirrorgate check`")
        return
    config = found.config
    yield Check("configuration", OK, f"{path} is valid")
    yield from (Check("configuration", NOTE, note) for note in advice(found))
    yield from permissions(found)
    pid = running_pid(Path(config.admin.socket))
    yield from _instance(config, pid)
    if pid is None:
        yield from ports(config)
    yield descriptors(pid)
    yield from certificate(config, time.time())
    yield from store(config)
    yield from cluster(config)
    if not args.no_probe:
        yield from mirrors(config)


def versions() -> Iterator[Check]:
    """Python, and what runs on it."""
    version = importlib.metadata.version("mirrorgate")
    python = sys.version.split()[0]
    told = f"mirrorgate {version}, Python {python}, {ssl.OPENSSL_VERSION}"
    if sys.version_info < OLDEST_PYTHON:
        yield Check("versions", BAD, told, "install Python 3.11 or newer")
        return
    yield Check("versions", OK, told)
    if (loop := importlib.util.find_spec("uvloop")) is None or loop.origin is None:
        yield Check(
            "versions",
            NOTE,
            "uvloop is not installed: workers need twice the CPU time",
            "pip install uvloop",
        )


def clock_itself(now: float) -> Check:
    """A clock that nobody has set begins in 1970 or with the image of the system."""
    built = Path(__file__).stat().st_mtime
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < built - 86_400:
        return Check("clock", BAD, f"it shows {shown}", "set it: `timedatectl set-ntp true`")
    return Check("clock", OK, f"it shows {shown}")


def permissions(found: Document) -> Iterator[Check]:
    """Readers of the file, and the folders in which the process must be able to write."""
    config, mode = found.config, found.path.stat().st_mode & 0o777
    inside = _secrets_in(found)
    if inside and mode & 0o007:
        yield Check(
            "permissions",
            BAD,
            f"{found.path} can be read by everybody (mode {mode:o}) and holds {', '.join(inside)}",
            f'chmod 640 {found.path}, or write "env:NAME" in place of the secret',
        )
    wanted = {"admin.socket": Path(config.admin.socket).parent}
    if config.store.url.startswith("sqlite:///"):
        wanted["store.url"] = Path(config.store.url.removeprefix("sqlite:///")).parent
    if config.log.access not in ("off", "-"):
        wanted["log.access"] = Path(config.log.access).parent
    for setting, folder in wanted.items():
        if not folder.is_dir() and folder.is_relative_to("/run"):
            said = f"{setting}: there is no folder {folder} yet"
            todo = "RuntimeDirectory in the unit makes it at the start; else make it"
            yield Check("permissions", NOTE, said, todo)
        elif not folder.is_dir():
            yield Check("permissions", BAD, f"{setting}: there is no folder {folder}", "make it")
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield Check(
                "permissions",
                BAD,
                f"{setting}: {_me()} may not write into {folder}",
                f"run this as the user who runs mirrorgate, or chown {folder} to it",
            )
        else:
            yield Check("permissions", OK, f"{setting}: {folder} can be written")


def _me() -> str:
    return f"user {os.geteuid()}"


def _secrets_in(found: Document) -> list[str]:
    """Settings whose secret stands in the file itself."""
    config = found.config
    secrets = {
        "admin.metrics_token": config.admin.metrics_token,
        **{f"mirrors[{i}].api_key": m.api_key for i, m in enumerate(config.mirrors)},
    }
    return [name for name, value in secrets.items() if value and name not in found.kept_elsewhere]


def _instance(config: Config, pid: int | None) -> Iterator[Check]:
    if pid is None:
        yield Check("instance", NOTE, "none is running with this file", "`mirrorgate run`")
        return
    try:
        told: Mapping[str, Any] = Client(Path(config.admin.socket)).call("GET", "/api/admin/status")
    except CommandFailed as error:
        yield Check("instance", BAD, f"process {pid} does not answer: {error}", "look at its log")
        return
    version = importlib.metadata.version("mirrorgate")
    if told.get("version") != version:
        said = f"process {pid} is mirrorgate {told.get('version')}, installed is {version}"
        yield Check("instance", NOTE, said, "restart it to run what is installed")
    else:
        yield Check("instance", OK, f"process {pid} runs")
    dead = [w["slot"] for w in told.get("workers", ()) if not w.get("alive")]
    if dead:
        said = f"workers that do not answer: {', '.join(map(str, dead))}"
        yield Check("instance", BAD, said, "look at its log")
    for name, what in (
        ("config", "the file is not in use"),
        ("store", "the store cannot be written"),
    ):
        if problem := (told.get(name) or {}).get("problem"):
            yield Check("instance", BAD, f"{what}: {problem}", "fix that; it recovers by itself")


def ports(config: Config) -> Iterator[Check]:
    """Addresses to listen on, tried as a start does."""
    from router.process.listener import ListenError, bind

    for name in ("router", "dashboard", "admin"):
        if not (listen := getattr(config, name).listen):
            continue
        try:
            bind(listen, f"{name}.listen").close()
        except ListenError as error:
            said, _, todo = str(error).partition(": ")
            yield Check("ports", BAD, said, todo)
        else:
            yield Check("ports", OK, f"{name}.listen: {listen} is free")


def descriptors(pid: int | None) -> Check:
    """The number of files and connections that a process may have open."""
    _, most = resource.prlimit(pid or 0, resource.RLIMIT_NOFILE)
    told = "unlimited" if most == resource.RLIM_INFINITY else str(most)
    said = f"{told} for each process"
    if 0 <= most < FEW_DESCRIPTORS:
        todo = "LimitNOFILE=65536 in the unit, or `ulimit -n 65536` before the start"
        return Check("descriptors", NOTE, said, todo)
    return Check("descriptors", OK, said)


def certificate(config: Config, now: float) -> Iterator[Check]:
    """The API listener's own certificate; that it fits its key, the configuration has checked."""
    if not config.router.tls_cert:
        return
    # What `getpeercert` reads with; the module has no other way to read a file.
    leaf = ssl._ssl._test_decode_cert(config.router.tls_cert)  # type: ignore[attr-defined]
    end = ssl.cert_time_to_seconds(leaf["notAfter"])
    days = (end - now) / 86_400
    said = f"{config.router.tls_cert} ends on {time.strftime('%Y-%m-%d', time.gmtime(end))}"
    renew = "renew it, then `mirrorgate reload`"
    if days < 0:
        yield Check("certificate", BAD, f"{said}, which is over", renew)
    elif days < ENDS_SOON:
        yield Check("certificate", NOTE, f"{said}, in {days:.0f} days", renew)
    else:
        yield Check("certificate", OK, said)


def store(config: Config) -> Iterator[Check]:
    """The database: that it can be used by this version, and has room."""
    from monitor.store.database import backend_of
    from monitor.store.errors import StoreError

    url = config.store.url
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        if not file.parent.is_dir():
            return
        if (free := shutil.disk_usage(file.parent).free) < LITTLE_SPACE:
            said = f"{free >> 20} MiB are free in {file.parent}"
            yield Check("store", BAD, said, "free disk space, or shorten monitor.retention")
        if not file.exists():
            yield Check("store", OK, f"{file} will be made by the first start")
            return
    try:
        revision = backend_of(url).revision()
    except StoreError as error:
        said, _, todo = str(error).partition(": install")
        yield Check("store", BAD, said, f"install{todo}" if todo else "see docs/operations.md")
        return
    yield Check("store", OK, f"it has schema {revision or 'none yet'}")


def cluster(config: Config) -> Iterator[Check]:
    """The server through which instances hold limits together."""
    if not config.cluster.url:
        return
    import asyncio

    from router.cluster.address import Address
    from router.cluster.valkey import MissingPart, Unreachable, connect

    place = Address.of(config.cluster.url).place

    async def reach() -> str:
        valkey = connect(config.cluster.url, config.cluster.prefix, "", 0)
        try:
            return await valkey.reach()
        finally:
            await valkey.close()

    try:
        found = asyncio.run(reach())
    except MissingPart as error:
        yield Check("cluster", BAD, "redis-py is not installed", str(error).partition(": ")[2])
    except Unreachable as error:
        todo = "look at the server, the network and cluster.url"
        yield Check("cluster", BAD, f"Valkey at {place} cannot be used: {error}", todo)
    else:
        through = "" if found == place else f" through {place}"
        yield Check("cluster", OK, f"Valkey at {found} answers{through}")


def mirrors(config: Config) -> Iterator[Check]:
    """Every mirror, probed once; what their clocks say of ours."""
    import asyncio  # needed by no other command, as is the prober

    from monitor.diagnosis.telling import tell
    from monitor.engine.diagnose import ProbeReport, probe_once

    async def probe_all() -> list[ProbeReport | BaseException]:
        enabled = [mirror for mirror in config.mirrors if mirror.enabled]
        probes = (probe_once(mirror, config.monitor) for mirror in enabled)
        return await asyncio.gather(*probes, return_exceptions=True)

    reports = asyncio.run(probe_all())
    skews: dict[str, float] = {}
    unresolved = 0
    for report in reports:
        if isinstance(report, BaseException):
            yield Check("mirrors", BAD, f"a probe failed: {report}", "`mirrorgate probe`")
            continue
        name = report.mirror.id
        unresolved += report.verdict.startswith("dns_")
        if (skew := _skew(report, time.time())) is not None:
            skews[name] = skew
        if report.ok and report.verdict == "ok":
            yield Check("mirrors", OK, f"{name} can be reached")
        else:
            said = f"{name}: {report.verdict}{f' ({report.sentence})' if report.sentence else ''}"
            todo = f"{tell(report.verdict, 'en').todo} `mirrorgate probe {name}` says more."
            yield Check("mirrors", NOTE if report.ok else BAD, said, todo.strip())
    if unresolved and unresolved == len(reports):
        said = "no mirror's name could be resolved"
        yield Check("resolver", BAD, said, "look at /etc/resolv.conf, or set monitor.dns.resolvers")
    elif reports:
        yield Check("resolver", OK, "names of mirrors can be resolved")
    yield from skewed(skews)


def _skew(report: Any, now: float) -> float | None:
    best = report.probe.best
    answer = best.last.http if best is not None else None
    shown = (answer.headers.get("date") if answer is not None else None) or ""
    try:
        return now - parsedate_to_datetime(shown).timestamp()
    except ValueError:
        return None


def skewed(skews: Mapping[str, float]) -> Iterator[Check]:
    """This clock beside those of mirrors: ours is wrong where most of theirs agree on that."""
    if not skews:
        return
    middle = sorted(skews.values())[len(skews) // 2]
    if abs(middle) > MOST_SKEW:
        side = "ahead of" if middle > 0 else "behind"
        said = f"this machine is {abs(middle):.0f} s {side} the mirrors"
        yield Check("clock", BAD, said, "set it: `timedatectl set-ntp true`")
    else:
        yield Check("clock", OK, "it agrees with those of the mirrors")
