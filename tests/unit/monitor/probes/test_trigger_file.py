"""The memory of what a probe has set off: bounded, shared, and as good as none when damaged."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from monitor.probes import trigger_file
from monitor.probes.trigger_file import MOST_ENDPOINTS, TriggerFile

HERE = "192.0.2.1:443"


class Place:
    """One file, and the time of day."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1_000_000.0
        self.faults: list[OSError] = []

    def open(self) -> TriggerFile:
        return TriggerFile(self.path, 100.0, failed=self.faults.append, clock=lambda: self.now)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state" / "triggers.json")


def test_the_next_run_knows_what_the_last_one_has_cut_off(place):
    assert place.open().ago(HERE) is None
    place.open().cut(HERE)
    place.now += 30.0
    assert place.open().ago(HERE) == 30.0
    assert place.path.stat().st_mode & 0o777 == 0o600
    place.open().answered(HERE)
    assert place.open().ago(HERE) is None


@pytest.mark.parametrize("later", [101.0, -1.0])
def test_old_and_future_triggers_are_forgotten(place, later):
    place.open().cut(HERE)
    place.now += later
    assert place.open().ago(HERE) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"\xff\xfe", b'{"192.0.2.1:443": "x"}', b'{"192.0.2.1:443": NaN}',
     b"[" * 100_000, b'{"a": 1' + b" " * 70_000 + b"}"],
    ids=range(8),
)  # fmt: skip
def test_a_damaged_file_is_as_good_as_none_and_is_mended(place, content):
    place.path.parent.mkdir()
    place.path.write_bytes(content)
    assert place.open().ago(HERE) is None
    place.open().cut(HERE)
    assert place.open().ago(HERE) == 0.0
    assert place.faults == []


def test_the_newest_of_many_are_kept(place):
    memory = place.open()
    for number in range(MOST_ENDPOINTS + 10):
        place.now += 0.01
        memory.cut(f"192.0.2.1:{number}")
    assert memory.ago("192.0.2.1:9") is None
    assert memory.ago("192.0.2.1:10") is not None


def test_a_run_that_waits_for_another_in_vain_goes_on_without(place, monkeypatch):
    monkeypatch.setattr(trigger_file, "LOCKED_WITHIN", 0.05)
    place.open().cut(HERE)
    with place.path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        memory = place.open()
        assert memory.ago(HERE) is None
        memory.cut(HERE)
    assert len(place.faults) == 1
    assert place.open().ago(HERE) == 0.0


@pytest.mark.parametrize(
    "make", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd"), os.mkfifo]
)
def test_foreign_files_are_left_alone(place, make):
    place.path.parent.mkdir()
    make(place.path)
    place.open().cut(HERE)
    assert len(place.faults) == 1


def test_its_times_are_of_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    path = tmp_path / "triggers.json"
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    TriggerFile(path, 100.0).cut(HERE)
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= json.loads(path.read_text())[HERE] <= after
