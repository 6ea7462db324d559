"""A missing program must skip with the way to get it, or fail if everything is required."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testkit.processes import REPOSITORY, python_environment
from tests.testkit.programs import DEBIAN_PACKAGES, REQUIRE_ALL, require, summary


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.testkit.programs.SEARCHED_BESIDE_PATH", (str(tmp_path),))


@pytest.mark.usefixtures("empty_path")
def test_a_missing_program_skips_with_its_debian_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(REQUIRE_ALL, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needs promtool; .*install -y prometheus"):
        require("promtool")


@pytest.mark.usefixtures("empty_path")
def test_a_missing_program_fails_when_everything_is_required(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(REQUIRE_ALL, "1")
    with pytest.raises(pytest.fail.Exception, match="needs nginx"):
        require("nginx")


def test_a_program_beside_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("tests.testkit.programs.SEARCHED_BESIDE_PATH", (str(tmp_path),))
    assert require("nginx") == str(program)


def test_the_summary_counts_tests_and_names_each_command_once():
    line = summary(
        [
            "Skipped: needs nginx; get it with: apt-get install -y nginx",
            "Skipped: needs nginx; get it with: apt-get install -y nginx",
            "Skipped: needs npm; get it with: apt-get install -y npm",
            "Skipped: only on Windows",
        ]
    )
    assert line is not None
    assert "nginx (2), npm (1)" in line
    assert line.endswith("apt-get install -y nginx npm")


def test_there_is_no_summary_when_nothing_was_missing():
    assert summary(["Skipped: only on Windows"]) is None


def test_the_summary_is_the_last_line_of_a_run(tmp_path: Path):
    module = tmp_path / "test_sample.py"
    module.write_text(
        "from tests.testkit.programs import require\ndef test_sample(): require('javac')\n"
    )
    plugin = ["-p", "tests.conftest", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, str(module)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        env={**python_environment(), "PATH": str(tmp_path), REQUIRE_ALL: "0"},
        check=False,
    )
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("skipped for want of a program: javac (1);"), ran.stdout + ran.stderr


def test_continuous_integration_installs_every_program_that_tests_need():
    wanted = (REPOSITORY / ".ci" / "run").read_text().split("packages=()")[0]
    brought = set(re.findall(r"[a-z0-9-]+", wanted))
    assert set(DEBIAN_PACKAGES.values()) <= brought
