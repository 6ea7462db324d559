"""Every module can be imported first: no import works only because another came before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "monitor", "dashboard")

IMPORT_EACH_IN_A_FORK = """
import importlib, os, sys, traceback
# What belongs to others is imported once; a fork then starts with none of our modules.
import aiohttp.web, dns.asyncresolver, httptools, jinja2, prometheus_client, sqlmodel, uvloop
failed = []
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            assert not {"router", "monitor", "dashboard"} & sys.modules.keys()
            importlib.import_module(name)
        except BaseException:
            traceback.print_exc()
            print(f"while importing {name} alone", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(" ".join(failed) or 0)
"""


def modules() -> list[str]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files]
    names = [".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts]
    return sorted(name for name in names if not name.endswith("__main__"))


def test_every_module_imports_alone():
    names = modules()
    assert "router.main.cli" in names
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_EACH_IN_A_FORK, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_with_modules_is_a_package():
    folders = {file.parent for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["check", "--help"]])
def test_the_command_line_loads_neither_servers_nor_the_database(command: list[str]):
    """A command that only reads a file answers at once."""
    heavy = "{'aiohttp', 'sqlmodel', 'sqlalchemy', 'jinja2', 'uvloop', 'asyncio'}"
    code = (
        "import sys; from router.main.cli import main\n"
        f"try: main({command!r})\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join(sorted({heavy} & sys.modules.keys())) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
