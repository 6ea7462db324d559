"""`mirrorgate help TOPIC`, and completion as real shells read it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from monitor.diagnosis.verdicts import VERDICTS
from router.cli import main
from router.cli.commands import help
from router.control.sections import sections
from tests.testkit.programs import require
from tests.unit.router.cli.test_main import in_a_folder_of_its_own, said

__all__ = ["in_a_folder_of_its_own"]


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    code, out, err = said(capsys, *argv)
    assert (code, err) == (0, "")
    return out


def test_every_topic_that_is_named_is_there(capsys: pytest.CaptureFixture[str]):
    contents = told(capsys, "help")
    paths = [s.header.strip("[]") for s in sections() if s.settings]
    for topic in (*main.command_names(), *paths, "files", "environment", "signals", "exit-codes"):
        assert topic in contents
        assert told(capsys, "help", topic).strip()
    for verdict in VERDICTS:
        assert told(capsys, "help", verdict).startswith(verdict)


def test_a_command_a_section_and_a_setting(capsys: pytest.CaptureFixture[str]):
    assert "--reason" in told(capsys, "help", "bans", "add")
    assert told(capsys, "help", "drain") == told(capsys, "drain", "--help")
    section = told(capsys, "help", "limits.ban")
    assert "violations (whole number; default: 30)" in section
    one = told(capsys, "help", "limits.ban.violations")
    assert one.splitlines()[0] == "[limits.ban]"
    assert len(one) < len(section)


def test_an_unknown_topic_gets_a_suggestion(capsys: pytest.CaptureFixture[str]):
    code, out, err = said(capsys, "help", "signal")
    assert (code, out) == (2, "")
    assert err == 'mirrorgate: there is no topic "signal": did you mean "signals"?\n'


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Path:
    """The completion for a shell, as a file."""
    file = Path("completion")
    file.write_text(told(capsys, "completion", request.param))
    return file


def asked(*command: str) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {line.split("\t")[0].strip() for line in done.stdout.splitlines()}


STATE_COMMANDS = {name for name in main.command_names() if name.startswith("d")}


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_and_options(script: Path):
    def completed(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in words)
        code = (
            f"source ./{script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            "$(complete -p mirrorgate | sed 's/.*-F \\([^ ]*\\).*/\\1/') mirrorgate; "
            "printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        return asked(require("bash"), "-c", code)

    assert completed("mirrorgate", "d") == STATE_COMMANDS
    assert completed("mirrorgate", "bans", "a") == {"add", "allow"}
    assert "--yes" in completed("mirrorgate", "drain", "--y")


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_and_options(script: Path):
    fish = require("fish")

    def completed(line: str) -> set[str]:
        return asked(fish, "--no-config", "-c", f"source {script}; complete -C '{line}'")

    assert completed("mirrorgate d") == STATE_COMMANDS
    assert {"add", "allow"} <= completed("mirrorgate bans a")


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_reads_its_completion(script: Path):
    text = script.read_text()
    assert text.startswith("#compdef mirrorgate\n")
    assert all(f"{name}:" in text for name in main.command_names())
    subprocess.run([require("zsh"), "-n", str(script)], check=True)


def test_shells_are_named_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]):
    code, _, err = said(capsys, "completion", "nu")
    assert code == 2
    assert 'there is no SHELL "nu", there are: bash, zsh, fish' in err
    assert set(help.SHELLS) == {"bash", "zsh", "fish"}
