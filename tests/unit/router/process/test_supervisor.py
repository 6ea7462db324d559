"""When children are asked, blamed, replaced and ended, on a clock of the test."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from monitor.common.ipc import Channel, channel_pair
from router.admission import shared_table as module_of_table
from router.process import supervisor as module
from router.process.child import HUNG_AFTER, PING_EVERY, STARTING, STEADY, Child, ChildSlot, backoff
from router.process.service_manager import ServiceManager
from router.process.supervisor import GRACE, STUCK_AGAIN, SUSPENDED_AFTER, Supervisor, worker_count

DRAIN = 30.0


class FakeProcess:
    """Takes signals; ends by SIGKILL, and by SIGTERM unless it drains."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[int] = []
        self.drains = False
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL or not self.drains:
            self.code = -number


class Manager(ServiceManager):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("nowhere", watchdog=6.0)
        self.told: list[str] = []

    def _tell(self, *lines: str) -> None:
        self.told += [line.partition("=")[0] for line in lines if line != "STATUS"]

    def heard(self) -> list[str]:
        """All that it was told since the last look, words of the watchdog and sentences apart."""
        told, self.told = self.told, []
        return [word for word in told if word not in ("STATUS", "WATCHDOG", "MONOTONIC_USEC")]


class Stage:
    """A supervisor whose children are fakes that answer pings, unless told otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.readies = 0
        self.refuses: OSError | None = None
        self.started: list[tuple[str, FakeProcess, Channel]] = []
        self.documents: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        monkeypatch.setattr(module, "start", self._start)
        api = socket.create_server(("127.0.0.1", 0))
        self.manager = Manager()
        self.supervisor = Supervisor(
            {}, 2, DRAIN, api, {}, self._on_ready, self.manager, lambda: self.now
        )
        self.supervisor._catch_signals()

    def _on_ready(self) -> None:
        self.readies += 1

    def _start(self, post: ChildSlot, document: dict[str, Any], now: float) -> Child:
        if self.refuses is not None:
            raise self.refuses
        ours, theirs = channel_pair()
        process = FakeProcess(100 + len(self.started))
        self.started.append((post.name, process, Channel(theirs)))
        self.documents.append(document)
        post.child = Child(process, Channel(ours), started=now, heard=now)  # type: ignore[arg-type]
        return post.child

    def process(self, name: str) -> FakeProcess:
        """The newest process of a post."""
        return next(process for post, process, _ in reversed(self.started) if post == name)

    def say(self, name: str, message: dict[str, Any]) -> None:
        next(channel for post, _, channel in reversed(self.started) if post == name).send(message)

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, and let the supervisor look once."""
        self.now += seconds
        for name, process, channel in self.started:
            if process.code is None and name not in self.silent:
                for message in channel.receive():
                    if message["type"] == "ping":
                        channel.send({"type": "pong"})
        self.supervisor._waker.send(b"x")
        self.supervisor._turn()

    def all_ready(self) -> None:
        self.turn()
        for name in ("control", "worker 0", "worker 1"):
            self.say(name, {"type": "ready"})
        self.turn()
        assert self.readies == 1

    def close(self) -> None:
        for slot in self.supervisor._slots():
            if slot.child is not None:
                slot.child.life.close()
        for _, _, channel in self.started:
            channel.close()
        for sock in self.supervisor._listeners:
            sock.close()
        self.supervisor._close()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    child_handler = signal.getsignal(signal.SIGCHLD)
    stage = Stage(monkeypatch)
    yield stage
    stage.close()
    for number, handler in (*kept.items(), (signal.SIGCHLD, child_handler)):
        signal.signal(number, handler)


def names(stage: Stage) -> list[str]:
    return [name for name, _, _ in stage.started]


def test_the_pause_before_a_restart_grows_threefold_up_to_half_a_minute():
    assert [round(backoff(n), 1) for n in range(8)] == [0.0, 0.1, 0.3, 0.9, 2.7, 8.1, 24.3, 30.0]


def test_everything_is_started_and_ready_is_said_once(stage: Stage):
    stage.all_ready()
    stage.say("worker 0", {"type": "ready"})
    stage.turn()
    assert names(stage) == ["control", "worker 0", "worker 1"]
    assert stage.readies == 1


def test_a_child_that_lived_long_is_replaced_at_once_and_one_that_did_not_waits(stage: Stage):
    stage.all_ready()
    for _ in range(int(STEADY)):
        stage.turn(1.0)
    stage.process("worker 1").code = -9
    stage.turn()
    stage.turn()
    assert names(stage)[3:] == ["worker 1"]
    stage.process("worker 1").code = -9
    stage.turn()
    stage.turn(0.05)
    assert names(stage)[3:] == ["worker 1"]
    stage.turn(0.06)
    assert names(stage)[3:] == ["worker 1", "worker 1"]


def test_a_child_that_serves_before_it_ends_never_waits_long(stage: Stage):
    stage.all_ready()
    for _ in range(8):
        stage.process("worker 0").code = -9
        stage.turn()
        stage.turn(1.1)
        stage.say("worker 0", {"type": "ready"})
        stage.turn()
    assert names(stage)[3:] == ["worker 0"] * 8


def test_a_child_is_asked_now_and_then_and_killed_when_it_stays_silent(stage: Stage):
    stage.all_ready()
    stage.silent = {"worker 0"}
    for _ in range(int(HUNG_AFTER)):
        stage.turn(1.0)
    assert stage.process("worker 0").signals == []
    stage.turn(PING_EVERY)
    assert stage.process("worker 0").signals == [signal.SIGKILL]
    assert stage.process("worker 1").signals == []


def test_a_child_that_is_still_starting_has_more_time(stage: Stage):
    stage.turn()
    stage.silent = {"worker 0"}
    for _ in range(int(STARTING / 4)):
        stage.turn(4.0)
    assert stage.process("worker 0").signals == []
    stage.turn(4.0)
    assert stage.process("worker 0").signals == [signal.SIGKILL]


def test_a_start_that_takes_too_long_is_explained_and_the_next_one_has_more_time(
    stage: Stage, caplog: pytest.LogCaptureFixture
):
    stage.silent = {"control"}
    stage.turn()

    def seconds_until_killed() -> float:
        began, process = stage.now, stage.process("control")
        while not process.signals:
            stage.turn(4.0)
        assert process.signals == [signal.SIGKILL]
        while stage.process("control") is process and not stage.supervisor.failure:
            stage.turn(0.1)
        return stage.now - began

    first, second, third = (seconds_until_killed() for _ in range(3))
    assert STARTING <= first < 1.5 * STARTING < second < 3 * STARTING < third < 6 * STARTING
    explained = [r.message for r in caplog.records if "killing" in r.message]
    assert "killing control: process 100 had not started within 60 s (load " in explained[0]
    assert explained[0].endswith("; the next one has 120 s")
    assert "had not started within 240 s" in stage.supervisor.failure


def test_patience_with_starts_ends_with_the_first_that_gets_ready(stage: Stage):
    stage.turn()
    stage.supervisor._control.starting = 4 * STARTING
    stage.say("control", {"type": "ready"})
    stage.turn()
    assert stage.supervisor._control.starting == STARTING


def test_the_silence_of_a_suspended_instance_is_nobodys_fault(stage: Stage):
    stage.all_ready()
    stage.silent = {"worker 0", "worker 1", "control"}
    stage.turn(10 * HUNG_AFTER)
    assert not any(process.signals for _, process, _ in stage.started)
    for _ in range(int(HUNG_AFTER / SUSPENDED_AFTER) + 1):
        stage.turn(SUSPENDED_AFTER)
    assert all(process.signals for _, process, _ in stage.started)


@pytest.mark.parametrize(("holds_on", "killed"), [(True, [signal.SIGKILL]), (False, [])])
def test_a_child_that_does_not_give_a_lock_back_is_killed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, holds_on: bool, killed: list[int]
):
    holder = {7: 0}
    monkeypatch.setattr(module_of_table, "holder_of_lock", lambda fd, lock: holder[lock])
    stage.all_ready()
    victim = stage.process("worker 0")
    holder[7] = victim.pid
    stage.say("worker 1", {"type": "stuck", "lock": 7, "holder": victim.pid})
    stage.turn()
    assert victim.signals == []
    if not holds_on:
        holder[7] = 0
        stage.turn(STUCK_AGAIN / 2)
        holder[7] = victim.pid  # it took it again
    stage.turn(STUCK_AGAIN)
    assert victim.signals == killed
    assert stage.process("worker 1").signals == stage.process("control").signals == []


def test_a_process_that_is_no_child_or_was_suspended_is_not_killed_for_a_lock(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    stage.all_ready()
    victim = stage.process("worker 0")
    holder = [victim.pid, 1]
    monkeypatch.setattr(module_of_table, "holder_of_lock", lambda fd, lock: holder[lock])
    for lock, pid in enumerate(holder):
        stage.say("control", {"type": "stuck", "lock": lock, "holder": pid})
    stage.turn()
    stage.turn(2 * SUSPENDED_AFTER)
    assert [process.signals for _, process, _ in stage.started] == [[]] * 3


def test_a_failure_that_is_told_before_ready_ends_the_start_with_its_sentence(stage: Stage):
    stage.turn()
    stage.say("control", {"type": "failed", "message": "store.url: no"})
    stage.turn()
    stage.turn()
    assert stage.supervisor.failure == "store.url: no"
    assert stage.process("worker 0").signals == [signal.SIGTERM]
    assert stage.process("control").signals == [signal.SIGTERM]
    assert stage.readies == 0


def test_a_failure_that_is_told_later_ends_nothing(stage: Stage):
    stage.all_ready()
    stage.say("control", {"type": "failed", "message": "store.url: no"})
    stage.turn()
    assert stage.supervisor.failure == ""


def test_a_start_whose_children_keep_ending_is_given_up(stage: Stage):
    stage.turn()
    for _ in range(3):
        stage.process("worker 0").code = 1
        stage.turn()
        stage.turn(1.0)
    assert stage.supervisor.failure == "worker 0 cannot start: see the messages above"


def test_a_system_that_refuses_processes_ends_a_start_but_not_a_running_instance(stage: Stage):
    stage.all_ready()
    stage.process("worker 0").code = -9
    stage.refuses = OSError(11, "Resource temporarily unavailable")
    for _ in range(6):
        stage.turn(4.0)
    assert stage.supervisor.failure == ""
    stage.refuses = None
    for _ in range(10):
        stage.turn(4.0)
    assert names(stage)[3:] == ["worker 0"]


def test_a_first_start_that_the_system_refuses_is_one_sentence(stage: Stage):
    stage.refuses = OSError(11, "Resource temporarily unavailable")
    for _ in range(4):
        stage.turn(1.0)
    assert stage.supervisor.failure.endswith(" cannot start: Resource temporarily unavailable")


def test_a_child_gets_the_newest_configuration(stage: Stage):
    stage.all_ready()
    stage.say("control", {"type": "document", "document": {"new": 1}, "drain": 5.0})
    stage.turn()
    stage.process("worker 0").code = -9
    stage.turn()
    stage.turn(1.0)
    assert stage.documents[-1] == {"new": 1}


def test_a_stop_ends_the_workers_first_and_control_when_they_are_gone(stage: Stage):
    stage.all_ready()
    stage.process("worker 0").drains = True
    stage.supervisor._on_signal(signal.SIGTERM, stage.now)
    stage.turn(1.0)
    stage.turn(1.0)
    assert stage.process("worker 0").signals == [signal.SIGTERM]
    assert stage.process("control").signals == []
    stage.process("worker 0").code = 0
    stage.turn(1.0)
    stage.turn(1.0)
    assert stage.process("control").signals == [signal.SIGTERM]
    assert names(stage) == ["control", "worker 0", "worker 1"]


def test_a_worker_that_drains_longer_than_allowed_is_killed(stage: Stage):
    stage.all_ready()
    stage.process("worker 0").drains = True
    stage.supervisor._on_signal(signal.SIGTERM, stage.now)
    for _ in range(int(DRAIN + GRACE)):
        stage.turn(1.0)
    assert stage.process("worker 0").signals == [signal.SIGTERM]
    stage.turn(1.0)
    assert stage.process("worker 0").signals == [signal.SIGTERM, signal.SIGKILL]


def test_a_second_signal_kills_everything_at_once(stage: Stage):
    stage.all_ready()
    stage.process("worker 0").drains = True
    stage.supervisor._on_signal(signal.SIGINT, stage.now)
    stage.supervisor._on_signal(signal.SIGINT, stage.now)
    stage.turn()
    assert all(process.code is not None for _, process, _ in stage.started)


def test_a_hang_up_asks_control_to_reload(stage: Stage):
    stage.all_ready()
    stage.silent = {"control"}
    stage.supervisor._on_signal(signal.SIGHUP, stage.now)
    told = stage.started[0][2].receive()
    assert {"type": "reload"} in told


def test_the_service_manager_is_told_of_every_turn_of_its_service(stage: Stage):
    stage.turn()
    assert stage.manager.heard() == []
    stage.all_ready()
    assert stage.manager.heard() == ["READY"]
    stage.supervisor._on_signal(signal.SIGHUP, stage.now)
    stage.turn()
    assert stage.manager.heard() == ["RELOADING"]
    stage.say("control", {"type": "reloaded", "problem": ""})
    stage.turn()
    assert stage.manager.heard() == ["READY"]
    stage.supervisor._on_signal(signal.SIGTERM, stage.now)
    assert stage.manager.heard() == ["STOPPING"]


def test_a_reload_ends_for_the_service_manager_also_without_control(stage: Stage):
    stage.all_ready()
    stage.supervisor._on_signal(signal.SIGHUP, stage.now)
    stage.process("control").code = -9
    stage.turn()
    stage.supervisor._on_signal(signal.SIGHUP, stage.now)
    assert stage.manager.heard() == ["READY", "RELOADING", "READY", "RELOADING", "READY"]


def test_the_watchdog_is_fed_three_times_in_its_time(stage: Stage):
    for _ in range(60):
        stage.turn(0.5)
    assert 13 <= stage.manager.told.count("WATCHDOG") <= 15


def test_workers_are_as_many_as_set_or_as_cores():
    assert worker_count(3) == 3
    assert worker_count(0) == int(subprocess.check_output(["nproc"]))
