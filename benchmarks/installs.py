"""Programs from PyPI that are measured, each in a virtual environment of its own, in a cache."""

import functools
import os
import subprocess
import sys
from pathlib import Path

INSTALL_TIMEOUT = 900.0


def cache_directory() -> Path:
    """Return the folder of the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mirrorgate" / "benchmarks"


def environment_of(name: str) -> Path:
    """Return where the programs of environment `name` are."""
    return cache_directory() / name / "bin"


@functools.cache
def install(name: str, requirement: str) -> str:
    """Make the environment unless it is there. Returns why that failed; empty if it did not."""
    place = environment_of(name).parent
    done = place / "complete"
    if done.exists():
        return ""
    print(f"installing {requirement} into a virtual environment of its own", file=sys.stderr)
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        _run([str(place / "bin" / "pip"), "install", "--quiet", requirement])
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines() or ["no reason given"]
        return f"pip install {requirement!r} failed: {said[-1]}"
    except subprocess.TimeoutExpired:
        return f"pip install {requirement!r} took longer than {INSTALL_TIMEOUT:.0f} s"
    done.touch()
    return ""


def version_of(name: str, distribution: str) -> str:
    """Return the version of a distribution in environment `name`."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    ran = _run([str(environment_of(name) / "python"), "-c", code])
    return ran.stdout.strip()


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=INSTALL_TIMEOUT
    )
