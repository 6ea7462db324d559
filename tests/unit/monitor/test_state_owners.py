"""State is changed only by its owner: its class, or the module that declares it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import monitor

ROOMS = ("diagnosis", "health", "engine")
MODULES = [
    file for room in ROOMS for file in sorted((Path(monitor.__file__).parent / room).glob("*.py"))
]


def _stored(tree: ast.AST, *, own: bool) -> list[ast.Attribute]:
    """Attributes that are assigned to: of `self`, or of anything else."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and (isinstance(node.value, ast.Name) and node.value.id == "self") is own
    ]


def _declared(tree: ast.AST) -> set[str]:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    fields = {
        line.target.id
        for each in classes
        for line in each.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    return fields | {node.attr for node in _stored(tree, own=True)}


@pytest.mark.parametrize("module", MODULES, ids=lambda file: f"{file.parent.name}.{file.stem}")
def test_no_module_assigns_to_what_another_one_declares(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    declared = _declared(tree)
    foreign = [f"{n.lineno}: {ast.unparse(n)}" for n in _stored(tree, own=False)
               if n.attr not in declared]  # fmt: skip
    assert not foreign, "make it a method of the owner, with a name that says the event"
