"""The control process in this one: its parts go on after a crash, and all of them end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from monitor.common.ipc import Channel, Message, channel_pair
from monitor.engine import recorder as history_module
from monitor.engine.monitor import Monitor
from monitor.engine.recorder import History
from monitor.store.store import Store
from router.admission.shared_table import Table
from router.control.ban_service import BanService
from router.control.breaker_coordinator import BreakerCoordinator
from router.control.configuration import Configuration, Loaded
from router.control.control import Inherited, serve
from router.control.instance_metrics import KeptTotals
from router.process.last_lists import LastLists, create
from router.process.listener import bind
from tests.testkit.wait import wait_until_async


class Process:
    """Control with one worker's feed, the supervisor's channel and an admin listener."""

    def __init__(self, folder: Path) -> None:
        path = folder / "config.toml"
        path.write_text(
            f'store = {{ url = "sqlite:///{folder / "control.db"}" }}\n'
            'monitor = { interval = "1h" }\n'
            "[[mirrors]]\n"
            'id = "hk"\n'
            'url = "http://127.0.0.1:9"\n'
            "allow_private = true\n"
        )
        self.loaded = Loaded.first(path)
        life, feed = channel_pair(), channel_pair()
        self.supervisor, self._life = Channel(life[0]), Channel(life[1])
        self.worker, self._feed = Channel(feed[0]), Channel(feed[1])
        self.lists = os.fdopen(create(), "r+b")
        self.totals = os.fdopen(create("mirrorgate-totals"), "r+b")
        self.admin = bind("127.0.0.1:0", "admin.listen")
        self.url = "http://{}:{}/metrics".format(*self.admin.getsockname())
        self.told: list[Message] = []
        self.running: asyncio.Task[int] | None = None

    def start(self) -> asyncio.Task[int]:
        listeners = {"admin": self.admin}
        lists, totals = LastLists(self.lists.fileno()), LastLists(self.totals.fileno())
        inherited = Inherited([self._feed], self._life, Table.alone(), lists, KeptTotals(totals))
        self.running = asyncio.create_task(serve(self.loaded, inherited, listeners))
        return self.running

    async def until_ready(self) -> None:
        def ready() -> bool:
            self.told += self.supervisor.receive()
            return {"type": "ready"} in self.told

        await wait_until_async(ready)

    async def metric(self, name: str, labels: str) -> float:
        async with aiohttp.ClientSession() as session, session.get(self.url) as answer:
            lines = (await answer.text()).splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + labels)
        )

    async def end(self) -> None:
        if self.running is not None and not self.running.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(self.running, 30)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        for channel in (self.supervisor, self._life, self.worker, self._feed):
            channel.close()
        self.admin.close()
        self.lists.close()
        self.totals.close()


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    loop = asyncio.get_running_loop()
    made = Process(tmp_path)
    yield made
    await made.end()
    loop.set_exception_handler(None)


PARTS = {
    "ban rules": (BanService, "run"),
    "breakers": (BreakerCoordinator, "run"),
    "configuration": (Configuration, "watch"),
    "monitor": (Monitor, "_housekeep"),
    "history": (History, "_renew"),
}


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_that_crashes_runs_again_and_metrics_say_so(
    process: Process, monkeypatch: pytest.MonkeyPatch, name: str
):
    owner, method = PARTS[name]
    runs = asyncio.Semaphore(0)
    real, faults = getattr(owner, method), [RuntimeError("a fault")]

    async def run(part: object) -> None:
        if faults:
            raise faults.pop()
        runs.release()
        await real(part)

    monkeypatch.setattr(owner, method, run)
    process.start()
    await asyncio.wait_for(runs.acquire(), 30)
    await process.until_ready()
    counted = await process.metric("mirrorgate_task_crashes_total", f'{{task="{name}"}}')
    assert counted == 1
    await process.end()
    assert process.running is not None
    assert process.running.result() == 0


async def test_a_message_of_a_worker_that_cannot_be_handled_is_counted_and_the_next_is_heard(
    process: Process,
):
    process.start()
    await process.until_ready()
    process.worker.send({"type": "hello", "process": "0-1-1", "pid": 1})
    process.worker.send({"type": "alerts"})  # without rows
    process.worker.send({"type": "totals", "rows": [["mirrorgate_workers", [], 7]]})

    async def heard() -> bool:
        return await process.metric("mirrorgate_workers", "") == 7

    await wait_until_async(heard)
    assert await process.metric("mirrorgate_unhandled_errors_total", '{process="control"}') == 1


@pytest.mark.parametrize(
    ("owner", "method"),
    [(Store, "wishes"), (History, "start"), (Monitor, "_publish_all"), (Channel, "attach")],
    ids=lambda each: getattr(each, "__name__", each),
)
async def test_a_failed_start_of_control_stops_every_part_that_was_started(
    process: Process, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
):
    before = asyncio.all_tasks()
    stopped: list[str] = []
    for part, end in ((Monitor, "stop"), (Store, "close")):
        real = getattr(part, end)

        async def noted(self: object, real=real, part: type = part) -> None:
            await real(self)
            stopped.append(part.__name__)

        monkeypatch.setattr(part, end, noted)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(owner, method, fails)
        with pytest.raises(RuntimeError, match="a fault"):
            await process.start()
    assert stopped == (["Store"] if owner is Channel else ["Monitor", "Store"])
    assert asyncio.all_tasks() == before
    await wait_until_async(lambda: not _threads_of_the_store())


async def test_metrics_say_that_a_replaced_database_takes_nothing(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(history_module, "RENEW_EVERY", 0.05)
    process.start()
    await process.until_ready()
    assert await process.metric("mirrorgate_store_failing", "") == 0
    (tmp_path / "other.db").touch()
    os.replace(tmp_path / "other.db", tmp_path / "control.db")
    async with asyncio.timeout(30):
        while await process.metric("mirrorgate_store_failing", "") != 1:
            pass


async def test_a_listener_that_cannot_be_served_ends_what_was_started(process: Process):
    before = asyncio.all_tasks()
    process.admin.close()
    with pytest.raises((OSError, ValueError)):
        await process.start()
    assert asyncio.all_tasks() == before
    await wait_until_async(lambda: not _threads_of_the_store())


def _threads_of_the_store() -> list[str]:
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith(("store", "reader"))]
