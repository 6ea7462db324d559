"""OpenAI's client for Node, unmodified: first at a mirror itself, then through mirrorgate."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients.entrance import UPLOAD_BYTES, Entrance
from tests.e2e.clients.environments import OPENAI_NODE, linked
from tests.testkit.programs import require

JOURNEY = Path(__file__).parent / "clients" / "journey.mjs"
STEPS = 14
STEPS_WITH_TLS = 16
TIMEOUT = 240

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(TIMEOUT + 120)]


def test_the_node_client_travels(entrance: Entrance, tmp_path: Path):
    environment = {
        **os.environ,
        "BASE_URL": entrance.base_url,
        "API_KEY": entrance.key,
        "UPLOAD_BYTES": str(UPLOAD_BYTES),
    }
    if entrance.ca_file:
        environment["NODE_EXTRA_CA_CERTS"] = str(entrance.ca_file)
    ran = subprocess.run(
        [require("node"), str(linked(JOURNEY, tmp_path / "node", OPENAI_NODE))],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment,
        check=False,
    )
    steps = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    failed = [f"{step['step']}: {step['error']}" for step in steps if not step["ok"]]
    assert not failed, "\n".join(failed)
    expected = STEPS_WITH_TLS if entrance.ca_file else STEPS
    assert (len(steps), ran.returncode) == (expected, 0), ran.stdout + ran.stderr
