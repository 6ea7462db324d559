"""The wheel as `uv tool install` and `pipx install` put it into somebody's home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testkit.http_client import ask
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.ports import HOST, free_ports
from tests.testkit.processes import Process
from tests.testkit.programs import missing
from tests.testkit.wait import wait_until
from tests.testkit.wheel import built_wheel

pytestmark = [pytest.mark.prove, pytest.mark.timeout(400)]

UV = str(Path(sys.executable).parent / "uv")
INSTALL = {
    "uv": [UV, "tool", "install", "--quiet", "--python", sys.executable],
    "pipx": [UV, "tool", "run", "--quiet", "pipx", "install", "--python", sys.executable],
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(params=[*INSTALL])
def tool(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Path:
    """`mirrorgate`, installed with extras; what it needs comes from the package index."""
    folders = ("UV_TOOL_DIR", "UV_TOOL_BIN_DIR", "PIPX_HOME", "PIPX_BIN_DIR")
    done = subprocess.run(
        [*INSTALL[request.param], f"{wheel}[cluster,postgresql]"],
        env={**os.environ, **{name: str(tmp_path / name) for name in folders}},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1]
        missing(f"a package index ({reason})", "a connection to pypi.org or a mirror of it")
    (program,) = tmp_path.glob("*_BIN_DIR/mirrorgate")
    return program


def test_an_installed_tool_writes_a_configuration_and_serves_with_it(tool: Path, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MIRROR"))},
        "HOME": str(home),
    }
    python = tool.resolve().with_name("python")
    subprocess.run([python, "-c", "import psycopg, redis"], check=True, timeout=60)
    with MirrorProcess("alpha", tmp_path, keys=[TEST_KEY]) as mirror:
        ports = free_ports(3)
        subprocess.run(
            [tool, "init", mirror.base_url], cwd=home, env=environment, check=True, timeout=60
        )
        config = home / "config.toml"
        listens = "".join(
            f'[{name}]\nlisten = "{HOST}:{port}"\n'
            for name, port in zip(("router", "dashboard", "admin"), ports, strict=True)
        )
        config.write_text(listens + config.read_text())
        process = Process([str(tool), "run"], tmp_path / "run.log", cwd=home, env=environment)
        try:
            wait_until(lambda: "is ready" in process.logs(), 90, "the installed tool to be ready")
            answer = ask(f"http://{HOST}:{ports[0]}/v1/models", key=TEST_KEY)
            assert answer.status == 200
        finally:
            process.stop()
