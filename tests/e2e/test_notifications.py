"""Notifications of a running instance, at a receiver that fails, delays and limits."""

import hashlib
import hmac
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import StartInstance
from tests.testkit.hook import Hook
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import kill_control
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

SECRET = "s3cret-of-the-hook"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[MirrorProcess]:
    with MirrorProcess("hk", tmp_path) as started:
        yield started


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as started:
        yield started


def config(hook: Hook, mirror: MirrorProcess) -> dict[str, Any]:
    receiver = {"url": hook.url, "secret": SECRET, "group": 0.2, "language": "both"}
    return {
        "router": {"workers": 1},
        "monitor": {"interval": 1, "vantage": "here"},
        "notify": [receiver],
        "mirrors": [{"id": "hk", "name": "香港", "url": mirror.base_url, "allow_private": True}],
    }


def kinds(hook: Hook) -> list[tuple[str, bool]]:
    return [(change["kind"], change["ended"]) for change in hook.taken]


def test_an_outage_reaches_the_receiver_once_each_way_whatever_dies_meanwhile(
    hook: Hook, mirror: MirrorProcess, start_instance: StartInstance
):
    hook.answers = [web.Response(status=503, headers={"Retry-After": "0"}) for _ in range(2)]
    instance = start_instance(config(hook, mirror))
    mirror.kill()
    wait_until(lambda: len(hook.taken) >= 2, 60, "the outage to be told")
    assert kinds(hook) == [("down", False), ("nothing_serves", False)]
    fields, body = hook.got[0]
    stamp = fields["X-Mirrorgate-Timestamp"]
    signed = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
    assert fields["X-Mirrorgate-Signature"] == f"sha256={signed.hexdigest()}"
    assert "香港 不可用" in hook.messages[0]["text"]
    assert "香港 is down" in hook.messages[0]["text"]

    wait_until(lambda: _kept(instance) == 2, 30, "what was told to be kept")
    kill_control(instance, lambda: None)
    instance.stop()
    instance.launch()  # it is not ready as long as its mirror is down
    mirror.start()
    wait_until(lambda: len(hook.taken) >= 4, 60, "the end to be told")
    assert kinds(hook)[2:] == [("up", True), ("nothing_serves", True)]


def test_undelivered_notifications_are_sent_after_a_restart(
    hook: Hook, mirror: MirrorProcess, start_instance: StartInstance
):
    hook.answers = [web.Response(status=503, headers={"Retry-After": "3000"})]
    instance = start_instance(config(hook, mirror))
    mirror.kill()
    wait_until(lambda: not hook.answers, 60, "the receiver to fail")
    instance.stop()
    instance.launch()  # it is not ready as long as its mirror is down
    wait_until(lambda: len(hook.taken) >= 2, 60, "the outage to be told")
    assert kinds(hook) == [("down", False), ("nothing_serves", False)]


def _kept(instance: Instance) -> int:
    with closing(sqlite3.connect(instance.directory / "mirrorgate.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM told").fetchone()[0])


def test_a_bad_file_is_told_and_a_test_message_can_be_sent(
    hook: Hook, mirror: MirrorProcess, start_instance: StartInstance
):
    instance = start_instance(config(hook, mirror))
    tested = instance.command("notify", "test", check=True)
    assert tested.stdout == "json 127.0.0.1: taken\n"
    assert hook.messages[0]["test"] is True
    hook.answers = [web.Response(status=410, text="no such hook")]
    refused = instance.command("notify", "test")
    assert refused.returncode == 1
    assert refused.stdout == "json 127.0.0.1: HTTP 410: no such hook\n"
    assert "t0ken" not in tested.stderr + refused.stdout + refused.stderr

    instance.write({**config(hook, mirror), "monitor": {"interval": "soon"}})
    wait_until(lambda: hook.taken, 60, "the fault to be told")
    assert kinds(hook) == [("reload_failed", False)]
    assert "monitor.interval" in hook.taken[0]["text"]["en"]
    instance.write(config(hook, mirror))
    wait_until(lambda: len(hook.taken) == 2, 60, "that it is mended to be told")
    assert "t0ken" not in instance.logs()
