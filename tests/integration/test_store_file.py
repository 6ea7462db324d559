"""A database file that is removed or replaced while in use: noticed, told, and nothing lost."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.common.audit import Actor
from monitor.common.bans import Ban
from monitor.common.keys import KeyRecord
from monitor.health.snapshot import Latency, State
from monitor.store import queries
from monitor.store.lease import Holder
from monitor.store.records import Sample
from monitor.store.store import Store, StoreError

ME = Actor("operator", "here")
BAN = Ban("b" * 12, "192.0.2.7/32", 0.0, None, "abuse", "operator", count=1)
OTHER = Ban("c" * 12, "192.0.2.8/32", 0.0, None, "abuse", "operator", count=1)
KEY = KeyRecord("k1", "lab", "00" * 16, 1.0, "operator", None, None, "", 0.0, (), None, None)


class Place:
    def __init__(self, folder: Path, store: Store) -> None:
        self.path, self.store = folder / "m.db", store
        self.url = f"sqlite:///{self.path}"

    async def again(self) -> Store:
        """The store as the next start finds it."""
        await self.store.close()
        self.store = await Store.open(self.url)
        return self.store


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    store = await Store.open(f"sqlite:///{tmp_path / 'm.db'}")
    await store.hold("here", Holder.of_process(os.getpid()))
    await store.add_ban(BAN)
    await store.create_key(KEY, ME)
    store.record(_sample(1.0))
    assert await store.flush()
    assert await _samples(store) == 1.0
    made = Place(tmp_path, store)
    yield made
    await made.store.close()


def _sample(at: float) -> Sample:
    return Sample("hk", at, True, State.up, "ok", Latency(), "here")


def _remove(path: Path) -> None:
    for file in path.parent.glob("m.db*"):
        file.unlink()


def _count(folder: Path, names: str) -> int:
    return len(list(folder.glob(names)))


async def _samples(store: Store) -> float | None:
    return await store.read(lambda session: queries.last_sample(session, "hk", "here"))


@pytest.mark.parametrize("everything", [True, False], ids=["with its log", "alone"])
async def test_a_removed_file_is_written_anew_at_the_next_renewal_and_holds_all_it_held(
    place: Place, caplog: pytest.LogCaptureFixture, everything: bool
):
    pepper = (await place.store.key_book()).pepper
    _remove(place.path) if everything else place.path.unlink()
    with caplog.at_level(logging.ERROR):
        await place.store.renew(5.0)
    (record,) = caplog.records
    assert f"{place.path} was removed while in use" in record.message
    assert place.store.problem == ""
    assert place.path.stat().st_mode & 0o777 == 0o600
    await place.store.add_ban(OTHER)
    place.store.record(_sample(2.0))
    assert await place.store.flush()
    assert await _samples(place.store) == 2.0
    store = await place.again()
    assert {ban.id for ban in await store.active_bans(1.0)} == {BAN.id, OTHER.id}
    book = await store.key_book()
    assert (book.pepper, [record.id for record in book.records]) == (pepper, ["k1"])
    assert await _samples(store) == 2.0


async def test_a_decision_after_the_removal_is_in_the_new_file(place: Place):
    _remove(place.path)
    await place.store.add_ban(OTHER)
    store = await place.again()
    assert {ban.id for ban in await store.active_bans(1.0)} == {BAN.id, OTHER.id}


async def test_history_after_the_removal_is_in_the_new_file(place: Place):
    _remove(place.path)
    place.store.record(_sample(2.0))
    assert await place.store.flush()
    assert await _samples(await place.again()) == 2.0


async def test_where_it_cannot_be_written_anew_that_is_said_and_tried_again(
    place: Place, caplog: pytest.LogCaptureFixture
):
    folder, away = place.path.parent, place.path.parent.with_name("away")
    folder.rename(away)
    for _ in range(3):
        with pytest.raises(StoreError, match="was removed while in use, and cannot be written"):
            await place.store.add_ban(OTHER)
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    assert "was removed while in use" in place.store.problem
    away.rename(folder)
    await place.store.add_ban(OTHER)
    assert place.store.problem == ""
    assert {ban.id for ban in await (await place.again()).active_bans(1.0)} == {BAN.id, OTHER.id}


async def test_a_replaced_file_is_left_alone_and_what_was_open_is_kept_in_a_copy(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "other").mkdir()
    other = await Store.open(f"sqlite:///{tmp_path / 'other' / 'm.db'}")
    await other.add_ban(OTHER)
    await other.close()
    os.replace(tmp_path / "other" / "m.db", place.path)
    for _ in range(2):
        with pytest.raises(StoreError, match="was replaced while in use, so nothing is written"):
            await place.store.renew(5.0)
    with pytest.raises(StoreError, match="restart"):
        await place.store.create_key(KEY, ME)
    place.store.record(_sample(2.0))
    assert not await place.store.flush()
    assert "was replaced while in use" in place.store.problem
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    assert await _samples(place.store) == 1.0, "what is open can still be read"
    (copy,) = place.path.parent.glob("m.db.replaced-*")
    store = await place.again()
    assert [ban.id for ban in await store.active_bans(1.0)] == [OTHER.id]
    kept = tmp_path / "kept.db"
    shutil.copy(copy, kept)
    old = await Store.open(f"sqlite:///{kept}")
    try:
        assert [ban.id for ban in await old.active_bans(1.0)] == [BAN.id]
        assert await _samples(old) == 1.0
    finally:
        await old.close()


class Memory:
    """A place that outlives a control process."""

    store_file: tuple[int, int] | None = None


async def test_a_process_that_follows_makes_no_empty_file_in_place_of_one_that_was_removed(
    tmp_path: Path,
):
    path, memory = tmp_path / "m.db", Memory()
    store = await Store.open(f"sqlite:///{path}", memory=memory)
    await store.close()
    path.rename(tmp_path / "moved.db")
    with pytest.raises(StoreError, match="was removed while in use: put it back"):
        await Store.open(f"sqlite:///{path}", memory=memory)
    assert not path.exists()
    (tmp_path / "moved.db").rename(path)
    await (await Store.open(f"sqlite:///{path}", memory=memory)).close()


async def test_the_log_of_a_former_file_is_not_applied_to_the_one_in_its_place(tmp_path: Path):
    path, other, memory = tmp_path / "m.db", tmp_path / "backup.db", Memory()
    for file, ban in ((other, BAN), (path, OTHER)):
        remembers = memory if file == path else None
        store = await Store.open(f"sqlite:///{file}", memory=remembers)
        await store.hold("here", Holder.of_process(os.getpid()))
        await store.add_ban(ban)
        if file == path:  # as after kill -9: its log is there
            for suffix in ("-wal", "-shm"):
                shutil.copy(f"{path}{suffix}", f"{path}{suffix}.kept")
        await store.close()
    for suffix in ("-wal", "-shm"):
        os.replace(f"{path}{suffix}.kept", f"{path}{suffix}")
    os.replace(other, path)
    store = await Store.open(f"sqlite:///{path}", memory=memory)
    assert [ban.id for ban in await store.active_bans(1.0)] == [BAN.id]
    await store.close()
    assert _count(tmp_path, "m.db.replaced-*-wal") == 1


async def test_a_log_that_was_removed_costs_nothing_that_was_acknowledged(place: Place):
    os.unlink(f"{place.path}-wal")
    await place.store.add_ban(OTHER)
    with sqlite3.connect(f"file:{place.path}?mode=ro", uri=True) as seen:  # as after kill -9
        assert seen.execute("SELECT count(*) FROM ban").fetchone()[0] == 2
    assert _count(place.path.parent, "m.db.without-log-*") == 1
    assert {ban.id for ban in await (await place.again()).active_bans(1.0)} == {BAN.id, OTHER.id}


async def test_a_file_behind_a_link_is_written_anew_where_it_was(tmp_path: Path):
    (tmp_path / "data").mkdir()
    real, link = tmp_path / "data" / "real.db", tmp_path / "m.db"
    link.symlink_to(real)
    store = await Store.open(f"sqlite:///{link}")
    await store.hold("here", Holder.of_process(os.getpid()))
    await store.add_ban(BAN)
    real.unlink()
    await store.add_ban(OTHER)
    await store.close()
    assert real.exists()
    store = await Store.open(f"sqlite:///{link}")
    assert {ban.id for ban in await store.active_bans(1.0)} == {BAN.id, OTHER.id}
    await store.close()
