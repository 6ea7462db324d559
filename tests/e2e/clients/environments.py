"""Packages of clients, each version in an environment of its own, installed once.

They are kept outside the checkout, in `$XDG_CACHE_HOME/mirrorgate-tests`. Without the registries a
test that needs one is skipped.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uv

from tests.testkit.programs import missing, require

OPENAI_NODE = ("openai@7.59.0", "ws@8.23.0")
INSTALL_TIMEOUT = 300.0


def node_modules(packages: Sequence[str]) -> Path:
    """Return a `node_modules` folder with these packages of npm; skip the test without them."""
    npm = require("npm")
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save"]

    def install(place: Path) -> None:
        _run([npm, "install", "--prefix", str(place), *options, *packages], "npm", packages)

    return _kept("node", packages, install) / "node_modules"


def python_with(packages: Sequence[str]) -> Path:
    """Return a Python with these packages of PyPI; skip the test without them."""

    def install(place: Path) -> None:
        # Its scripts name the folder in which it is made: so it is not moved from a draft.
        tool, python = uv.find_uv_bin(), str(place / "bin" / "python")
        _run([tool, "venv", "--quiet", "--python", sys.executable, str(place)], "uv", packages)
        _run([tool, "pip", "install", "--quiet", "--python", python, *packages], "uv", packages)

    return _kept("python", [sys.version, *packages], install) / "bin" / "python"


def linked(script: Path, directory: Path, packages: Sequence[str]) -> Path:
    """Copy `script` into `directory` beside a link to the packages: where ESM looks for them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "node_modules").symlink_to(node_modules(packages))
    return Path(shutil.copy(script, directory))


def _kept(kind: str, contents: Sequence[str], install: Callable[[Path], None]) -> Path:
    name = hashlib.sha256(" ".join(contents).encode()).hexdigest()[:12]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mirrorgate-tests"
    place, whole = root / f"{kind}-{name}", root / f"{kind}-{name}.whole"
    with _locked(root / f"{kind}-{name}.lock"):
        if not whole.exists():
            shutil.rmtree(place, ignore_errors=True)
            install(place)
            whole.touch()
    return place


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold `file` alone, of all processes of this machine."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], tool: str, packages: Sequence[str]) -> None:
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
        )
        fault = (ran.stderr.strip().splitlines() or ["no message"])[-1] if ran.returncode else ""
    except subprocess.TimeoutExpired:
        fault = f"not done within {INSTALL_TIMEOUT:.0f} s"
    if fault:
        names = " ".join(packages)
        install = "npm install" if tool == "npm" else "uv pip install"
        missing(f"{names} from its registry", f"{install} {names} ({tool}: {fault})")
