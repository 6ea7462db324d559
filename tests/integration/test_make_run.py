"""`make run` where nothing can be written: one sentence, and nothing half-done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.testkit.programs import require

ROOT = Path(__file__).parents[2]
READ_ONLY = 'mount --bind . . && mount -o remount,ro,bind "$PWD" && cd "$PWD" && make run'
"""Root writes into a folder whatever its mode is, but not into one that is mounted read-only."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what `make run` needs, its environment a pretended one."""
    require("make")
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("Makefile", "pyproject.toml", "config.example.toml"):
        shutil.copy2(ROOT / name, folder)
    program = folder / ".venv" / "bin" / "mirrorgate"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "started: $1"\n')
    program.chmod(0o755)
    (folder / ".venv" / ".runs").touch()
    return folder


def run(folder: Path, *command: str) -> tuple[int, str, list[str]]:
    """Exit status, output, and what was complained of, without make's own last line."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MIRROR"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    return done.returncode, done.stdout, complaints


def run_read_only(folder: Path) -> tuple[int, str, list[str]]:
    """The same in a folder that is mounted read-only."""
    mounts = [require("unshare"), "--map-root-user", "--mount"]
    if subprocess.run([*mounts, "true"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("no namespaces of mounts here")
    return run(folder, *mounts, "sh", "-c", READ_ONLY)


def test_a_first_run_writes_the_configuration(checkout: Path):
    assert run(checkout, "make", "run") == (0, "started: run\n", [])
    written = (checkout / "config.toml").read_bytes()
    assert written == (ROOT / "config.example.toml").read_bytes()


def test_a_configuration_that_cannot_be_written_is_one_sentence_with_the_way_out(checkout: Path):
    code, out, complaints = run_read_only(checkout)
    assert (code, out) == (2, "")
    assert complaints == [
        f"mirrorgate: {checkout}/config.toml cannot be written; is the disk full or the folder "
        "read-only? Copy config.example.toml to where it can, and run: "
        "make run MIRRORGATE_CONFIG=/path/to/config.toml"
    ]


def test_a_link_to_nowhere_in_place_of_the_configuration_stays(checkout: Path):
    link = checkout / "config.toml"
    link.symlink_to(checkout / "nowhere" / "config.toml")
    code, _, complaints = run(checkout, "make", "run")
    assert (code, len(complaints), link.is_symlink()) == (2, 1, True)


def test_a_folder_in_which_nothing_can_be_installed_is_one_sentence(checkout: Path):
    shutil.rmtree(checkout / ".venv")
    code, out, complaints = run_read_only(checkout)
    assert (code, out) == (2, "")
    assert complaints == [
        f"mirrorgate: nothing can be written into {checkout}: copy the project to a folder that "
        "is not read-only, or is your own"
    ]
