"""The compiled form: all that `make test` runs, and the wheel that pip makes of a clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testkit.processes import REPOSITORY
from tests.testkit.programs import missing, require

pytestmark = pytest.mark.prove

OURS = ("PYTHON", "MIRRORGATE_FORM", "PYTEST")
"""Beginnings of variables that these runs set for themselves."""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, **more}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of what is committed, with an environment of its own in `venv`."""
    clone = tmp_path / "clone"
    subprocess.run([require("git"), "clone", "--quiet", REPOSITORY, clone], check=True)
    subprocess.run([sys.executable, "-m", "venv", clone / "venv"], check=True)
    return clone


def installed(clone: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "venv/bin/pip", "install", "--no-input", "."],
        cwd=clone,
        env=environment(MIRRORGATE_COMPILE="1", **more),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_all_tests_pass_in_the_compiled_form() -> None:
    require("gcc")
    ran = subprocess.run(
        [require("make"), "test-compiled", "ROAD=tests"],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-8000:]


def test_pip_installs_the_compiled_form_from_a_clone(clone: Path) -> None:
    require("gcc")
    done = installed(clone)
    if done.returncode and "No matching distribution" in done.stderr:
        missing("a package index", "a connection to pypi.org or a mirror of it")
    assert done.returncode == 0, done.stderr[-4000:]
    told = subprocess.check_output(
        [clone / "venv/bin/mirrorgate", "--version"], cwd="/", env=environment(), text=True
    )
    assert "compiled" in told, told


def test_pip_without_a_compiler_says_in_one_sentence_what_to_do(clone: Path) -> None:
    done = installed(clone, CC="/nowhere/cc")
    if "No matching distribution" in done.stderr:
        missing("a package index", "a connection to pypi.org or a mirror of it")
    said = [line.strip() for line in done.stderr.splitlines() if "mirrorgate: " in line]
    assert [("apt-get install -y gcc" in line) for line in said] == [True], done.stderr[-4000:]
