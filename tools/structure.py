"""Checks of the structure of the code: `python -m tools.structure` prints rooms and broken rules.

Import layers and circles are import-linter's, complexity is ruff's; here are the rules that they
have no words for.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("router", "monitor", "dashboard")
CHECKED = (*PACKAGES, "benchmarks", "grafana", "tests", "tools")
MOST_FILES = 22
"""Modules in one room; a reader keeps about so many names apart."""
MOST_ROOMS = 23
MOST_LINES = 600
MOST_METHODS = 40
QUESTIONS = ("What", "Who", "Whom", "Whose", "Whether", "How")


def faults() -> Iterator[str]:
    """Every broken rule, with its place."""
    rooms = _rooms()
    if len(rooms) > MOST_ROOMS:
        yield f"{len(rooms)} rooms, at most {MOST_ROOMS}"
    for room, files in rooms.items():
        if len(files) > MOST_FILES:
            yield f"{room}: {len(files)} files, at most {MOST_FILES}"
    for package in PACKAGES:
        for file in sorted((ROOT / package).glob("*.py")):
            if file.name not in ("__init__.py", "__main__.py"):
                yield f"{file.relative_to(ROOT)}: lies in no room"
    for folder in CHECKED:
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text("utf-8")
            place = str(file.relative_to(ROOT))
            lines = text.count("\n")
            if folder in PACKAGES and lines > MOST_LINES:
                yield f"{place}: {lines} lines, at most {MOST_LINES}"
            yield from _faults_in(ast.parse(text), place)


def _rooms() -> dict[str, list[Path]]:
    """The folders of the product that hold modules, with these; migrations are data of theirs."""
    found: dict[str, list[Path]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            room = str(file.parent.relative_to(ROOT))
            if "/" in room and "migrations" not in room and file.name != "__init__.py":
                found.setdefault(room, []).append(file)
    return found


def _faults_in(tree: ast.Module, place: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = getattr(node, "name", "the module")
        words = (ast.get_docstring(node) or "").split(maxsplit=1)
        if words and words[0].rstrip(",:?") in QUESTIONS:
            yield f"{place}: the docstring of {name} opens with {words[0]}"
        if isinstance(node, ast.ClassDef):
            methods = sum(
                isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body
            )
            if methods > MOST_METHODS:
                yield f"{place}: {name} has {methods} methods, at most {MOST_METHODS}"


def main() -> int:
    """Print the rooms, then the faults; 1 if there is any."""
    rooms = _rooms()
    for room, files in rooms.items():
        lines = sum(file.read_text("utf-8").count("\n") for file in files)
        print(f"{room:22}{len(files):4} files{lines:7} lines")
    found = list(faults())
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
