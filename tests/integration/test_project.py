"""The project from outside: the wheel holds what runs, and runs away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from monitor.common.compiled import FORM, PURE
from tests.testkit.wheel import built_wheel

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "monitor", "dashboard")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel unpacked and our dependencies, but without the checkout."""
    home = tmp_path_factory.mktemp("outside")
    venv.create(home, with_pip=False)
    own = next(home.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(own)
    theirs = Path(sys.prefix) / own.relative_to(home)
    # A .pth file adds the folder but, unlike site.addsitedir, does not read the .pth files in it,
    # of which one names the checkout.
    (own / "dependencies.pth").write_text(f"{theirs}\n")
    return home / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MIRROR"))}
    environment[FORM] = PURE  # the checkout's environment, borrowed here, may have a compiled one
    return subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    written = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    }
    assert packed == written


def test_the_licence_is_in_the_wheel(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        licences = [n for n in archive.namelist() if n.endswith("/licenses/LICENSE")]
        assert "Apache License" in archive.read(licences[0]).decode()


def test_the_console_script_runs_outside_the_checkout(outside: Path, tmp_path: Path):
    script = (
        "import importlib.metadata, sys, router; assert 'outside' in router.__file__\n"
        "(entry,) = importlib.metadata.entry_points(group='console_scripts', name='mirrorgate')\n"
        "sys.exit(entry.load()())"
    )
    version = run(outside, tmp_path, "-c", script, "--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("mirrorgate ")
    (tmp_path / "config.toml").write_bytes((ROOT / "config.example.toml").read_bytes())
    checked = run(outside, tmp_path, "-c", script, "check")
    assert (checked.returncode, checked.stdout) == (0, "config.toml is fine: 1 mirror\n")


def test_every_module_of_the_wheel_imports_outside_the_checkout(outside: Path, tmp_path: Path):
    code = (
        "import importlib, pkgutil, router, monitor, dashboard\n"
        "for package in (router, monitor, dashboard):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not module.name.endswith('__main__'):\n"
        "            assert 'outside' in importlib.import_module(module.name).__file__\n"
    )
    done = run(outside, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_like_the_script(outside: Path, tmp_path: Path):
    (tmp_path / "config.toml").write_text("[routr]")
    done = run(outside, tmp_path, "-m", "router", "check")
    assert done.returncode == 2
    assert 'did you mean "router"?' in done.stderr


def test_the_scripts_of_the_project_are_sound():
    for script in (".ci/run", ".ci/venv", ".ci/config"):
        file = ROOT / script
        assert os.access(file, os.X_OK)
        shell = file.read_text("utf-8").partition("\n")[0].removeprefix("#!")
        subprocess.run([shell, "-n", str(file)], check=True, timeout=10)
