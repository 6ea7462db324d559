"""Cost of probing a hundred mirrors of two names and two addresses each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prove.conftest import Measure
from tests.testkit.certs import Authority

pytestmark = pytest.mark.prove

SECONDS = 60.0
RUN = (sys.executable, "-m", "tests.prove.monitor_scale")


def test_a_hundred_mirrors_cost_a_tenth_of_a_core(tmp_path: Path, measured: Measure) -> None:
    leaf = Authority(tmp_path).issue("*.mirror.test", local=False)
    leaf.cert_file.rename(tmp_path / "leaf.pem")
    leaf.key_file.rename(tmp_path / "leaf.key")
    with subprocess.Popen((*RUN, "serve", tmp_path), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            watched = subprocess.run(
                (*RUN, "watch", tmp_path, port, str(SECONDS)),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=SECONDS + 120,
            )
        finally:
            server.kill()
    found = json.loads(watched.stdout)
    for what, value in found.items():
        measured(f"100 mirrors, 400 paths: {what}", value)
    assert found["ok"] == 400
    assert found["core"] < 0.10
    assert found["resident_mib"] < 150
    assert found["late_p99_at_most"] <= 0.5
