"""Packages from npm for the Node journey, installed once into a cache outside the repository."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.testkit.programs import missing, require

PACKAGES = ("openai@7.57.0", "ws@8.23.0")
INSTALL_TIMEOUT = 300.0


def node_modules() -> Path:
    """Return a `node_modules` folder with PACKAGES; skip the test if they cannot be had."""
    npm = require("npm")
    name = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    place = _cache() / f"node-{name}"
    if not place.is_dir():
        _install(npm, place)
    return place / "node_modules"


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mirrorgate-tests"


def _install(npm: str, place: Path) -> None:
    """Install beside `place` and rename, so that nobody ever sees half an installation."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="node-", dir=place.parent))
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save"]
    command = [npm, "install", "--prefix", str(draft), *options, *PACKAGES]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
        )
        if ran.returncode != 0:
            missing(
                "openai from npm", f"npm install {' '.join(PACKAGES)} (npm: {_last(ran.stderr)})"
            )
        draft.rename(place)
    except OSError:
        if not place.is_dir():  # else another test run was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def linked(script: Path, directory: Path) -> Path:
    """Copy `script` into `directory` beside a link to the packages: where ESM looks for them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "node_modules").symlink_to(node_modules())
    return Path(shutil.copy(script, directory))
