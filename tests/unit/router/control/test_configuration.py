"""The configuration in effect: replaced wholly or not at all, and handed to a new control."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import SettingsError
from monitor.common.tasks import CRASHES, FAMILIES, Tasks
from router.control import configuration as configuration_
from router.control.changes import Changes
from router.control.configuration import Configuration, Loaded, fingerprint, in_words
from router.control.document import Document
from tests.testkit.wait import wait_until_async

ONE = '[[mirrors]]\nid = "a"\nurl = "https://a.example"\n'
TWO = ONE + '[[mirrors]]\nid = "b"\nurl = "https://b.example"\n'
BAD = ONE + "[router]\nworkrs = 3\n"


class Keeper:
    """A configuration, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.toml"
        self.applied: list[Changes] = []
        self.told: list[Message] = []
        self.counted: list[bool] = []
        self.noted: list[tuple[str, str]] = []
        self.path.write_text(ONE)
        self.configuration = self.of(Loaded.first(self.path))

    def of(self, loaded: Loaded) -> Configuration:
        return Configuration(loaded, self._apply, self.told.append, self.counted.append, self._note)

    def _note(self, by: Actor, what: str) -> None:
        self.noted.append((by.who, what))

    def _apply(self, new: Document, changes: Changes) -> None:
        self.applied.append(changes)

    def successor(self) -> Configuration:
        """State of a control process that replaces this one, through JSON as handed down."""
        handed = self.told[-1]["document"] if self.told else Loaded.first(self.path).hand_down()
        return self.of(Loaded.handed(json.loads(json.dumps(handed))))

    @contextlib.asynccontextmanager
    async def watched(self, configuration: Configuration) -> AsyncIterator[None]:
        watcher = asyncio.create_task(configuration.watch())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(configuration_, "LOOK_EVERY", 0.02)
    return Keeper(tmp_path)


def ids(configuration: Configuration) -> list[str]:
    return [mirror.id for mirror in configuration.current.config.mirrors]


async def test_a_good_file_is_taken_over_and_told_to_everybody(keeper: Keeper):
    keeper.path.write_text(TWO)
    changes = await keeper.configuration.reload(Actor("test"))
    assert changes.added == ("b",)
    assert keeper.applied == [changes]
    assert keeper.counted == [True]
    (told,) = keeper.told
    assert told["drain"] == 300.0
    assert [mirror["id"] for mirror in told["document"]["worker"]["mirrors"]] == ["a", "b"]


async def test_a_bad_file_changes_nothing_and_is_remembered_until_it_is_mended(keeper: Keeper):
    keeper.path.write_text(BAD)
    with pytest.raises(SettingsError):
        await keeper.configuration.reload(Actor("test"))
    assert keeper.configuration.problem == 'router.workrs: unknown setting, did you mean "workers"?'
    assert (keeper.applied, keeper.told, keeper.counted) == ([], [], [False])
    keeper.path.write_text(ONE)
    await keeper.configuration.reload(Actor("test"))
    assert keeper.configuration.problem == ""


async def test_reloads_are_noted_with_actor_and_changes_refusals_too(keeper: Keeper):
    keeper.path.write_text(TWO + "[router]\nworkers = 7\nreplay_body = 5\n")
    await keeper.configuration.reload(Actor("alice"))
    keeper.path.write_text(BAD + "".join(f"[nonsense{i}]\n" for i in range(6)))
    await keeper.configuration.reload_unasked(Actor("SIGHUP"))
    keeper.path.write_text(ONE)
    await keeper.configuration.reload_unasked(Actor("file watcher"))
    (alice, changed), (signal, refused), (watcher, back) = keeper.noted
    assert (alice, signal, watcher) == ("alice", "SIGHUP", "file watcher")
    assert changed == (
        "reload: added b; changed router.replay_body; only a restart changes router.workers"
    )
    assert refused.startswith("reload refused: ")
    assert refused.endswith("; 2 more")
    assert "removed b" in back


async def test_a_reload_reports_changes_though_they_were_noticed_before(keeper: Keeper):
    keeper.path.write_text(TWO)
    await keeper.configuration.reload_unasked(Actor("noticed"))
    assert (await keeper.configuration.reload(Actor("asked"))).added == ("b",)
    assert (await keeper.configuration.reload(Actor("asked again"))).added == ()


async def test_a_needed_restart_is_reported_until_the_change_is_undone(keeper: Keeper):
    keeper.path.write_text(TWO + "[router]\nworkers = 7\n")
    assert (await keeper.configuration.reload(Actor("test"))).restart == ("router.workers",)
    keeper.path.write_text(ONE + "[router]\nworkers = 7\n")
    assert not (await keeper.configuration.reload(Actor("test"))).restart
    assert keeper.configuration.restart_needed == ("router.workers",)
    assert keeper.successor().restart_needed == ("router.workers",)
    keeper.path.write_text(ONE)
    await keeper.configuration.reload(Actor("test"))
    assert not keeper.configuration.restart_needed


async def test_a_changed_file_is_noticed(keeper: Keeper):
    async with keeper.watched(keeper.configuration):
        keeper.path.write_text(TWO)
        await wait_until_async(lambda: ids(keeper.configuration) == ["a", "b"])
        keeper.path.write_text(BAD)
        await wait_until_async(lambda: keeper.configuration.problem)
        keeper.path.unlink()
        keeper.path.write_text(ONE)
        await wait_until_async(lambda: ids(keeper.configuration) == ["a"])
    assert keeper.configuration.problem == ""
    assert len(keeper.applied) == 2


async def test_a_file_that_is_gone_is_told_until_it_is_back(keeper: Keeper):
    async with keeper.watched(keeper.configuration):
        keeper.path.unlink()
        await wait_until_async(lambda: keeper.configuration.problem)
        assert "does not exist" in keeper.configuration.problem
        assert (ids(keeper.configuration), keeper.counted) == (["a"], [False])
        keeper.path.write_text(ONE)
        await wait_until_async(lambda: not keeper.configuration.problem)
    assert keeper.counted == [False, True]


async def test_a_file_that_is_still_being_written_is_not_taken_over(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    looks = 0

    def growing(path: Path) -> str:
        nonlocal looks
        looks += 1
        path.write_text(ONE + f"# {looks}\n" if looks < 6 else TWO)
        return fingerprint(path)

    monkeypatch.setattr(configuration_, "fingerprint", growing)
    async with keeper.watched(keeper.configuration):
        await wait_until_async(lambda: keeper.applied)
    assert keeper.applied[0].added == ("b",)


async def test_a_new_control_notices_what_its_predecessor_refused(keeper: Keeper):
    keeper.path.write_text(TWO)
    await keeper.configuration.reload(Actor("test"))
    successor = keeper.successor()
    keeper.path.write_text(BAD)
    assert ids(successor) == ["a", "b"]
    async with keeper.watched(successor):
        await wait_until_async(lambda: successor.problem)


async def test_nothing_is_reloaded_while_nothing_changes(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    looks: list[Path] = []

    def counting(path: Path) -> str:
        looks.append(path)
        return fingerprint(path)

    monkeypatch.setattr(configuration_, "fingerprint", counting)
    async with keeper.watched(keeper.configuration):
        await wait_until_async(lambda: len(looks) > 5)
    assert keeper.counted == []


async def test_a_fault_in_taking_a_file_over_does_not_end_the_watching(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    totals = MetricRegistry(FAMILIES)
    tasks = Tasks(totals)
    with monkeypatch.context() as patched:
        patched.setattr(keeper.configuration, "_apply", lambda new, changes: 1 / 0)
        tasks.service("configuration", keeper.configuration.watch)
        keeper.path.write_text(TWO)
        await wait_until_async(lambda: totals.get(CRASHES.name, ("configuration",)))
    keeper.path.write_text(ONE)
    await wait_until_async(lambda: keeper.applied)
    await tasks.stop()


async def test_a_file_that_cannot_be_read_in_time_is_refused_and_holds_up_nobody(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    release = threading.Event()

    def hanging(path: Path) -> str:
        release.wait(30)
        return fingerprint(path)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(configuration_, "READ_WITHIN", 0.01)
            patched.setattr(configuration_, "fingerprint", hanging)
            with pytest.raises(SettingsError, match="cannot be read within"):
                await keeper.configuration.reload(Actor("test"))
    finally:
        release.set()
    assert (keeper.applied, keeper.counted) == ([], [False])
    keeper.path.write_text(TWO)
    assert (await keeper.configuration.reload(Actor("test"))).added == ("b",)


async def test_reloads_at_the_same_time_follow_each_other(keeper: Keeper):
    keeper.path.write_text(TWO)
    reload = keeper.configuration.reload
    first, second = await asyncio.gather(reload(Actor("one")), reload(Actor("two")))
    assert (first.added, second.added) == (("b",), ())
    assert [len(changes.added) for changes in keeper.applied] == [1, 0]


def test_changes_are_said_in_words():
    assert in_words(Changes()) == "no differences"
    changes = Changes(added=("x", "y"), settings=("log.level",), restart=("router.listen",))
    assert (
        in_words(changes) == "added x, y; changed log.level; only a restart changes router.listen"
    )
