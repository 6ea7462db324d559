"""The JDK's HttpClient, which offers h2c on plain http: at a mirror itself, then at mirrorgate."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients.entrance import Entrance
from tests.testkit.programs import require

JOURNEY = Path(__file__).parent / "clients" / "Journey.java"
STEPS = 5
TIMEOUT = 120

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(TIMEOUT + 60)]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled journey."""
    directory = tmp_path_factory.mktemp("java")
    command = [require("javac"), "-encoding", "UTF-8", "-d", str(directory), str(JOURNEY)]
    subprocess.run(command, check=True, timeout=TIMEOUT)
    return directory


def test_the_jdk_client_travels(entrance: Entrance, classes: Path):
    ca_file = str(entrance.ca_file) if entrance.ca_file else "-"
    command = [require("java"), "-cp", str(classes), "Journey"]
    ran = subprocess.run(
        [*command, entrance.base_url, entrance.key, ca_file],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    lines = ran.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert (len(lines), ran.returncode) == (STEPS, 0), ran.stdout + ran.stderr
