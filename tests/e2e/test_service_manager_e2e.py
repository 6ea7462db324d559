"""An instance tells the service manager, on a socket as systemd has it, of its life."""

import signal
import socket
from pathlib import Path

import pytest

from tests.testkit.instance import Instance

pytestmark = pytest.mark.e2e

CONFIG = {
    "router": {"workers": 1},
    "mirrors": [{"id": "a", "url": "http://127.0.0.1:9", "allow_private": True}],
}


def heard(manager: socket.socket, word: str) -> str:
    """Wait for a word, whatever comes before it; the whole datagram."""
    while True:
        told = manager.recv(4096).decode()
        if told.startswith(word):
            return told


def test_start_reloads_life_and_stop_are_told(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"\0mirrorgate-{tmp_path}"
        manager.bind(name)
        manager.settimeout(60)
        environment = {"NOTIFY_SOCKET": f"@{name[1:]}", "WATCHDOG_USEC": "3000000"}
        with Instance(CONFIG, tmp_path, env=environment) as instance:
            assert heard(manager, "READY=1").endswith("STATUS=serving with 1 worker")
            heard(manager, "WATCHDOG=1")
            instance.reload_by_signal()
            assert "MONOTONIC_USEC=" in heard(manager, "RELOADING=1")
            assert heard(manager, "READY=1").endswith("STATUS=serving with 1 worker")
            with instance.config_file.open("a") as file:
                file.write("\n[routr]\n")
            instance.send(signal.SIGHUP)
            heard(manager, "RELOADING=1")
            assert "is not in use: routr: unknown setting" in heard(manager, "READY=1")
        heard(manager, "STOPPING=1")
