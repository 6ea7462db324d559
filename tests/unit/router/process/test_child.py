"""A child's interpreter: it runs the code of its supervisor."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.process import child
from router.process.child import ChildSlot, start

MODULE = "of_the_working_directory"
NOT_FOUND = 1
RAN = 7


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildSlot]:
    """A place of a module that only the working directory has."""
    (tmp_path / f"{MODULE}.py").write_text(f"raise SystemExit({RAN})")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as handed:
        yield ChildSlot("worker 0", MODULE, {}, (handed.fileno(),))


def ended(slot: ChildSlot) -> int:
    """The exit code of a child that was started in a slot."""
    started = start(slot, {}, now=0.0)
    started.life.close()
    return started.process.wait(60)


def test_code_in_the_working_directory_is_not_run(slot: ChildSlot) -> None:
    """A checkout of another version, or any folder that is named as one of our packages."""
    assert ended(slot) == NOT_FOUND


def test_code_in_a_working_directory_that_is_gone_is_not_missed(
    slot: ChildSlot, tmp_path: Path
) -> None:
    (tmp_path / f"{MODULE}.py").unlink()
    tmp_path.rmdir()
    assert ended(slot) == NOT_FOUND


def test_code_in_the_working_directory_is_run_where_it_is_the_supervisors(
    slot: ChildSlot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `python -m router` in a checkout that is not installed."""
    monkeypatch.setattr(child, "ROOT", tmp_path)
    assert ended(slot) == RAN
