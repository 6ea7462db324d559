"""Compile the modules on a request's way with mypyc: `python -m tools.compile [FOLDER]`.

The folder is filled with what `monitor/common/compiled.py` reads; by default it is the one beside
the installed packages of this Python. Nothing happens if it is of these sources already.
"""

import fcntl
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

os.environ.setdefault("MIRRORGATE_FORM", "pure")  # who compiles reads sources

from monitor.common.compiled import (  # noqa: E402
    LIBRARY,
    MANIFEST,
    PACKAGE,
    PYTHON,
    CannotUse,
    digests,
    usable,
)

ROOMS = ("wire", "balancing", "upstream", "admission", "metering", "forwarding")
"""Rooms of the router on a request's way."""
OURS = ("router", "monitor")
"""Packages that are compiled, and that these import."""
LEFT_OUT = frozenset(
    (
        "router/admission/config.py",  # settings are read when a worker starts
        "router/balancing/config.py",
        "router/forwarding/config.py",
        "router/forwarding/metrics.py",  # so are the names of metrics
        "router/metering/metrics.py",
        "router/metering/shapes.py",  # what msgspec decodes into: see the decision record
        "router/upstream/connector.py",  # a handshake takes longer than any of our code
        "router/upstream/opening.py",
        "router/wire/top_values.py",
    )
)
SETTINGS = "[mypy]\nfollow_imports = silent\nignore_missing_imports = true\n"
OPTIMISE = "2"
_KNOWN_WARNING = "warning: Treating generator comprehension as list"
"""Of some forty places, all of which may be lists: see the decision record."""
GROUP = LIBRARY.removesuffix("__mypyc")
"""What mypyc, which adds the end, names the library by."""
INTERRUPTED = 130
"""Exit code of a program that SIGINT ended, as shells have it."""
_SLICE = "Py_ssize_t slice_len = endn - startn;"
_SLICE_MENDED = "Py_ssize_t slice_len = endn > startn ? endn - startn : 0;"
"""In mypyc's own runtime (2.4.1, `CPyBytes_GetSlice`): `data[5:2]` of bytes is empty in Python, and
a SystemError there."""
NOTE = '"""The compiled form of mirrorgate: see monitor/common/compiled.py."""\n'
IMPORT_ALL = """\
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
print(*sorted(filter(None, files)), sep="\\n")
"""


RECIPE = digests(ROOT, ["tools/compile.py"])["tools/compile.py"]
"""Digest of the way that the compiled form is made: of this file as it was read."""


_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_NEEDED: Sequence[str] = _PROJECT["optional-dependencies"]["compile"]
_INSTALL = f"pip install {shlex.join(_NEEDED)}"


class CannotCompile(Exception):
    """The compiled form cannot be made; the text is one sentence and says what to do."""


def modules(root: Path = ROOT) -> dict[str, str]:
    """Modules that are compiled, and their sources."""
    found = {}
    for room in ROOMS:
        for file in sorted((root / "router" / room).glob("*.py")):
            source = file.relative_to(root).as_posix()
            if file.name != "__init__.py" and source not in LEFT_OUT:
                found[source.removesuffix(".py").replace("/", ".")] = source
    return found


def compile_into(where: Path, root: Path = ROOT) -> None:
    """Replace a folder by the compiled form of the sources below `root`. Raises CannotCompile.

    The sources are read once, so that an edit in these minutes does no harm, and the folder is
    replaced as a whole, for a process that finds a part of a library dies of it.
    """
    _hold_to_pin()
    where, root = where.absolute(), root.absolute()  # the build works in another directory
    built, old = where.with_name(f"{where.name}.new"), where.with_name(f"{where.name}.old")
    shutil.rmtree(built, ignore_errors=True)  # of one that was killed
    try:
        built.mkdir()
    except OSError as error:
        raise _unwritable(where.parent, error) from None
    try:
        _fill(built, root)
        shutil.rmtree(old, ignore_errors=True)
        if where.exists():
            where.rename(old)
        built.rename(where)
    finally:
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(built, ignore_errors=True)


def _fill(built: Path, root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mirrorgate-compile-") as scratch:
        copy = Path(scratch) / "sources"
        for package in OURS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / package, copy / package, ignore=ignored)
        wanted = modules(copy)
        made_from = digests(copy, _sources(copy, wanted))
        _build(copy, list(wanted.values()), Path(scratch), built, root / ".mypy_cache")
        files = {name: name.replace(".", "/") + PYTHON for name in (*wanted, LIBRARY)}
        manifest = {
            "python": PYTHON,
            "recipe": RECIPE,
            "compiler": _compiler(),
            "sources": made_from,
            "modules": files,
            "bytes": {file: (built / file).stat().st_size for file in files.values()},
        }
        (built / "__init__.py").write_text(NOTE)
        (built / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def _unwritable(directory: Path, error: OSError) -> CannotCompile:
    return CannotCompile(
        f"{directory} cannot be written ({error.strerror}): compile as its owner, or in an"
        " environment of your own (make venv)"
    )


def _sources(root: Path, wanted: Iterable[str]) -> list[str]:
    """All sources of ours that these modules import: constants of any are folded into the code."""
    # behind ours, where pip has put what a wheel is built with
    paths = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "MIRRORGATE_FORM": "pure"}
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *wanted],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise CannotCompile("the sources cannot be imported: see the error above")
    files = map(Path, ran.stdout.splitlines())
    ours = [root / package for package in OURS]
    return sorted(
        file.relative_to(root).as_posix()
        for file in files
        if any(file.is_relative_to(package) for package in ours)
    )


def _build(root: Path, sources: Sequence[str], scratch: Path, built: Path, cache: Path) -> None:
    try:
        from mypyc.build import mypycify  # it brings setuptools, which must come first
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
        from setuptools.errors import CompileError, LinkError
    except ImportError as error:
        raise CannotCompile(f"{error.name} is needed to compile: {_INSTALL}") from None

    cores = len(os.sched_getaffinity(0))

    class Build(build_ext):
        """Compiles as many files at a time as there are cores. When one fails, as all that run do
        at an interrupt from the terminal, no other is begun; setuptools would go through all."""

        def build_extensions(self) -> None:
            one: Callable[..., list[str]] = self.compiler.compile
            failed = threading.Event()

            def unless_failed(file: str, *given: Any, **more: Any) -> list[str]:
                if failed.is_set():
                    raise CompileError("another file failed")
                try:
                    return one([file], *given, **more)
                except CompileError:
                    failed.set()
                    raise

            def several(files: list[str], *given: Any, **more: Any) -> list[str]:
                with ThreadPoolExecutor(cores) as pool:
                    made = pool.map(lambda file: unless_failed(file, *given, **more), files)
                    return [each for some in made for each in some]

            self.compiler.compile = several
            self.check_extensions_list(self.extensions)
            with ThreadPoolExecutor(cores) as pool:
                list(pool.map(self.build_extension, self.extensions))

    before = os.getcwd()
    os.chdir(root)  # tracebacks name the sources as they are given here
    try:
        config = scratch / "mypy.ini"
        config.write_text(f"{SETTINGS}cache_dir = {cache}\n")
        with _without_known_warnings():
            extensions = mypycify(
                ["--config-file", str(config), *sources],
                only_compile_paths=sources,
                opt_level=OPTIMISE,
                debug_level="0",
                multi_file=True,
                group_name=GROUP,
                target_dir=str(scratch / "c"),
            )
        _mend(scratch / "c" / "bytes_ops.c")
        for extension in extensions:
            flags = extension.extra_compile_args  # one list, which mypyc gives to all
            extension.extra_compile_args = [*flags, "-fvisibility=hidden", "-w"]
        command = Build(Distribution({"name": GROUP, "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(built), str(scratch / "objects")
        command.ensure_finalized()
        command.run()
    except (CompileError, LinkError) as error:
        raise CannotCompile(
            f"the C compiler failed ({_reason(error)}): is there one, and Python's headers?"
            " (Debian: apt-get install -y gcc libc6-dev python3-dev)"
        ) from None
    finally:
        os.chdir(before)


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Print what mypyc says meanwhile, without the one warning that is no news."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:
        for line in said.getvalue().splitlines():
            if not line.endswith(_KNOWN_WARNING):
                print(line)


def _reason(error: BaseException) -> str:
    """The reason of a failure; of a compiler that ran, the text of the error is all its options."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, subprocess.CalledProcessError):
            return "see its own words above"
        cause = cause.__cause__ or cause.__context__
    return str(error)


def _hold_to_pin() -> None:
    """Raises CannotCompile where mypy is not the one that the tests ran the compiled form of."""
    (pinned,) = (each for each in _NEEDED if each.startswith("mypy=="))
    if (found := _compiler()) and f"mypy=={found}" != pinned:
        raise CannotCompile(f"mypy {found} is here, and {pinned} is needed: {_INSTALL}")


def _compiler() -> str:
    """The version of the compiler, which is mypy's; empty if there is none."""
    try:
        return version("mypy")
    except PackageNotFoundError:
        return ""


def _is_current(where: Path, root: Path = ROOT) -> bool:
    """True if the compiled form in this folder is what would be made now."""
    try:
        usable(where, root)
    except CannotUse:
        return False
    manifest, compiler = json.loads((where / MANIFEST).read_bytes()), _compiler()
    made_alike = manifest.get("recipe") == RECIPE
    complete = set(manifest["modules"]) == {LIBRARY, *modules(root)}  # a module may be new
    return made_alike and complete and (not compiler or manifest.get("compiler") == compiler)


def _mend(runtime: Path) -> None:
    text = runtime.read_text()
    if text.count(_SLICE) != 1:
        raise CannotCompile("this version of mypyc is unknown: take the one of pyproject.toml")
    runtime.write_text(text.replace(_SLICE, _SLICE_MENDED))


def main(arguments: Sequence[str]) -> int:
    """Compile if it is necessary. Returns the exit code."""
    where = Path(arguments[0]) if arguments else Path(sysconfig.get_path("platlib")) / PACKAGE
    try:
        if not _is_current(where):
            _compile_alone(where)
    except CannotCompile as error:
        print(f"mirrorgate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mirrorgate: interrupted; the compiled form is as it was", file=sys.stderr)
        return INTERRUPTED
    print(f"{where} is of these sources")
    return 0


def _compile_alone(where: Path) -> None:
    """Compile, unless another is doing that: then wait for what it makes."""
    try:
        lock = where.with_name(f"{where.name}.lock").open("w")
    except OSError as error:
        raise _unwritable(where.parent, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another that compiles into the same place", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it when the other ends
        if not _is_current(where):
            print("compiling the modules on a request's way (a few minutes)", flush=True)
            compile_into(where)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
