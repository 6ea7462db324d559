"""The compiled form is used where it is of these sources, and never in place of others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.common.compiled import (
    COMPILED,
    FORM,
    LIBRARY,
    MANIFEST,
    PACKAGE,
    PURE,
    PYTHON,
    CannotUse,
    digests,
    usable,
)

ROOT = Path(__file__).parents[4]
SOURCE = "router/wire/chunked.py"
COPIED = (
    "monitor/__init__.py",
    "monitor/common/__init__.py",
    "monitor/common/compiled.py",
    "router/__init__.py",
    "router/wire/__init__.py",
    SOURCE,
)
IMPORT = "from monitor.common.compiled import form; print(form); import router.wire.chunked"


class Checkout:
    """A few sources, and a compiled form of one of them: its library is a file that no Python can
    load, which tells by its error that it was taken."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "checkout"
        for name in COPIED:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.compiled = directory / "installed" / PACKAGE
        self.compiled.mkdir(parents=True)
        (self.compiled / "__init__.py").touch()
        for name in ("chunked.so", "library.so"):
            (self.compiled / name).write_text("no machine code")
        self.write(python=PYTHON)

    def write(self, python: str) -> None:
        """Write a manifest of the sources as they are."""
        manifest = {
            "python": python,
            "sources": digests(self.root, [SOURCE]),
            "modules": {"router.wire.chunked": "chunked.so", LIBRARY: "library.so"},
            "bytes": {"chunked.so": 15, "library.so": 15},
        }
        (self.compiled / MANIFEST).write_text(json.dumps(manifest))

    def edit(self) -> None:
        """Change the source as an editor would."""
        with (self.root / SOURCE).open("a") as source:
            source.write("# changed\n")

    def run(self, form: str = "", *options: str) -> subprocess.CompletedProcess[str]:
        """Import the module in a Python of its own."""
        path = os.pathsep.join((str(self.root), str(self.compiled.parent)))
        return subprocess.run(
            [sys.executable, *options, "-c", IMPORT],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": path, FORM: form},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_compiled_form_that_cannot_be_loaded_is_not_used(checkout: Checkout) -> None:
    """As on a machine with an older C library. One that can be loaded is in test_compile.py."""
    ran = checkout.run()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("pure (the compiled form cannot be used: it cannot be loaded (")
    assert "library.so" in ran.stdout


def test_a_source_that_was_edited_is_never_shadowed(checkout: Checkout) -> None:
    checkout.edit()
    ran = checkout.run()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"pure (the compiled form cannot be used: {SOURCE} changed")
    with pytest.raises(CannotUse, match="make fast"):
        usable(checkout.compiled, checkout.root)


def test_a_source_that_is_gone_is_a_changed_one(checkout: Checkout) -> None:
    (checkout.root / SOURCE).unlink()
    with pytest.raises(CannotUse, match="changed"):
        usable(checkout.compiled, checkout.root)


def test_that_it_must_be_compiled_is_an_error_where_it_cannot_be(checkout: Checkout) -> None:
    checkout.edit()
    ran = checkout.run(COMPILED)
    assert ran.returncode == 1
    assert ran.stderr.startswith("mirrorgate: the compiled form cannot be used: ")


def test_it_can_be_switched_off(checkout: Checkout) -> None:
    ran = checkout.run(PURE)
    assert (ran.returncode, ran.stdout) == (0, "pure\n")


def test_a_form_that_does_not_exist_is_refused(checkout: Checkout) -> None:
    ran = checkout.run("fast")
    assert ran.returncode == 1
    assert ran.stderr == f'mirrorgate: {FORM} is "fast": it must be "pure" or "compiled"\n'


def test_modules_compiled_for_another_python_are_not_used(checkout: Checkout) -> None:
    checkout.write(python=PYTHON.replace(".", "t.", 1))
    with pytest.raises(CannotUse, match="another Python"):
        usable(checkout.compiled, checkout.root)


@pytest.mark.parametrize("name", ["chunked.so", "library.so", MANIFEST])
def test_an_incomplete_compiled_form_is_not_used(checkout: Checkout, name: str) -> None:
    (checkout.compiled / name).unlink()
    with pytest.raises(CannotUse, match="it is incomplete"):
        usable(checkout.compiled, checkout.root)


@pytest.mark.parametrize("name", ["chunked.so", "library.so"])
def test_a_form_that_this_user_may_not_read_is_not_used(
    checkout: Checkout, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that root made with a umask of 077."""
    monkeypatch.setattr("os.access", lambda file, mode: not file.endswith(name))
    with pytest.raises(CannotUse, match=f"it is incomplete .*{name}"):
        usable(checkout.compiled, checkout.root)


def test_a_folder_that_this_user_may_not_look_into_is_told_of(checkout: Checkout) -> None:
    """Python finds such a folder, and nothing in it; root, as whom tests may run, sees all."""
    for file in checkout.compiled.iterdir():
        file.unlink()
    ran = checkout.run("", "-S")  # without that of the tests' own environment
    assert ran.stdout.startswith("pure (the compiled form cannot be used: it is incomplete (")


@pytest.mark.parametrize("name", ["chunked.so", "library.so", MANIFEST])
def test_a_half_copied_form_is_not_used(checkout: Checkout, name: str) -> None:
    """A process that maps a part of a library is killed by SIGBUS."""
    file = checkout.compiled / name
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CannotUse, match="it is incomplete"):
        usable(checkout.compiled, checkout.root)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"python": "x", "sources": [1], "modules": []}', '{"sources": {}}']
)
def test_a_manifest_that_is_none_is_incomplete(checkout: Checkout, text: str) -> None:
    (checkout.compiled / MANIFEST).write_text(text)
    with pytest.raises(CannotUse, match="it is incomplete"):
        usable(checkout.compiled, checkout.root)
