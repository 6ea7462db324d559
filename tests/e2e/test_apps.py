"""Each client of the catalogue, in its version, against a running mirrorgate and a TLS mirror."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.catalogue import APPS, App
from tests.e2e.clients.driven import Driven, Told
from tests.testkit.certs import Authority
from tests.testkit.farm import TlsMirror
from tests.testkit.instance import Instance
from tests.testkit.mirror.answers import vector

pytestmark = pytest.mark.e2e

WORDS = "hello 1 2 3 4"
WELL: dict[str, Any] = {
    "latency": 0.0, "status": 0, "retry_after": "", "cut_after": None, "event_delay": 0.0,
    "events": 5,
}  # fmt: skip
SAID = {
    "tools": 'weather({"city": "hello"})',
    "embeddings": str(vector("hello")),
    "image": "3000",  # bytes
}
KEEPALIVE = 0.3
WAITED = 1.6
"""Longer than a keepalive takes: silence is noticed up to a second late."""


@dataclass(frozen=True)
class Gate:
    """mirrorgate in front of one mirror that takes a key for each client."""

    base_url: str
    mirror: TlsMirror


def key_of(app: App) -> str:
    """Limits of a key are remembered: each client has its own."""
    return f"sk-test-{APPS.index(app)}"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    directory = tmp_path_factory.mktemp("apps")
    keys = [key_of(app) for app in APPS]
    with TlsMirror("alpha", directory, Authority(directory), keys=keys) as mirror:
        config = {
            "router": {
                "workers": 1,
                "stream": {"keepalive": KEEPALIVE},
                "ejection": {"max_percent": 0},
            },
            "limits": {"allow": ["127.0.0.0/8"]},
            "monitor": {"interval": "1h"},
            "mirrors": [mirror.table()],
        }
        with Instance(config, directory / "instance") as instance:
            yield Gate(f"{instance.base_url}/v1", mirror)


def drive(app: App, gate: Gate, directory: Path) -> None:
    """Play all that the catalogue says of a client."""
    with Driven(app, directory) as client:

        def play(step: str, key: str = key_of(app), **faults: Any) -> Told:
            gate.mirror.mirror.behave(**{**WELL, **faults})
            return client.play(step, gate.base_url, key)

        for step in app.steps:
            assert play(step) == Told(SAID.get(step, WORDS), None), step
        for step in {"stream", "helper"} & set(app.steps):
            assert play(step, latency=WAITED) == Told(WORDS, None), f"{step} that waits"
            paused = play(step, events=2, event_delay=WAITED)
            assert paused == Told("hello 1", None), f"{step} with pauses"
        for step in ("chat", "stream"):
            refused = play(step, key="sk-wrong")
            assert refused.said == ""
            assert refused.tells(401, "Incorrect API key"), refused
            assert refused.name == app.errors[0]
        if app.errors[2]:
            broken = play("stream", cut_after=2, cut="close")
            assert broken.name == app.errors[2]
            assert broken.said in ("", "hello 1")
        limited = play("chat", status=429, retry_after="1")
        assert limited.said == ""
        assert limited.tells(429, "429"), limited
        assert limited.name == app.errors[1]


@pytest.mark.parametrize("app", [app for app in APPS if app.quick], ids=lambda app: app.name)
def test_a_small_client_gets_all_that_it_asks_for(app: App, gate: Gate, tmp_path: Path) -> None:
    drive(app, gate, tmp_path)


@pytest.mark.prove
@pytest.mark.parametrize("app", [app for app in APPS if not app.quick], ids=lambda app: app.name)
def test_a_large_client_gets_all_that_it_asks_for(app: App, gate: Gate, tmp_path: Path) -> None:
    drive(app, gate, tmp_path)
