"""The protocol of sd_notify(3), heard on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.process.service_manager import ServiceManager


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def lines(listener: socket.socket) -> list[str]:
    return listener.recv(4096).decode().splitlines()


def test_words_are_datagrams_of_assignments(listener: socket.socket):
    manager = ServiceManager.of({"NOTIFY_SOCKET": listener.getsockname()}, 7)
    manager.ready("serving")
    assert lines(listener) == ["READY=1", "STATUS=serving"]
    manager.reloading(lambda: 5_000_999)
    assert lines(listener) == ["RELOADING=1", "MONOTONIC_USEC=5000"]
    manager.stopping()
    assert lines(listener)[0] == "STOPPING=1"


def test_a_name_in_the_abstract_namespace_is_found():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"mirrorgate-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(10)
        ServiceManager.of({"NOTIFY_SOCKET": f"@{name}"}, 7).status("it is")
        assert lines(sock) == ["STATUS=it is"]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 3),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog_hears_as_often_as_it_asked_for(
    listener: socket.socket, environ: dict[str, str], words: int
):
    manager = ServiceManager.of({"NOTIFY_SOCKET": listener.getsockname(), **environ}, 7)
    for tenth in range(30):
        manager.alive(100 + tenth / 10)
    manager.stopping()
    heard = [lines(listener) for _ in range(words + 1)]
    assert heard[:-1] == [["WATCHDOG=1"]] * words
    assert heard[-1][0] == "STOPPING=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_nobody_who_listens_is_no_trouble(address: str):
    manager = ServiceManager(address, watchdog=1)
    manager.ready("serving")
    manager.alive(1.0)
