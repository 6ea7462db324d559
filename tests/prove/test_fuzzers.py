"""Each fuzzer for ten minutes, or for MIRRORGATE_FUZZ_SECONDS."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.prove.conftest import Measure

pytestmark = pytest.mark.prove

SECONDS = int(os.environ.get("MIRRORGATE_FUZZ_SECONDS", "600"))
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", list(TARGETS))
def test_fuzzing_finds_nothing(target: str, tmp_path: Path, measured: Measure) -> None:
    command = [sys.executable, "-m", "tests.fuzz.engine", target, str(SECONDS), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 300)
    assert ended.returncode == 0, (
        f"{ended.stderr[-4000:]}\nkept in {[str(path) for path in tmp_path.glob('crash-*')]}"
    )
    guided = importlib.util.find_spec("atheris") is not None
    measured(f"{target}: seconds {'with atheris' if guided else 'with Hypothesis'}", SECONDS)
