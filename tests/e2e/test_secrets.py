"""Keys go where they belong and nowhere else, and nothing secret is ever written down."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.testkit.http_client import Answer, OpenStream, ask, chat
from tests.testkit.instance import Config, Instance
from tests.testkit.instance_output import states, traces
from tests.testkit.instance_processes import kill_worker
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

ALPHA_KEY = "sk-alpha-CanaryOfACaller0123456789"
STRANGE_KEY = "sk-other-CanaryOfAStranger0123456789"
BETA_OWN, GAMMA_OWN = "beta-CanaryOfTheMirrorBeta", "gamma-CanaryOfTheMirrorGamma"
TOKEN = "CanaryOfTheMetricsToken0123456789"
TEXT, QUERY = "CanaryOfTheBodyText", "CanaryOfTheQuery"
SECRETS = (ALPHA_KEY, STRANGE_KEY, BETA_OWN, GAMMA_OWN, TOKEN, TEXT, QUERY)
CARRIERS = {
    "authorization": f"Bearer {ALPHA_KEY}",
    "api-key": ALPHA_KEY,
    "x-api-key": ALPHA_KEY,
    "mj-api-secret": ALPHA_KEY,
}


@dataclass
class Place:
    """Alpha takes callers' keys of its kind; beta and gamma have keys of their own."""

    instance: Instance
    mirrors: dict[str, MirrorProcess]

    def logs(self) -> str:
        return self.instance.logs()

    def told(self, mirror: str) -> str:
        """Everything that a mirror was sent, apart from bodies."""
        return repr(self.mirrors[mirror].seen())


def config_for(mirrors: dict[str, MirrorProcess], secrets: Path, access: Path) -> Config:
    keys = {"alpha": ["sk-alpha-*"], "beta": ["sk-beta-*"], "gamma": []}
    own = {"beta": BETA_OWN, "gamma": GAMMA_OWN}
    for name, secret in {**own, "token": TOKEN}.items():
        (secrets / f"{name}.key").write_text(f"{secret}\n")
    tables = [
        {"id": name, "url": mirror.base_url, "allow_private": True, "client_keys": keys[name]}
        | ({"api_key": f"file:{secrets / name}.key"} if name in own else {})
        for name, mirror in mirrors.items()
    ]
    return {
        "router": {"workers": 2, "callers": ["own", "issued", "anonymous"], "cors_origins": []},
        "limits": {"allow": []},
        "monitor": {"interval": 1},
        "admin": {"metrics_token": f"file:{secrets / 'token.key'}"},
        "log": {"level": "debug", "access": str(access)},
        "mirrors": tables,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, secrets = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("kept")
    with ExitStack() as stack:
        mirrors = {
            name: stack.enter_context(MirrorProcess(name, folder, keys=["*"]))
            for name in ("alpha", "beta", "gamma")
        }
        config = config_for(mirrors, secrets, folder / "instance" / "access.log")
        instance = stack.enter_context(Instance(config, folder / "instance"))
        wait_until(lambda: set(states(instance).values()) == {"up"}, 20, "all to be up")
        yield Place(instance, mirrors)


def talk(place: Place, **options: object) -> Answer:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": TEXT}]}
    url = f"{place.instance.base_url}/v1/chat/completions?q={QUERY}"
    return ask(url, body, **options)  # type: ignore[arg-type]


def test_a_callers_key_reaches_only_the_mirror_that_takes_it_whatever_carries_it(place: Place):
    for header, value in CARRIERS.items():
        for _ in range(8):
            answer = talk(place, key="", headers={header: value})
            assert answer.headers["x-mirrorgate-mirror"] == "alpha"
    assert ALPHA_KEY in place.told("alpha")
    assert all(ALPHA_KEY not in place.told(name) for name in ("beta", "gamma"))


def test_a_mirrors_own_key_reaches_that_mirror_only_and_no_client(place: Place):
    answers = [talk(place, key="") for _ in range(24)]
    assert {a.headers["x-mirrorgate-mirror"] for a in answers} == {"beta", "gamma"}
    for answer in answers:
        assert not any(s in repr(answer.headers) + repr(answer.body) for s in (BETA_OWN, GAMMA_OWN))
    for name, own in (("beta", BETA_OWN), ("gamma", GAMMA_OWN)):
        for seen in place.mirrors[name].seen():
            assert seen.key in (own, "")
        others = [other for other in place.mirrors if other != name]
        assert all(own not in place.told(other) for other in others)


def test_a_key_that_no_mirror_takes_goes_nowhere(place: Place):
    answer = talk(place, key=STRANGE_KEY)
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert "sk-alpha-*" in answer.error["message"]
    mixed = talk(place, key=ALPHA_KEY, headers={"x-api-key": STRANGE_KEY})
    assert mixed.status == 401
    assert all(STRANGE_KEY not in place.told(name) for name in place.mirrors)


def test_with_its_only_mirror_gone_a_callers_key_goes_nowhere_else(place: Place):
    place.mirrors["alpha"].behave(listener="refuse")
    first = talk(place, key=ALPHA_KEY)
    assert first.status in (502, 503)
    wait_until(lambda: states(place.instance)["alpha"] == "down", 20, "alpha to be down")
    assert talk(place, key=ALPHA_KEY).error["code"] == "no_mirror_available"
    assert talk(place, key="").status == 200
    place.mirrors["alpha"].behave(listener="serve")
    wait_until(lambda: states(place.instance)["alpha"] == "up", 20, "alpha to be up")
    assert all(ALPHA_KEY not in place.told(name) for name in ("beta", "gamma"))


def test_nothing_secret_is_left_anywhere_after_all_kinds_of_trouble(place: Place):
    instance = place.instance
    _cause_trouble(place)
    found = [
        (where, secret)
        for where, content in traces(instance, TOKEN)
        for secret in SECRETS
        if secret.encode() in content
    ]
    assert found == []
    access = instance.directory / "access.log"
    wait_until(lambda: "path=/v1/chat/completions " in access.read_text())
    assert " debug " in instance.logs()


def _cause_trouble(place: Place) -> None:
    """Whatever makes programs write things down."""
    instance = place.instance
    for name in place.mirrors:
        place.mirrors[name].behave(status=401, error_code=f"echo {ALPHA_KEY}")
    talk(place, key=ALPHA_KEY)
    for name in place.mirrors:
        place.mirrors[name].behave(status=0, error_code="", cut_after=2)
    _break_streams(place)
    for name in place.mirrors:
        place.mirrors[name].behave(cut_after=None)
    _send_garbage(instance)
    ask(f"{instance.base_url}/nowhere/{QUERY}?key={ALPHA_KEY}", key=ALPHA_KEY)
    instance.command("bans", "add", "127.0.0.9", check=True)
    wait_until(
        lambda: talk(place, key=ALPHA_KEY, source="127.0.0.9").status == 403, 20, "the ban to hold"
    )
    bad = json.loads(json.dumps(instance.config))
    bad["mirrors"][0]["api_key"] = f"{BETA_OWN}\n"
    good = dict(instance.config)
    instance.write(bad)
    assert instance.command("reload").returncode == 2
    assert instance.command("status").returncode == 0
    instance.reload(good)
    kill_worker(instance, instance.workers()[0].pid, key=ALPHA_KEY)
    chat(instance.base_url, key=ALPHA_KEY)


def _break_streams(place: Place) -> None:
    for _ in range(3):
        with OpenStream(place.instance.base_url, events=5, key=ALPHA_KEY) as stream:
            assert not stream.completes()


def _send_garbage(instance: Instance) -> None:
    host, _, port = instance.config["router"]["listen"].rpartition(":")
    head = f"authorization: Bearer {ALPHA_KEY}\r\n"
    for request in (
        f"GET /v1/x?{QUERY} HTTP/1.1\r\n{head}content-length: x\r\n\r\n",
        f"POST /v1/chat/completions?{QUERY} HTTP/1.1\r\nhost: a\r\n{head}"
        f"transfer-encoding: chunked\r\n\r\nzz\r\n{TEXT}",
        f"{TEXT} {ALPHA_KEY}\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(request.encode())
            assert b"HTTP/1.1 400" in client.recv(4096)
