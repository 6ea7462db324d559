"""A client of Statuspage's interface from npm, unmodified, reads the status of mirrorgate."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.public.app import build_public_app
from tests.e2e.clients.environments import linked, node_modules
from tests.testkit.dashboard import NOW, FakeSources, serving_at
from tests.testkit.programs import require

CLIENT = Path(__file__).parent / "clients" / "statuspage.mjs"
TYPES = CLIENT.with_suffix(".ts")
PACKAGES = ("statuspage.io@3.1.1",)
"""The newest one whose package holds its code."""
COMPILER = (*PACKAGES, "typescript@5.9.3")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


async def run(*command: str, cwd: Path) -> str:
    """The output of a program that ends well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=cwd
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@pytest.fixture
def sources() -> FakeSources:
    fake = FakeSources()
    fake.dashboard_ = replace(fake.dashboard_, public_url="https://status.example.com")
    return fake


async def test_the_client_reads_every_answer(sources, tmp_path: Path):
    script = linked(CLIENT, tmp_path / "node", PACKAGES)
    async with serving_at(build_public_app(sources, lambda: NOW)) as url:
        told = json.loads(await run(require("node"), str(script), url, cwd=tmp_path))
    assert told["status"]["status"] == told["summary"]["status"]
    assert [c["id"] for c in told["components"]["components"]] == [
        "hk",
        "jp",
        "sg",
        "us-west",
        "de",
    ]
    assert len(told["incidents"]["incidents"]) == 3
    assert [each["status"] for each in told["unresolved"]["incidents"]] == ["investigating"]
    assert "scheduled_maintenances" in told["maintenances"]


@pytest.mark.prove
async def test_the_answers_have_the_types_that_the_client_declares(sources, tmp_path: Path):
    """The compiler checks every field of them, word by word."""
    modules = node_modules(COMPILER)
    (tmp_path / "node_modules").symlink_to(modules)
    script = linked(CLIENT, tmp_path / "node", PACKAGES)
    async with serving_at(build_public_app(sources, lambda: NOW)) as url:
        told = json.loads(await run(require("node"), str(script), url, cwd=tmp_path))
    code = TYPES.read_text().replace("SUMMARY", json.dumps(told["summary"]))
    (tmp_path / "check.ts").write_text(code.replace("INCIDENTS", json.dumps(told["incidents"])))
    compiler = str(modules / "typescript" / "bin" / "tsc")
    await run(
        require("node"),
        compiler,
        *("--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"),
        *("--module", "commonjs", "--moduleResolution", "node10"),
        "check.ts",
        cwd=tmp_path,
    )
