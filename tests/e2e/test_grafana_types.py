"""Grafana's own types from npm, those of its newest version, know every field of the dashboards."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from grafana.queries import DASHBOARDS, load
from tests.e2e.clients.environments import node_modules
from tests.testkit.programs import require

TYPES = (Path(__file__).parent / "clients" / "dashboard.ts").read_text()
PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")

pytestmark = [pytest.mark.e2e, pytest.mark.prove]


def compiled(boards: Mapping[str, object], directory: Path) -> str:
    """Check these dashboards; returns the compiler's faults, one a line."""
    modules = node_modules(PACKAGES)
    (directory / "node_modules").symlink_to(modules)
    for name, board in boards.items():
        (directory / f"{name}.ts").write_text(TYPES.replace("BOARD;", f"{json.dumps(board)};"))
    command = [
        *(require("node"), str(modules / "typescript" / "bin" / "tsc")),
        *("--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"),
        *("--module", "commonjs", "--moduleResolution", "node10"),
        *(f"{name}.ts" for name in boards),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=directory)
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout


def test_every_field_of_the_dashboards_has_its_type(tmp_path: Path) -> None:
    wrong = {"unknown": load("router"), "mistyped": load("router")}
    first = next(p for p in wrong["unknown"]["panels"] if p["type"] == "timeseries")
    first["options"]["legend"]["sortOf"] = "Last"
    first = next(p for p in wrong["mistyped"]["panels"] if p["type"] == "timeseries")
    first["fieldConfig"]["defaults"]["custom"]["fillOpacity"] = "much"
    said = compiled({file.stem: load(file.stem) for file in DASHBOARDS} | wrong, tmp_path)
    assert {line.partition("(")[0] for line in said.splitlines() if line[0] != " "} == {
        "unknown.ts",
        "mistyped.ts",
    }, said
