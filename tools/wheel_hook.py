"""Build hook of hatch: with MIRRORGATE_COMPILE=1 a wheel has the compiled form in it."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILE = "MIRRORGATE_COMPILE"


class WheelHook(BuildHookInterface[Any]):
    """Adds the compiled form, for this Python and machine, to a wheel.

    A checkout that is installed as it is has `make fast` instead.
    """

    PLUGIN_NAME = "custom"
    _made: Path | None = None

    def dependencies(self) -> list[str]:
        """Packages to build with: the compiler, and those whose types it reads."""
        if not self._compiles:
            return []
        project = self.metadata.core
        return [*project.optional_dependencies["compile"], *project.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._compiles or version == "editable":
            return
        sys.path.insert(0, self.root)
        try:
            from monitor.common.compiled import PACKAGE
            from tools.compile import CannotCompile, compile_into
        finally:
            sys.path.remove(self.root)
        self._made = Path(tempfile.mkdtemp(prefix="mirrorgate-wheel-")) / PACKAGE
        try:
            compile_into(self._made)
        except CannotCompile as error:
            sys.exit(f"mirrorgate: {error}")
        build_data["force_include"][str(self._made)] = PACKAGE
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._made is not None:
            shutil.rmtree(self._made.parent, ignore_errors=True)

    @property
    def _compiles(self) -> bool:
        return os.environ.get(COMPILE) == "1"
