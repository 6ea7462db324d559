"""Files, threads and responses of an issued key are found on the account where they were made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from monitor.health.snapshot import HealthSnapshot, MirrorHealth, Override, State
from router.admission.credentials import new_key
from tests.integration.test_key_outages import CALLERS, LENDS
from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import OK, ScriptedMirror, answering, get, post

KEYS = [new_key("mg-") for _ in range(12)]
ACCOUNTS = {"a": "one", "b": "one", "c": "two", "d": "two"}
OPEN = {"keys": {"endpoints": ["*"]}}


def requests(key: str) -> Iterator[bytes]:
    """A file, a batch of it, a thread with its runs, and responses that follow each other."""
    for request in (
        post("/v1/files", b"x" * 100),
        get("/v1/files/file-1/content"),
        post("/v1/batches", b'{"input_file_id": "file-1"}'),
        post("/v1/threads"),
        post("/v1/threads/t/runs", b'{"assistant_id": "a"}'),
        post("/v1/responses", b'{"model": "m", "input": "x"}'),
        post("/v1/responses", b'{"model": "m", "store": false, "previous_response_id": "r"}'),
        get("/v1/responses/r"),
    ):
        yield request.replace(b"sk-x", key.encode())


@asynccontextmanager
async def mirrors() -> AsyncIterator[list[dict[str, Any]]]:
    async with AsyncExitStack() as stack:
        tables = []
        for name, account in ACCOUNTS.items():
            mirror = await stack.enter_async_context(ScriptedMirror(answering(OK), name))
            tables.append(mirror.table(account=account, **LENDS))
        yield tables


def know_keys(plane: DataPlane) -> None:
    ring = plane.context.keys
    ring.season("01" * 32)
    ring.extend(
        (f"k{at}", ring.digest(key.encode()).hex(), None, 0.0, "", None, None)
        for at, key in enumerate(KEYS)
    )


async def homes(plane: DataPlane) -> list[str]:
    """The account of each key, which all its requests go to."""
    found = []
    for key in KEYS:
        asked = [(await plane.ask(request))["x-mirrorgate-mirror"] for request in requests(key)]
        accounts = {ACCOUNTS[mirror] for mirror in asked}
        assert len(accounts) == 1
        found.append(accounts.pop())
    return found


def tell(plane: DataPlane, **mirrors: MirrorHealth) -> None:
    given = (mirrors.get(name) or MirrorHealth(name, State.up) for name in ACCOUNTS)
    known = {health.id: replace(health, last_probe=1.0) for health in given}
    plane.context.learn(HealthSnapshot(1, 1.0, "test", known))


async def test_a_key_has_one_account_through_failover_drain_reload_and_restart() -> None:
    async with mirrors() as tables:
        async with DataPlane(tables, CALLERS, OPEN) as plane:
            know_keys(plane)
            first = await homes(plane)
            assert set(first) == {"one", "two"}, "twelve keys are on both"
            tell(plane, a=MirrorHealth("a", State.down))
            assert await homes(plane) == first
            tell(plane, a=MirrorHealth("a", State.up, wish=Override.drain))
            assert await homes(plane) == first
            tell(plane)
            plane.context.configure(plane.config(tables[::2]), plane.context.snapshot)
            assert await homes(plane) == first
        async with DataPlane(tables[::-1], CALLERS, OPEN) as plane:
            know_keys(plane)
            assert await homes(plane) == first


async def test_while_an_account_is_down_its_keys_wait_and_others_do_not() -> None:
    async with mirrors() as tables, DataPlane(tables, CALLERS, OPEN) as plane:
        know_keys(plane)
        first = await homes(plane)
        tell(plane, a=MirrorHealth("a", State.down), b=MirrorHealth("b", State.down))
        for key, account in zip(KEYS, first, strict=True):
            answer = await plane.ask(next(requests(key)))
            if account == "two":
                assert answer.status == 200
            else:
                assert (answer.status, answer.error["code"]) == (503, "no_mirror_available")
                assert "files, threads and responses" in answer.error["message"]
                chat = post().replace(b"sk-x", key.encode())
                assert (await plane.ask(chat)).status == 200, "which keeps nothing"


async def test_a_refusing_mirror_is_replaced_within_its_account() -> None:
    async with mirrors() as tables:
        gone = [{**table, "url": "http://127.0.0.1:9"} for table in tables[::2]]
        async with DataPlane([*gone, *tables[1::2]], CALLERS, OPEN) as plane:
            know_keys(plane)
            assert set(await homes(plane)) == {"one", "two"}


async def test_an_account_that_has_not_the_model_or_the_path_is_none_of_the_keys() -> None:
    async with mirrors() as tables:
        for setting in ({"models": ["gpt-4o"]}, {"paths": ["/v1/chat/"]}, {"enabled": False}):
            given = [t | setting if t["account"] == "one" else t for t in tables]
            async with DataPlane(given, CALLERS, OPEN) as plane:
                know_keys(plane)
                for key in KEYS:
                    request = post("/v1/responses", b'{"model": "o3"}').replace(
                        b"sk-x", key.encode()
                    )
                    assert ACCOUNTS[(await plane.ask(request))["x-mirrorgate-mirror"]] == "two"


@pytest.mark.parametrize("caller", [b"own", b"anonymous"])
async def test_own_keys_go_to_any_mirror_and_callers_without_one_to_one_account(
    caller: bytes,
) -> None:
    async with mirrors() as tables, DataPlane(tables, CALLERS, OPEN) as plane:
        asked = get("/v1/files")
        if caller == b"anonymous":
            asked = asked.replace(b"Authorization: Bearer sk-x\r\n", b"").replace(
                b"Host: test", b"Host: localhost"
            )
        seen = {(await plane.ask(asked))["x-mirrorgate-mirror"] for _ in range(40)}
        accounts = {ACCOUNTS[mirror] for mirror in seen}
        assert len(accounts) == (2 if caller == b"own" else 1)
        assert len(seen) >= 2, "within an account the load is balanced"


async def test_the_list_of_one_mirror_does_not_move_a_key() -> None:
    async with mirrors() as tables, DataPlane(tables, CALLERS, OPEN) as plane:
        know_keys(plane)
        first = await homes(plane)
        lists = {"a": ("x",), "b": ("x",), "c": ("m",), "d": ("m",)}
        tell(plane, **{n: MirrorHealth(n, State.up, models=names) for n, names in lists.items()})
        assert await homes(plane) == first
