"""On what machine, with what programs, and of which commit a result is."""

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.proxies.base import Proxy, first_line
from tests.testkit.processes import REPOSITORY


def facts(proxies: Iterable[Proxy]) -> dict[str, str]:
    """Return what one has to know to compare a result with another."""
    found = {
        "commit": commit(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "load before (1 min)": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "wrk": first_line("wrk", "-v").split("[")[0].removeprefix("wrk ").strip(),
    }
    return found | {proxy.name: proxy.version() for proxy in proxies if proxy.version()}


def commit() -> str:
    """Return the abbreviated commit of the repository, with `-changed` if the code differs."""
    name = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "router", "monitor")
    return f"{name}-changed" if changed else name


def _git(*arguments: str) -> str:
    ran = subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, timeout=30
    )
    return ran.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
