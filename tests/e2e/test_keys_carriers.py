"""An issued key on a request's way: let in, refused and counted, on every worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from router.admission.credentials import new_key
from tests.testkit.http_client import chat
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MirrorProcess]:
    with MirrorProcess("a", tmp_path_factory.mktemp("mirror"), keys=[TEST_KEY]) as mirror:
        yield mirror


@pytest.fixture(scope="module")
def instance(mirror: MirrorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    lends = {"addresses": ["127.0.0.1"], "api_key": TEST_KEY, "client_keys": []}
    table = {"id": "a", "url": mirror.base_url, **lends}
    config = {"router": {"workers": 2}, "mirrors": [table], "limits": {"burst": 40}}
    with Instance(config, tmp_path_factory.mktemp("keys")) as instance:
        yield instance


def created(instance: Instance, *arguments: str) -> tuple[str, str]:
    """A new key, and its id."""
    ran = instance.command("keys", "create", "--name", "n", "--json", *arguments, check=True)
    made: dict[str, Any] = json.loads(ran.stdout)
    return made["key"], made["id"]


def refused(instance: Instance, key: str) -> tuple[int, str, str] | None:
    """Status, code and message; None for who got an answer."""
    answer = chat(instance.base_url, key=key)
    if answer.status == 200:
        return None
    return answer.status, answer.error["code"], answer.error["message"]


def test_a_key_is_let_in_at_once_and_the_mirror_gets_its_own(
    instance: Instance, mirror: MirrorProcess
):
    key, _ = created(instance)
    for _ in range(20):
        assert refused(instance, key) is None
    assert key not in repr(mirror.seen())


def test_a_revoked_key_and_one_that_never_was_are_refused_alike(instance: Instance):
    key, key_id = created(instance)
    assert refused(instance, key) is None
    instance.command("keys", "revoke", key_id, check=True)
    told = {refused(instance, key) for _ in range(20)} | {refused(instance, new_key("mg-"))}
    ((status, code, message),) = [each for each in told if each is not None]
    assert (status, code, None in told) == (401, "invalid_api_key", False)
    assert "unknown or has been revoked" in message


async def test_a_websocket_ends_when_its_key_is_revoked_and_another_stays(instance: Instance):
    (key, key_id), (other, _) = created(instance), created(instance)
    url = f"{instance.base_url}/realtime?model=gpt-realtime"

    def shown(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    async with aiohttp.ClientSession() as session:
        async with (
            session.ws_connect(url, headers=shown(key)) as revoked,
            session.ws_connect(url, headers=shown(other)) as kept,
        ):
            for wire in (revoked, kept):
                assert (await wire.receive_json())["type"] == "session.created"
            await asyncio.to_thread(instance.command, "keys", "revoke", key_id, check=True)
            assert (await revoked.receive_json(timeout=10))["error"]["code"] == "invalid_api_key"
            assert (await revoked.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
            assert revoked.close_code == 1008
            await kept.send_json({"type": "response.create"})
            assert (await kept.receive_json(timeout=10))["type"].startswith("response.")


def test_an_expired_key_is_told_when(instance: Instance):
    key, _ = created(instance, "--expires", "2s")
    told = wait_until(lambda: refused(instance, key), 10, "the key to expire")
    assert told[:2] == (401, "invalid_api_key")
    assert "expired at" in told[2]


def test_a_key_has_its_own_rate_wherever_it_is_used(instance: Instance):
    key, _ = created(instance, "--rate", "1")
    other, _ = created(instance)
    told = [refused(instance, key) for _ in range(20)]
    limited = [each for each in told if each is not None]
    assert told[:2] == [None, None], "one at once, and one above that"
    assert limited
    assert {each[:2] for each in limited} == {(429, "rate_limit_exceeded")}
    assert "This key" in limited[0][2]
    assert refused(instance, other) is None


def test_keys_hold_on_new_workers_and_under_a_new_control(instance: Instance):
    key, _ = created(instance)
    for kill in ([instance.control().pid], [worker.pid for worker in instance.workers()]):
        for pid in kill:
            os.kill(pid, signal.SIGKILL)
        instance.wait_ready()
        wait_until(lambda: instance.command("keys", "list").returncode == 0, 20, "control")
        assert refused(instance, key) is None


def test_by_key_each_key_has_places_of_its_own_and_strangers_share_their_address(
    mirror: MirrorProcess, tmp_path_factory: pytest.TempPathFactory
):
    lends = {"addresses": ["127.0.0.1"], "api_key": TEST_KEY, "client_keys": []}
    limits = {"by": "key", "requests_per_second": 0.01, "burst": 2, "allow": []}
    router = {"workers": 2, "trusted_proxies": []}
    config = {"router": router, "limits": limits}
    config["mirrors"] = [{"id": "a", "url": mirror.base_url, **lends}]  # type: ignore[assignment]
    with Instance(config, tmp_path_factory.mktemp("by-key")) as instance:
        for key, _ in (created(instance), created(instance)):
            told = [refused(instance, key) for _ in range(4)]
            assert told[:3] == [None] * 3
            assert told[3] is not None
            assert told[3][1] == "rate_limit_exceeded"
        codes = [(refused(instance, new_key("mg-")) or ("", ""))[1] for _ in range(4)]
        assert codes == [*["invalid_api_key"] * 3, "rate_limit_exceeded"]
