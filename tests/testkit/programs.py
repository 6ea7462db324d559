"""Outside programs that some tests need: found, or the test is skipped with the way to get them."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_ALL = "MIRRORGATE_REQUIRE_ALL"

DEBIAN_PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "bash": "bash",
    "caddy": "caddy",
    "callgrind_control": "valgrind",
    "chromium": "chromium",
    "curl": "curl",
    "dnsmasq": "dnsmasq-base",
    "faketime": "faketime",
    "fish": "fish",
    "gcc": "gcc",
    "git": "git",
    "haproxy": "haproxy",
    "initdb": "postgresql",
    "ip": "iproute2",
    "iptables": "iptables",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "kubectl": "kubernetes-client",
    "make": "make",
    "nginx": "nginx",
    "nft": "nftables",
    "node": "nodejs",
    "npm": "npm",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "pg_ctl": "postgresql",
    "pg_dump": "postgresql-client",
    "pg_restore": "postgresql-client",
    "php": "php-cli",
    "postgres": "postgresql",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "psql": "postgresql-client",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "ss": "iproute2",
    "systemd-analyze": "systemd",
    "unshare": "util-linux",
    "valgrind": "valgrind",
    "zsh": "zsh",
}
"""Program -> the Debian package that brings it."""

SEARCHED_BESIDE_PATH = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Debian puts servers where the PATH of an ordinary user does not look."""

INSTALL = "apt-get install -y"

REASON = re.compile(r"needs (?P<what>.+?); get it with: (?P<command>.+)")


def find(name: str) -> str | None:
    """Return the path of program `name`, None if it is not installed."""
    servers = map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    beside = ":".join((*SEARCHED_BESIDE_PATH, *servers))
    return shutil.which(name) or shutil.which(name, path=beside)


def require(name: str) -> str:
    """Return the path of program `name`, or skip the test (fail it if everything is required)."""
    path = find(name)
    if path is not None:
        return path
    missing(name, f"{INSTALL} {DEBIAN_PACKAGES[name]}")


def missing(what: str, command: str) -> NoReturn:
    """End the test because `what` is not here; `command` would bring it.

    A skip, or a failure when the environment says `MIRRORGATE_REQUIRE_ALL=1`.
    """
    reason = f"needs {what}; get it with: {command}"
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def summary(skip_reasons: Iterable[str]) -> str | None:
    """One line on all that was missing, made from the reasons of skipped tests; None if nothing."""
    found = [match for reason in skip_reasons if (match := REASON.search(reason))]
    if not found:
        return None
    tests = Counter(match["what"] for match in found)
    commands = _commands({match["command"].strip() for match in found})
    counted = ", ".join(f"{what} ({number})" for what, number in sorted(tests.items()))
    return f"skipped for want of a program: {counted}; to run them: {' && '.join(commands)}"


def _commands(needed: set[str]) -> list[str]:
    """Return the same commands with all Debian packages in one."""
    packages = sorted(each.removeprefix(INSTALL).strip() for each in needed if INSTALL in each)
    others = sorted(each for each in needed if INSTALL not in each)
    return [f"{INSTALL} {' '.join(packages)}", *others] if packages else others
