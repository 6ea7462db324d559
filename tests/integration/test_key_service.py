"""Control's side of issued keys: kept before they are told, and never themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import Session

from monitor.common.audit import Actor
from monitor.common.ipc import Message
from monitor.common.keys import KeyFault, KeyOrder, Spent, UnknownKey
from monitor.store.store import Store, StoreError
from monitor.store.tables import UseRow
from router.admission.credentials import looks_issued
from router.admission.key_index import IssuedKey, KeyIndex
from router.control import key_service
from router.control.key_service import KeyService
from router.process.replica import Replica
from router.process.worker_lists import ReplicatedKeys
from tests.testkit.wait import wait_until_async

NOW = 1_790_000_000.0
BY = Actor("alice")
ORDER = KeyOrder("lab", quota=10, tokens=100, rate=2.5, models=("o3",), expires_at=NOW + 60)


class Scene:
    """A keyring, and a worker that hears all it tells."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.told: list[Message] = []
        self.ring = KeyIndex()
        self.questions = 0
        self.follower = Replica(ReplicatedKeys(self.ring), self._ask, lambda: None)

    def _ask(self) -> None:
        self.questions += 1

    async def start(self) -> None:
        """A control process begins, and the worker is brought up to date."""
        book = await self.store.key_book()
        self.key_service = KeyService(self.store, book, self._tell, "mg-", lambda: NOW)
        self.follower.state(f"c{len(self.told)}", self.key_service.version)
        self.hear_all()

    def _tell(self, message: Message) -> None:
        message = json.loads(json.dumps(message))
        self.told.append(message)
        (self.follower.add if message["type"] == "key" else self.follower.remove)(message)

    def hear_all(self) -> None:
        for piece in self.key_service.messages():
            self.follower.piece(json.loads(piece))

    def find(self, key: str) -> IssuedKey | None:
        return self.ring.find(self.ring.digest(key.encode()), NOW)


def content_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = await Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    made = Scene(store)
    await made.start()
    yield made
    await store.close()


async def test_a_new_key_is_known_to_workers_at_once_and_after_a_restart(scene: Scene):
    account, key = await scene.key_service.create(ORDER, BY)
    assert looks_issued(key.encode(), "mg-")
    expected = IssuedKey(account.record.id, 2.5, ("o3",), NOW + 60, 10, 100)
    assert scene.find(key) == expected
    await scene.start()
    assert scene.find(key) == expected
    assert scene.questions == 2, "each control counts anew"


async def test_a_key_is_in_no_file_and_no_message(scene: Scene, tmp_path: Path):
    account, key = await scene.key_service.create(ORDER, BY)
    secret = key.removeprefix("mg-").encode()
    content = content_of(tmp_path)
    assert account.record.id.encode() in content
    assert secret not in content
    assert key not in json.dumps(scene.told)
    assert key not in repr((account, scene.key_service, scene.ring))


async def test_a_revoked_key_is_unknown_to_workers_at_once_and_after_a_restart(scene: Scene):
    account, key = await scene.key_service.create(ORDER, BY)
    _, other = await scene.key_service.create(KeyOrder("other"), BY)
    revoked = await scene.key_service.revoke(account.record.id, BY)
    assert (revoked.record.revoked_at, revoked.record.revoked_by) == (NOW, "alice")
    for _ in range(2):
        assert scene.find(key) is None
        assert scene.find(other) is not None
        await scene.start()
    with pytest.raises(KeyFault, match="already"):
        await scene.key_service.revoke(account.record.id, BY)
    with pytest.raises(UnknownKey):
        await scene.key_service.revoke("k1", BY)


async def test_an_account_is_found_by_the_key_itself_and_by_nothing_else(scene: Scene):
    account, key = await scene.key_service.create(ORDER, BY)
    for _ in range(2):
        assert scene.key_service.find_key(key) == account
        for other in (key[:-1], f"{key}x", account.record.id, account.record.digest, "", "\udcff"):
            assert scene.key_service.find_key(other) is None
        await scene.start()
    await scene.key_service.revoke(account.record.id, BY)
    revoked = scene.key_service.find_key(key)
    assert revoked is not None
    assert revoked.record.revoked_at == NOW


async def test_the_published_balance_includes_use_and_grants(scene: Scene):
    account, key = await scene.key_service.create(ORDER, BY)
    key_id = account.record.id
    scene.key_service.charge({key_id: Spent(4, 30), "gone": Spent(1, 1)})
    scene.hear_all()  # a worker that is new meanwhile
    scene.key_service.announce([key_id, "gone"])
    found = scene.find(key)
    assert found is not None
    assert (found.left, found.tokens_left) == (6, 70)
    topped = await scene.key_service.top_up(key_id, 5, None, BY)
    found = scene.find(key)
    assert found is not None
    assert (found.left, found.tokens_left) == (11, 70) == topped.record.left(topped.spent)
    assert scene.key_service.find(key_id) == topped
    assert scene.key_service.find("gone") is None
    await scene.key_service.revoke(key_id, BY)
    told = len(scene.told)
    scene.key_service.announce([key_id])
    assert (len(scene.told), scene.find(key)) == (told, None)


async def test_use_before_a_restart_counts(scene: Scene):
    account, key = await scene.key_service.create(ORDER, BY)
    key_id = account.record.id
    use = UseRow(key=key_id, day="2026-09-21", model="o3", basis="usage", output_tokens=9, cost=4)

    def work(session: Session) -> None:
        session.add(use)
        session.add(UseRow(key=key_id, day="2026-09-19", model="o3", basis="usage", cost=1))

    await scene.store.decide(work)
    await scene.start()
    found = scene.find(key)
    assert found is not None
    assert (found.left, found.tokens_left) == (5, 91)
    for days, expected in ((1, ["2026-09-21"]), (2, ["2026-09-21"]), (3, ["21", "19"])):
        (listed,) = await scene.key_service.accounts_since(days)
        assert [day.day for day in listed.days] == [f"2026-09-{day[-2:]}" for day in expected]


async def test_changes_to_keys_by_another_instance_are_taken_over(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(key_service, "FOLLOW_EVERY", 0.01)
    account, key = await scene.key_service.create(ORDER, BY)
    others = KeyService(scene.store, await scene.store.key_book(), lambda _: None, "mg-")
    following = asyncio.create_task(scene.key_service.follow())
    _, new = await others.create(KeyOrder("new"), BY)
    await wait_until_async(lambda: scene.find(new) is not None)
    await others.top_up(account.record.id, 5, None, BY)
    await wait_until_async(lambda: left_of(scene, key) == 15)
    await others.revoke(account.record.id, BY)
    await wait_until_async(lambda: scene.find(key) is None)
    told = len(scene.told)
    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "decide", _fails)
        await wait_until_async(lambda: "not known for now: the disk is full" in caplog.text)
    assert (len(scene.told), scene.find(new) is not None) == (told, True)
    following.cancel()


def left_of(scene: Scene, key: str) -> int | None:
    found = scene.find(key)
    return None if found is None else found.left


async def _fails(*_: object) -> None:
    raise StoreError("the disk is full")


async def test_a_change_that_cannot_be_stored_does_not_happen(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    account, key = await scene.key_service.create(ORDER, BY)
    for name in ("create_key", "revoke_key", "top_up_key"):
        monkeypatch.setattr(scene.store, name, _fails)
    told = len(scene.told)
    for act in (
        scene.key_service.create(ORDER, BY),
        scene.key_service.revoke(account.record.id, BY),
        scene.key_service.top_up(account.record.id, 1, None, BY),
    ):
        with pytest.raises(StoreError):
            await act
    assert len(scene.told) == told
    assert scene.find(key) is not None
    assert len(scene.key_service.accounts()) == 1
