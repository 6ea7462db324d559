"""Lookups in threads of their own, which may hang."""

import asyncio
import socket
import threading

import pytest

from monitor.diagnosis.timing import NORMAL
from monitor.engine.anchors import Anchors
from monitor.probes.connect import resolve_host
from monitor.probes.results import TIMED_OUT, ProbeFailure
from monitor.probes.system_resolver import Busy, SystemResolver


async def _host() -> None:
    with pytest.raises(ProbeFailure, match=TIMED_OUT):
        await resolve_host("slow.test", False, 0.01, SystemResolver())


async def _anchor() -> None:
    anchors = Anchors(NORMAL, lambda: 100.0)
    anchors.configure(["slow.test:53"])
    assert not await anchors.ask()


@pytest.mark.parametrize("ask", [_host, _anchor])
def test_a_resolver_that_hangs_keeps_no_process_from_ending(ask, monkeypatch):
    release, asked = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        release.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr("monitor.engine.anchors.TIMEOUT", 0.01)
    try:
        asyncio.run(asyncio.wait_for(ask(), 30))  # also waits for the loop's own threads
        assert asked.is_set()
        hanging = [t for t in threading.enumerate() if t.name == "resolve slow.test"]
        assert hanging
        assert hanging[0].daemon
    finally:
        release.set()


async def test_a_lookup_that_no_thread_could_be_started_for_is_not_waited_for(monkeypatch):
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    system = SystemResolver(lambda hostname: ["192.0.2.1"])
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(Busy):
            await system.addresses("api.test", 1.0)
    assert await system.addresses("api.test", 10.0) == ["192.0.2.1"]
