"""An instance whose system resolver never answers: it starts, says so, blames nobody and stops."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.testkit.http_client import chat
from tests.testkit.instance import Instance
from tests.testkit.processes import REPOSITORY
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

NEVER_ANSWERS = """
import socket
import threading

real = socket.getaddrinfo


def getaddrinfo(host, *arguments, **options):
    if str(host).endswith(".test"):
        threading.Event().wait()
    return real(host, *arguments, **options)


socket.getaddrinfo = getaddrinfo
"""


def _node(instance: Instance) -> dict[str, Any]:
    ran = instance.command("status", "--json", check=True)
    node: dict[str, Any] = json.loads(ran.stdout)["nodes"][0]
    return node


def test_with_a_resolver_that_never_answers_it_starts_blames_no_mirror_and_stops(tmp_path: Path):
    fault = tmp_path / "fault"
    fault.mkdir()
    (fault / "sitecustomize.py").write_text(NEVER_ANSWERS)
    config = {
        "router": {"workers": 1, "timeouts": {"connect": 0.5}},
        "monitor": {
            "interval": 0.5,
            "anchors": [],
            "sni": {"control": ["control.test"]},
            "timeouts": {"resolve": 0.5},
        },
        "mirrors": [{"id": "a", "url": "https://mirror.test"}],
    }
    path = os.pathsep.join(map(str, (fault, REPOSITORY)))
    with Instance(config, tmp_path / "instance", env={"PYTHONPATH": path}) as instance:
        wait_until(lambda: _node(instance)["verdict"] == "local_network_down", 30, "the verdict")
        node = _node(instance)
        assert (node["state"], node["in_rotation"]) == ("unknown", True)
        assert node["detail"] == "the local resolver does not answer"
        wait_until(lambda: "not even about control.test" in instance.logs(), 20, "the log")
        assert chat(instance.base_url).status in (502, 503, 504)
        began = time.monotonic()
        assert instance.stop() == 0
        assert time.monotonic() - began < 15
        assert " a is down" not in instance.logs()
