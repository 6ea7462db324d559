"""Faults of the machine: traffic goes on, nothing acknowledged is lost, the operator is told, and
all of it heals by itself. The table in docs/operations.md names these tests."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from router.cli.client import Client
from router.cli.commands.status import warnings
from tests.prove.conftest import Measure
from tests.testkit.censor.dns import DnsServer, Script, reply
from tests.testkit.closed_loop_load import SteadyLoad
from tests.testkit.http_client import chat
from tests.testkit.instance import Config, Instance
from tests.testkit.instance_output import all_up, metric
from tests.testkit.instance_processes import (
    connections_to_all_workers,
    control_pid,
    kill_worker,
    status_on,
)
from tests.testkit.machine import Clock, MemoryGroup, SmallDisk, few_descriptors, limited
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import runs
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

BANNED, LATER = "127.0.0.9", "127.0.0.10"
MIRRORS = ("a", "b")
FAULT_LASTS = 30.0
DAY, YEARS = 86400.0, 10 * 365 * 86400.0
PATIENCE = 120.0
STEPS = "mirrorgate_clock_steps_total"
RESTARTS = "mirrorgate_process_restarts_total"
HALF = (
    (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TEST_KEY}\r\n"
        "content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
    ).encode()
    + b'{"a": "'
    + b"x" * 500_000
)
"""Of a body that never comes whole."""
FLAWS = ("Traceback", "never retrieved", "never awaited")


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, MirrorProcess]]:
    folder = tmp_path_factory.mktemp("mirrors")
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(MirrorProcess(name, folder, keys=[TEST_KEY]))
            for name in MIRRORS
        }


def config_for(mirrors: Mapping[str, MirrorProcess], **more: Any) -> Config:
    return {
        "router": {"workers": 2},
        "monitor": {"interval": 1},
        "mirrors": [
            {"id": name, "url": mirror.base_url, "api_key": TEST_KEY}
            for name, mirror in mirrors.items()
        ],
        **more,
    }


@contextmanager
def under_load(instance: Instance) -> Iterator[SteadyLoad]:
    """Load without a failure, and a log without a flaw."""
    wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")
    with SteadyLoad(instance.base_url, clients=3, pause=0.05) as load:
        yield load
        load.more(30)
    assert load.failures == []
    assert [flaw for flaw in FLAWS if flaw in instance.logs()] == []


def told(instance: Instance) -> dict[str, Any]:
    """The content of `mirrorgate status`, asked for over the socket, which needs no file."""
    client = Client(Path(instance.config["admin"]["socket"]))
    status: dict[str, Any] = client.call("GET", "/api/admin/status")
    return status


def status(instance: Instance) -> str:
    """The remarks below the table."""
    return "; ".join(warnings(told(instance)))


def wait_told(instance: Instance, words: str) -> None:
    wait_until(lambda: words in status(instance), PATIENCE, f"status to say {words!r}")


def wait_quiet(instance: Instance) -> None:
    wait_until(lambda: not status(instance), PATIENCE, "status to have no remark")


def is_banned(instance: Instance, source: str) -> bool:
    return chat(instance.base_url, source=source).status == 403


def refused(connection: http.client.HTTPConnection, instance: Instance) -> bool:
    return status_on(instance, connection) == 403


def issue(instance: Instance) -> str:
    return instance.command("keys", "create", "--name", "lab", check=True).stdout.strip()


def in_rotation(instance: Instance) -> dict[str, bool]:
    return {node["id"]: node["in_rotation"] for node in told(instance)["nodes"]}


def stay(load: SteadyLoad, seconds: float) -> None:
    """Let the fault last: the passing of time itself is what is tested."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        load.more(1)
        time.sleep(0.2)


@contextmanager
def store_trouble(instance: Instance) -> Iterator[SteadyLoad]:
    """Load before, during and after a trouble of the store, which the caller makes and ends; what
    was acknowledged before and in it is in effect, also after a restart."""
    with under_load(instance) as load:
        instance.command("bans", "add", BANNED, check=True)
        key = issue(instance)
        yield load
        wait_quiet(instance)
    restarted(instance)
    kept(instance, key)


def decide_in_trouble(instance: Instance, load: SteadyLoad) -> None:
    """Ban and drain while the store cannot be written; both are in effect at once. A key is refused
    with the reason."""
    wait_told(instance, "the store cannot be written")
    instance.command("bans", "add", LATER, check=True)
    assert is_banned(instance, LATER)
    instance.command("drain", "b", check=True)
    wait_until(lambda: not in_rotation(instance)["b"], 10, "the drain to be in effect")
    refused = instance.command("keys", "create", "--name", "later")
    assert refused.returncode != 0
    assert refused.stderr.strip()
    wait_told(instance, "in effect, but not written yet: 2")
    assert metric(instance, "mirrorgate_store_up") == 0
    stay(load, FAULT_LASTS)


def restarted(instance: Instance) -> None:
    """Kill all of it, as with the power, and start again."""
    instance.kill()
    instance.start()


def kept(instance: Instance, key: str) -> None:
    """All that was acknowledged is in effect."""
    assert is_banned(instance, BANNED)
    assert is_banned(instance, LATER)
    assert not in_rotation(instance)["b"]
    assert chat(instance.base_url, key=key).status == 200


def test_a_full_disk_costs_no_request_and_no_decision(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess], measured: Measure
) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        store = {"url": f"sqlite:///{disk.path / 'mirrorgate.db'}"}
        log = {"access": str(disk.path / "access.log")}
        config = config_for(mirrors, store=store, log=log)
        with Instance(config, tmp_path / "instance") as instance:
            with store_trouble(instance) as load:
                disk.fill()
                decide_in_trouble(instance, load)
                assert "full" in status(instance)
                wait_told(instance, "lines of the log")
                disk.free()
                began = time.monotonic()
                wait_quiet(instance)
                measured("seconds from free space to no remark", time.monotonic() - began)
                assert metric(instance, "mirrorgate_store_up") == 1


def test_a_store_that_is_locked_for_half_a_minute_costs_no_request_and_no_decision(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    with Instance(config_for(mirrors), tmp_path / "instance") as instance:
        with store_trouble(instance) as load:
            path = instance.directory / "mirrorgate.db"
            with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                decide_in_trouble(instance, load)
                other.execute("ROLLBACK")


def test_a_disk_that_refuses_every_write_costs_no_request_and_no_decision(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    """As a file system that has become read-only under the open file."""
    with Instance(config_for(mirrors), tmp_path / "instance") as instance:
        with store_trouble(instance) as load:
            with limited(instance.control().pid, resource.RLIMIT_FSIZE, 0):
                decide_in_trouble(instance, load)


def test_a_control_that_starts_on_a_read_only_disk_costs_no_request_and_no_decision(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess], measured: Measure
) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        store = {"url": f"sqlite:///{disk.path / 'mirrorgate.db'}"}
        with Instance(config_for(mirrors, store=store), tmp_path / "instance") as instance:
            with under_load(instance) as load:
                instance.command("bans", "add", BANNED, check=True)
                key = issue(instance)
                former = instance.control().pid
                os.kill(instance.pid, signal.SIGSTOP)
                os.kill(former, signal.SIGKILL)
                wait_until(lambda: not runs(former), 10, "control to be gone")
                disk.read_only(True)
                os.kill(instance.pid, signal.SIGCONT)
                wait_until(lambda: "read-only" in instance.logs().lower(), PATIENCE, "the log")
                stay(load, FAULT_LASTS)
                assert is_banned(instance, BANNED)
                assert chat(instance.base_url, key=key).status == 200
                disk.read_only(False)
                began = time.monotonic()
                wait_until(lambda: all_up(instance), PATIENCE, "control to be back")
                measured("seconds from a writable disk to a page", time.monotonic() - began)
                wait_quiet(instance)
                assert is_banned(instance, BANNED)


@pytest.mark.parametrize("seconds", [DAY, -DAY, YEARS, -YEARS])
def test_a_clock_that_is_set_and_set_back_costs_no_request_and_nothing_that_is_kept(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess], seconds: float
) -> None:
    clock = Clock(tmp_path)
    with Instance(config_for(mirrors), tmp_path / "instance", env=clock.env) as instance:
        with under_load(instance) as load:
            instance.command("bans", "add", BANNED, "--for", "2h", check=True)
            instance.command("bans", "add", LATER, check=True)
            instance.command("drain", "b", check=True)
            key = issue(instance)
            audited = entries(instance)
            clock.set(seconds)
            wait_told(instance, "this machine's clock was set")
            stay(load, 10)
            assert is_banned(instance, LATER)
            assert chat(instance.base_url, key=key).status == 200
            clock.set(0)
            wait_until(lambda: metric(instance, STEPS) == 2, PATIENCE, "the step back")
            wait_until(lambda: is_banned(instance, BANNED), PATIENCE, "the ban to hold again")
            wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")
        clock.set(seconds)
        wait_until(lambda: metric(instance, STEPS) == 3, PATIENCE, "another step")
        kill_worker(instance, instance.workers()[0].pid)
        clock.set(0)
        wait_until(lambda: metric(instance, STEPS) == 4, PATIENCE, "the step back")
        with connections_to_all_workers(instance, BANNED, status=None) as reached:
            for each in reached.values():
                wait_until(
                    partial(refused, each, instance), PATIENCE, "each worker to know the ban"
                )
        kept(instance, key)
        assert audited[-1] in entries(instance)
        restarted(instance)
        kept(instance, key)


def entries(instance: Instance) -> list[dict[str, Any]]:
    found = json.loads(instance.command("audit", "--json", check=True).stdout)
    entries: list[dict[str, Any]] = found["entries"]
    return entries


def resolving_fails(instance: Instance) -> bool:
    return metric(instance, "mirrorgate_probe_failures_total", operation="resolve") > 0


async def test_names_that_are_known_serve_while_no_resolver_answers(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    names = {f"{name}.mirror.test": (reply("127.0.0.1"),) for name in mirrors}
    async with DnsServer(Script(names)) as resolver:
        config = config_for(mirrors)
        config["monitor"] |= {"dns": {"resolvers": [f"udp://{resolver.address}"]}}
        for table, mirror in zip(config["mirrors"], mirrors.values(), strict=True):
            table |= {"url": f"http://{table['id']}.mirror.test:{mirror.port}"}
            table |= {"allow_private": True}
        instance = Instance(config, tmp_path / "instance")

        def play() -> None:
            with instance:
                with under_load(instance) as load:
                    for name in names:
                        resolver.script.set(name)  # silence
                    stay(load, FAULT_LASTS)
                wait_until(lambda: resolving_fails(instance), PATIENCE, "the metric")
                kill_worker(instance, instance.workers()[0].pid)
                for name, replies in names.items():
                    resolver.script.set(name, *replies)
                wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")

        await asyncio.to_thread(play)


def test_a_process_without_a_free_descriptor_blames_nobody_and_heals_at_once(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    """As when all descriptors of a machine are used up by others."""
    with Instance(config_for(mirrors), tmp_path / "instance") as instance:
        wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")
        before = {child.pid for child in instance.children()}
        with SteadyLoad(instance.base_url, clients=3, pause=0.05) as load:
            with ExitStack() as stack:
                for child in instance.children():
                    stack.enter_context(few_descriptors(child.pid))
                stay(load, FAULT_LASTS)
            healed = time.monotonic()
            load.more(100)
        assert [result for result in load.since(healed) if result.failed] == []
        assert {result.status for result in load.failures} <= {502, 503}
        assert all("no file descriptor is left here" in result.error for result in load.failures)
        wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")
        assert before == {child.pid for child in instance.children()}
        assert [flaw for flaw in FLAWS if flaw in instance.logs()] == []
        assert metric(instance, "mirrorgate_ejections_total") == 0


def test_a_worker_that_the_kernel_kills_for_memory_is_replaced_and_that_is_told(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    with (
        MemoryGroup(f"mirrorgate-test-{os.getpid()}") as group,
        Instance(config_for(mirrors), tmp_path / "instance") as instance,
        ExitStack() as held,
    ):
        wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")
        victim = instance.workers()[0].pid
        group.squeeze(victim, 2 << 20)
        host, _, port = instance.config["router"]["listen"].rpartition(":")

        def fed() -> bool:
            """Half a body more, on a connection that stays."""
            sock = held.enter_context(socket.create_connection((host, int(port)), timeout=30))
            with suppress(OSError):
                sock.sendall(HALF)
            return not runs(victim)

        wait_until(fed, PATIENCE, "the kernel to kill the worker")
        wait_until(lambda: len(instance.workers()) == 2, PATIENCE, "another worker")
        held.close()
        with under_load(instance):
            pass
        assert "ended by signal 9" in instance.logs()
        wait_until(lambda: metric(instance, RESTARTS, process="worker") == 1, 10, "the metric")


def test_a_file_that_is_gone_or_half_written_changes_nothing_and_is_told(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    with Instance(config_for(mirrors), tmp_path / "instance") as instance:
        text = instance.config_file.read_text()
        with under_load(instance):
            instance.config_file.unlink()
            wait_told(instance, "does not exist")
            former = control_pid(instance)
            assert former is not None
            os.kill(former, signal.SIGKILL)
            wait_until(lambda: control_pid(instance) not in (None, former), PATIENCE, "another")
            wait_until(lambda: all_up(instance), PATIENCE, "all mirrors to be up")
            wait_told(instance, "does not exist")
            half = text[: text.rindex("url") + 8]
            instance.config_file.write_text(half)
            wait_told(instance, "is not in use")
            assert metric(instance, "mirrorgate_config_last_reload_successful") == 0
            assert set(in_rotation(instance)) == set(MIRRORS)
            instance.config_file.write_text(text)
            wait_quiet(instance)
            assert metric(instance, "mirrorgate_config_last_reload_successful") == 1


class Piped(Instance):
    """Writes its log into a pipe whose reader goes."""

    def launch(self) -> None:
        fifo = self.directory / "instance.log"
        os.mkfifo(fifo)
        self.reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        super().launch()

    def logs(self) -> str:
        return ""


def test_a_log_whose_reader_has_gone_stops_nothing_and_is_told(
    tmp_path: Path, mirrors: Mapping[str, MirrorProcess]
) -> None:
    config = config_for(mirrors, log={"access": "-", "level": "debug"})
    with Piped(config, tmp_path / "instance") as instance, under_load(instance):
        os.close(instance.reader)
        wait_told(instance, "lines of the log")
        before = metric(instance, "mirrorgate_log_lines_dropped_total")
        assert before > 0
        instance.reload({**config, "dashboard": {"title": "new"}})
