"""The wheel of this checkout."""

import subprocess
import sys
from pathlib import Path

from tests.testkit.processes import REPOSITORY


def built_wheel(folder: Path) -> Path:
    """Build it into a folder by the build backend itself, so that no network is needed."""
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]
