"""Every module can be imported first: no import works only because another came before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("router", "monitor", "dashboard")

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def modules() -> dict[str, Path]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    parts = {file.relative_to(ROOT).with_suffix("").parts: file for file in files}
    named = {".".join(p[:-1] if p[-1] == "__init__" else p): file for p, file in parts.items()}
    return {name: named[name] for name in sorted(named) if not name.endswith("__main__")}


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: not those in functions, or for type
    checkers."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from statements(statement.orelse)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, field, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from statements(handler.body)


def imported(name: str, file: Path, known: Iterable[str]) -> set[str]:
    """The modules of ours that this one imports by name, with the packages that they lie in."""
    found: set[str] = set()
    for statement in statements(ast.parse(file.read_text(), file).body):
        if isinstance(statement, ast.ImportFrom):
            assert not statement.level, f"{name} has a relative import"
            module = statement.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in statement.names)}
        elif isinstance(statement, ast.Import):
            # `import router.x` would also lend what others have imported of `router`.
            heads = {alias.name.partition(".")[0] for alias in statement.names}
            assert heads.isdisjoint(PACKAGES), f"{name} has an import without `from`"
    around = {".".join(each.split(".")[:n]) for each in (*found, name) for n in range(1, 9)}
    return (found | around) & set(known) - {name}


def test_no_import_needs_another_one_before_it():
    """A module imports all that it names, and the imports form no circle: so any may come first."""
    known = modules()
    assert "router.cli.main" in known
    graph = {name: imported(name, file, known) for name, file in known.items()}
    assert (
        "monitor.common.config"
        in graph["router.control.document"] | graph["monitor.engine.monitor"]
    )
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_every_module_can_be_imported():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL, *modules()],
        cwd=ROOT,
        capture_output=True,
        text=True,
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
        "import sys; from router.cli.main import main\n"
        f"try: main({command!r})\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join(sorted({heavy} & sys.modules.keys())) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
