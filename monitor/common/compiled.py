"""The compiled form of modules: used where it was made from these very sources, else not at all.

`mirrorgate_compiled` is a folder beside the installed packages that `tools.compile` fills: machine
code of the modules on a request's way, and the digests of all sources that it depends on. It stands
apart from these, so that Python never takes it by itself. The first import of `router`
compares the digests (4 ms); one difference, and every module comes from its source.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

FORM = "MIRRORGATE_FORM"
"""Environment variable: `pure` leaves the compiled form alone, `compiled` insists on it; by default
it is used where there is one."""
PURE, COMPILED = "pure", "compiled"
PACKAGE = "mirrorgate_compiled"
MANIFEST = "manifest.json"
"""Digests by source (`sources`), file names by module (`modules`), and sizes by file (`bytes`)."""
LIBRARY = "mirrorgate__mypyc"
"""The module that has the code of all others."""
PYTHON = EXTENSION_SUFFIXES[0]
"""The Python and the machine that machine code is for, as the names of its files end."""
ROOT = Path(__file__).parents[2]


class CannotUse(Exception):
    """The compiled form cannot be used; the text says why."""


class CompiledModules(MetaPathFinder):
    """Finds the compiled modules before their sources."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        file = self.files.get(name)
        return _spec(name, file) if file is not None else None


def _spec(name: str, file: str) -> ModuleSpec | None:
    return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, file))


def digests(root: Path, sources: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each of these files below `root`; empty for one that cannot be read."""
    found = {}
    for source in sources:
        try:
            found[source] = hashlib.sha256((root / source).read_bytes()).hexdigest()
        except OSError:
            found[source] = ""
    return found


def folder() -> Path | None:
    """The folder with the compiled form, whatever it was made from; None if there is none."""
    spec = PathFinder.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))  # also if it may not be looked into


def usable(where: Path | None, root: Path = ROOT) -> dict[str, str]:
    """Files of the compiled modules in this folder, by module.

    Raises CannotUse if it was made from other sources than those below `root`, or for another
    Python, is not whole (a process that maps a part of a library is killed by SIGBUS), or cannot
    be loaded, as where the C library is older than the one it was made with.
    """
    if where is None:
        raise CannotUse("there is none: make it with `make fast`")
    try:
        manifest = json.loads((where / MANIFEST).read_bytes())
        python, made_from = manifest["python"], dict(manifest["sources"])
        files = {name: str(where / file) for name, file in manifest["modules"].items()}
        sizes = {str(where / file): size for file, size in manifest["bytes"].items()}
        broken = [
            file
            for file in files.values()
            if os.stat(file).st_size != sizes[file] or not os.access(file, os.R_OK)
        ]
        library = files[LIBRARY]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotUse(f"it is incomplete ({error}): make it again with `make fast`") from None
    if python != PYTHON:
        raise CannotUse("it is for another Python: make it again with `make fast`")
    if broken:
        raise CannotUse(f"it is incomplete ({broken[0]}): make it again with `make fast`")
    now = digests(root, made_from)
    changed = sorted(source for source in now if now[source] != made_from[source])
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise CannotUse(f"{changed[0]}{more} changed since: make it again with `make fast`")
    try:
        if (spec := _spec(LIBRARY, library)) is not None:
            module_from_spec(spec)  # imports of the others find it loaded
    except ImportError as error:
        raise CannotUse(f"it cannot be loaded ({error}): make it again with `make fast`") from None
    return files


class Form:
    """The form in which this process runs the modules that can be compiled."""

    def __init__(self) -> None:
        self.name = PURE
        self.reason = ""
        """Why a compiled form that exists is not used."""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name

    def choose(self, environ: Mapping[str, str]) -> None:
        """Decide, and let imports find the compiled modules. Exits where what the environment
        insists on cannot be had."""
        wanted = environ.get(FORM, "")
        if wanted not in ("", PURE, COMPILED):
            sys.exit(f'mirrorgate: {FORM} is "{wanted}": it must be "{PURE}" or "{COMPILED}"')
        if wanted == PURE:
            return
        where = folder()
        try:
            files = usable(where)
        except CannotUse as error:
            if wanted == COMPILED:
                sys.exit(f"mirrorgate: the compiled form cannot be used: {error}")
            self.reason = f"the compiled form cannot be used: {error}" if where else ""
            return
        sys.meta_path.insert(0, CompiledModules(files))
        self.name = COMPILED


form = Form()
form.choose(os.environ)
