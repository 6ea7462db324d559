"""The compiled form that `make fast` makes, of one small module: all of them take minutes."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from monitor.common.compiled import FORM, PACKAGE, usable
from tests.testkit.programs import require
from tools.compile import INTERRUPTED, CannotCompile, _build, _is_current, compile_into, modules

ROOT = Path(__file__).parents[2]
MODULE = '''\
"""A module that fails."""

from __future__ import annotations


def cut(data: bytes, start: int, end: int) -> bytes:
    return data[start:end]


def fails(data: bytes) -> int:
    size = len(data)
    if size == 3:
        raise ValueError("planted")
    return size
'''
LINE = MODULE.splitlines().index('        raise ValueError("planted")') + 1
ASK = """\
import traceback
from router.wire import failing
from monitor.common.compiled import form
print(form, failing.__file__.endswith(".so"))
print(failing.cut(b"abcdef", 5, 2), failing.cut(b"abcdef", -9, 99), failing.cut(b"", 1, 0))
try:
    failing.fails(b"abc")
except ValueError:
    traceback.print_exc()
"""
INTERRUPTIBLE = ("env", "--default-signal=INT")
"""Before a command: jobs in a shell's background ignore SIGINT, and so does all that they start."""
ON_ONE_CORE = """\
import os, sys
from pathlib import Path
from tools.compile import compile_into
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
compile_into(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one module to compile, and the compiled form beside it. An editor saved
    another text while it was made, and took that back."""
    require("gcc")
    root = tmp_path_factory.mktemp("check out 目录")
    for package in ("monitor", "monitor/common", "router", "router/wire"):
        (root / package).mkdir()
        shutil.copy(ROOT / package / "__init__.py", root / package)
    shutil.copy(ROOT / "monitor/common/compiled.py", root / "monitor/common")
    source = root / "router/wire/failing.py"
    source.write_text(MODULE)

    def edited_meanwhile(*given: Any) -> None:
        source.write_text(MODULE.replace("planted", "half done"))
        try:
            _build(*given)
        finally:
            source.write_text(MODULE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.compile._build", edited_meanwhile)
        patch.chdir(root)
        compile_into(Path(PACKAGE), root)
    return root


def _asked(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), FORM: ""}
    command = [sys.executable, "-P", "-c", ASK]
    return subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, check=True
    )


def test_a_traceback_of_compiled_code_names_file_line_and_function(checkout: Path) -> None:
    ran = _asked(checkout)
    assert ran.stdout.splitlines()[0] == "compiled True"
    assert f'File "router/wire/failing.py", line {LINE}, in fails' in ran.stderr
    assert ran.stderr.endswith("ValueError: planted\n")


def test_bytes_are_cut_as_python_cuts_them(checkout: Path) -> None:
    assert _asked(checkout).stdout.splitlines()[1] == "b'' b'abcdef' b''"


def test_an_edited_source_is_what_runs_from_then_on(checkout: Path) -> None:
    source, before = checkout / "router/wire/failing.py", MODULE
    try:
        source.write_text(MODULE.replace("planted", "edited"))
        ran = _asked(checkout)
        assert ran.stdout.splitlines()[0] == (
            "pure (the compiled form cannot be used: router/wire/failing.py changed since: "
            "make it again with `make fast`) False"
        )
        assert ran.stderr.endswith("ValueError: edited\n")
    finally:
        source.write_text(before)
    assert usable(checkout / PACKAGE, checkout)


def test_another_version_of_the_compiler_makes_it_again(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code is part of what it makes; without one, what there is will do."""
    where = checkout / PACKAGE
    assert _is_current(where, checkout)
    monkeypatch.setattr("tools.compile.version", lambda name: "0.0.1")
    assert not _is_current(where, checkout)
    monkeypatch.setattr("tools.compile.version", _not_installed)
    assert _is_current(where, checkout)


def _not_installed(name: str) -> str:
    raise PackageNotFoundError(name)


def test_without_a_compiler_one_sentence_says_what_to_do_and_the_old_form_stays(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(CannotCompile, match="apt-get install -y gcc"):
        compile_into(checkout / PACKAGE, checkout)
    assert usable(checkout / PACKAGE, checkout)
    assert [path.name for path in checkout.glob(f"{PACKAGE}*")] == [PACKAGE]


def test_a_compiler_that_fails_is_told_in_one_sentence_and_its_options_are_not(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without Python's headers: what the compiler says of them stands above."""
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(CannotCompile, match="python3-dev") as failed:
        compile_into(tmp_path / PACKAGE, checkout)
    assert str(compiler) not in str(failed.value)
    assert len(str(failed.value)) < 200


def test_a_compiler_of_another_version_than_the_pinned_one_compiles_nothing(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.compile.version", lambda name: "0.0.1")
    with pytest.raises(CannotCompile, match=r"mypy 0\.0\.1 is here.*pip install mypy=="):
        compile_into(tmp_path / PACKAGE, checkout)
    assert not (tmp_path / PACKAGE).exists()


def test_a_module_that_is_new_is_compiled_though_no_compiled_one_imports_it(
    checkout: Path, tmp_path: Path
) -> None:
    root = tmp_path / "checkout"
    shutil.copytree(checkout, root)
    assert _is_current(root / PACKAGE, root)
    (root / "router/wire/new.py").write_text(MODULE)
    assert not _is_current(root / PACKAGE, root)


def test_the_form_gets_its_name_when_it_is_complete(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that maps half of a library is killed by SIGBUS."""
    where, rename = tmp_path / PACKAGE, Path.rename
    shutil.copytree(checkout / PACKAGE, where)
    named = []

    def watched(path: Path, target: Path) -> Path:
        named.append((bool(usable(path, checkout)), target == where))
        return rename(path, target)

    def copied(*given: Any) -> None:
        shutil.copytree(checkout / PACKAGE, given[3], dirs_exist_ok=True)

    monkeypatch.setattr("tools.compile._build", copied)
    monkeypatch.setattr(Path, "rename", watched)
    compile_into(where, checkout)
    assert named == [(True, False), (True, True)]


def test_a_place_that_cannot_be_written_is_told_before_anything_is_compiled(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nowhere/cc")
    (tmp_path / "file").touch()
    with pytest.raises(CannotCompile, match="cannot be written"):
        compile_into(tmp_path / "file" / PACKAGE, checkout)


def test_a_source_that_cannot_be_imported_is_named(
    checkout: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkout, broken)
    (broken / "router/wire/failing.py").write_text("def cut(:\n")
    with pytest.raises(CannotCompile, match="cannot be imported"):
        compile_into(tmp_path / PACKAGE, broken)
    assert "router/wire/failing.py" in (said := capfd.readouterr().err)
    assert "SyntaxError" in said


def test_a_second_compilation_waits_for_the_first_and_may_be_interrupted(tmp_path: Path) -> None:
    with (tmp_path / f"{PACKAGE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [*INTERRUPTIBLE, sys.executable, "-m", "tools.compile", str(tmp_path / PACKAGE)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as second:
            try:
                assert second.stdout is not None
                assert second.stdout.readline().startswith("waiting for another")
                second.send_signal(signal.SIGINT)
                said = second.communicate()[1]
            finally:
                second.kill()
    assert said == "mirrorgate: interrupted; the compiled form is as it was\n"
    assert second.returncode == INTERRUPTED


def test_an_interrupt_does_not_compile_what_is_left(checkout: Path, tmp_path: Path) -> None:
    """The C compiler waits here; a terminal interrupts it too, and on one core the next file would
    have come after it."""
    started, compiler = tmp_path / "started", tmp_path / "cc"
    os.mkfifo(started)
    compiler.write_text(f"#!/bin/sh\necho >'{started}'\nexec sleep 1000\n")
    compiler.chmod(0o755)
    where = tmp_path / PACKAGE
    with subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-c", ON_ONE_CORE, where, checkout],
        cwd=ROOT,
        env={**os.environ, "CC": str(compiler)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            started.read_bytes()
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert said.endswith("KeyboardInterrupt\n")
    assert not list(tmp_path.glob(f"{PACKAGE}*"))


def test_an_exception_in_compiled_code_has_a_name_of_its_own() -> None:
    """mypyc holds all of one name in a function to the type of the first: where another is caught
    by it, a TypeError goes out instead of what the handler does."""
    found = [
        f"{source}:{handler.lineno}: {handler.name}"
        for source in modules().values()
        for function in ast.walk(ast.parse((ROOT / source).read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for handler in _caught_otherwise(function)
    ]
    assert found == []


def _caught_otherwise(function: ast.AST) -> Iterator[ast.ExceptHandler]:
    """Handlers that name what they catch as an earlier one in this function names another type."""
    types: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
            caught = ast.unparse(node.type)
            if types.setdefault(node.name, caught) != caught:
                yield node


def test_what_msgspec_decodes_into_is_not_compiled() -> None:
    """mypyc drops what a class statement says beside its bases, such as `frozen=True`, and makes
    fields of the type `Any` ones of `type`, which no value is."""
    found = [
        f"{source}:{node.lineno}: {node.name}"
        for source in modules().values()
        for node in ast.walk(ast.parse((ROOT / source).read_text()))
        if isinstance(node, ast.ClassDef) and "Struct" in map(_last_name, node.bases)
    ]
    assert found == []


def _last_name(base: ast.expr) -> str:
    return ast.unparse(base).rpartition(".")[2]


def test_every_module_of_a_requests_way_is_compiled_but_those_that_are_named() -> None:
    found = modules()
    assert found["router.forwarding.exchange"] == "router/forwarding/exchange.py"
    assert len(found) > 80
    assert "router.process.worker" not in found
