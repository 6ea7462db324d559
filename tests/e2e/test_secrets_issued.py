"""Keys issued here, callers' own and mirrors' own meet in every carrier: each gets only where it
belongs, and nothing of them, of a question or of an answer is left anywhere.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from router.admission.credentials import new_key
from tests.testkit.http_client import Answer, ask
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up, traces
from tests.testkit.mirror.behaviour import Seen
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.processes import REPOSITORY
from tests.testkit.wait import wait_until

OWN = "sk-own-CanaryOfACallersKey0123456789"
LENT = {"alpha": "lent-CanaryOfTheMirrorAlpha", "beta": "lent-CanaryOfTheMirrorBeta"}
TOKEN = "CanaryOfTheMetricsToken0123456789"
TEXT, QUERY = "CanaryOfAQuestion", "CanaryOfAQuery"
CARRIERS = ("authorization", "api-key", "x-api-key", "mj-api-secret", "subprotocol")


@dataclass
class Place:
    """Alpha takes callers' own keys of its kind besides; both lend theirs."""

    instance: Instance
    mirrors: dict[str, MirrorProcess]
    keys: dict[str, str]
    """Issued ones: a good one, and the wrong ones by what is wrong with them."""

    def logs(self) -> str:
        return self.instance.logs()

    def seen(self, mark: str) -> list[tuple[str, Seen]]:
        """The requests with this mark that reached a mirror, with its name."""
        return [
            (name, seen)
            for name, mirror in self.mirrors.items()
            for seen in mirror.seen()
            if seen.header("x-test-id") == mark
        ]

    def secrets(self) -> set[str]:
        """Texts that must not be found; of issued keys any longer piece is too much."""
        issued = {key[4:24] for key in self.keys.values()}
        return {OWN, *LENT.values(), TOKEN, TEXT, QUERY} | issued


def config_for(mirrors: Mapping[str, MirrorProcess], kept: Path, access: Path) -> dict[str, Any]:
    for name, secret in {**LENT, "token": TOKEN}.items():
        (kept / f"{name}.key").write_text(f"{secret}\n")
    tables = [
        {
            "id": name,
            "url": mirror.base_url,
            "addresses": ["127.0.0.1"],
            "client_keys": ["sk-own-*"] if name == "alpha" else [],
            "api_key": f"file:{kept / name}.key",
        }
        for name, mirror in mirrors.items()
    ]
    return {
        "router": {"workers": 2, "ejection": {"max_percent": 0}},
        "limits": {"connections": 4, "requests_per_second": 0},
        "monitor": {"interval": 1},
        "admin": {"metrics_token": f"file:{kept / 'token.key'}"},
        "log": {"level": "debug", "access": str(access)},
        "prices": {"gpt-4o": {"input": 1}},
        "mirrors": tables,
    }


def created(instance: Instance, *arguments: str) -> tuple[str, str]:
    """A new key, and its id."""
    ran = instance.command("keys", "create", "--name", "n", "--json", *arguments, check=True)
    made = json.loads(ran.stdout)
    return made["key"], made["id"]


def keys_of(instance: Instance) -> dict[str, str]:
    """A good key, and every kind of wrong one."""
    good, _ = created(instance, "--quota", "1000")
    plain, _ = created(instance)
    revoked, revoked_id = created(instance)
    instance.command("keys", "revoke", revoked_id, check=True)
    mistyped = plain[:-1] + ("a" if plain[-1] != "a" else "b")
    keys = {"limited": good, "good": plain, "revoked": revoked, "mistyped": mistyped}
    keys |= {"unknown": new_key("mg-"), "expired": created(instance, "--expires", "1s")[0]}
    models = f"{instance.base_url}/v1/models"
    wait_until(lambda: ask(models, key=keys["expired"]).status == 401, 20, "a key to expire")
    return keys


def carried(carrier: str, key: str) -> dict[str, str]:
    """The field that carries a key."""
    if carrier == "subprotocol":
        return {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{key}"}
    return {carrier: f"Bearer {key}" if carrier == "authorization" else key}


def talk(place: Place, headers: Mapping[str, str], path: str = "", **body: object) -> Answer:
    """Ask for a chat completion."""
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": TEXT}], **body}
    url = f"{place.instance.base_url}/v1/chat/completions{path}?q={QUERY}"
    return ask(url, asked, key="", headers=headers)


def handshake(place: Place, headers: Mapping[str, str]) -> bytes:
    """Open a WebSocket, say something, and return what came of it."""
    host, _, port = place.instance.config["router"]["listen"].rpartition(":")
    fields = {
        "host": host,
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    target = f"/v1/realtime?model=gpt-realtime&q={QUERY}"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    event = json.dumps({"type": "session.update", "text": TEXT}).encode()
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode())
        got = client.recv(65536)
        if b" 101 " in got:
            client.sendall(bytes((0x81, 0x80 | len(event), 0, 0, 0, 0)) + event)
            got += client.recv(65536)
        return got


def all_ways(place: Place, carrier: str, key: str, mark: str, **fields: str) -> list[bytes]:
    """Answers as the client gets them, whole: plain, streamed, compressed, over a WebSocket."""
    headers = {**carried(carrier, key), **fields, "x-test-id": mark}
    if carrier == "subprotocol":
        return [handshake(place, headers)]
    packed = headers | {"accept-encoding": "gzip", "x-test-behaviour": '{"compress": true}'}
    answers = [
        talk(place, headers),
        talk(place, headers, stream=True),
        talk(place, packed),
        talk(place, packed, stream=True),
    ]
    with suppress(http.client.IncompleteRead):
        answers.append(talk(place, headers | {"x-test-behaviour": '{"cut_after": 2}'}))
    told = [repr((each.status, each.headers)).encode() + each.body for each in answers]
    return [*told, handshake(place, headers)]


pytestmark = pytest.mark.e2e

WRONG = ("mistyped", "unknown", "revoked", "expired")
STATUSES = (400, 401, 402, 403, 404, 429, 500, 503)
EXPLODES = "explode"
FAULTY = f"""
import sys

if "router.process.worker" in sys.orig_argv:
    from json import scanner

    make_scanner = scanner.make_scanner

    def faulty(decoder):
        scan = make_scanner(decoder)

        def read(text, at):
            if "{EXPLODES}" in text:
                raise RuntimeError("the fault of this test")
            return scan(text, at)

        return read

    scanner.make_scanner = faulty
"""
"""A worker with an error in the middle of things, in reach of everything secret: where the body of
a metered request is read. No part of mirrorgate, for what is compiled cannot be replaced."""


@contextmanager
def cores_wanted() -> Iterator[None]:
    """Whoever is started here may leave a core, unless it sees to that itself."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, kept = tmp_path_factory.mktemp("issued"), tmp_path_factory.mktemp("kept")
    fault = tmp_path_factory.mktemp("fault")
    (fault / "sitecustomize.py").write_text(FAULTY)
    path = os.pathsep.join(map(str, (fault, REPOSITORY)))
    with ExitStack() as stack:
        mirrors = {
            name: stack.enter_context(MirrorProcess(name, kept, keys=["*"])) for name in LENT
        }
        config = config_for(mirrors, kept, folder / "access.log")
        with cores_wanted():
            instance = Instance(config, folder, env={"PYTHONPATH": path})
            stack.enter_context(instance)
        wait_until(lambda: all_up(instance), 30, "all to be up")
        yield Place(instance, mirrors, keys_of(instance))


def assert_each_got_its_own(place: Place, mark: str, carrier: str, key: str) -> set[str]:
    """Every mirror got its own key where this one was; which mirrors there were."""
    met = place.seen(mark)
    assert met
    for name, seen in met:
        assert (seen.key, seen.carrier) == (LENT[name], carrier)
        assert repr(seen).count(LENT[name]) == 2, "in its field, which is noted twice, only"
        for stranger in (key[4:24], OWN, *(set(LENT.values()) - {LENT[name]})):
            assert stranger not in repr(seen)
    return {name for name, _ in met}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_mirror_gets_its_own_key_where_the_issued_one_was(place: Place, carrier: str):
    mark = uuid.uuid4().hex
    key, others = place.keys["good"], [key for name, key in LENT.items()]
    answers = [each for _ in range(8) for each in all_ways(place, carrier, key, mark)]
    assert any(b"200" in each[:20] or b" 101 " in each[:20] for each in answers)
    assert not any(lent.encode() in each for lent in others for each in answers)
    assert not any(key.encode() in each for each in answers)
    assert_each_got_its_own(place, mark, carrier, key)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_callers_own_key_stays_in_its_carrier_and_no_other_comes_along(
    place: Place, carrier: str
):
    mark = uuid.uuid4().hex
    answers = [each for _ in range(4) for each in all_ways(place, carrier, OWN, mark)]
    assert not any(lent.encode() in each for lent in LENT.values() for each in answers)
    met = place.seen(mark)
    assert {name for name, _ in met} == {"alpha"}
    for _, seen in met:
        assert (seen.key, seen.carrier) == (OWN, carrier)
        assert not any(lent in repr(seen) for lent in LENT.values())


def test_when_one_mirror_is_gone_the_other_gets_its_own_key_and_no_callers(place: Place):
    key, alpha = place.keys["good"], place.mirrors["alpha"]
    alpha.behave(listener="refuse")
    try:
        for carrier in CARRIERS:
            mark = uuid.uuid4().hex
            assert all(b"50" in each[:20] for each in all_ways(place, carrier, OWN, mark))
            assert place.seen(mark) == []
            all_ways(place, carrier, key, mark)
            assert assert_each_got_its_own(place, mark, carrier, key) == {"beta"}
    finally:
        alpha.behave(listener="serve")
    wait_until(partial(_back_in_use, place), 120, "all to be up again")


def _back_in_use(place: Place) -> bool:
    """True if every mirror is up; requests go on, as what they meet counts too."""
    all_ways(place, CARRIERS[0], OWN, uuid.uuid4().hex)
    return all_up(place.instance)


@pytest.mark.parametrize("carrier", CARRIERS[1:])
def test_beside_an_issued_key_a_callers_own_goes_nowhere(place: Place, carrier: str):
    mark = uuid.uuid4().hex
    bearer = carried("authorization", place.keys["good"])
    for _ in range(4):
        all_ways(place, carrier, OWN, mark, **bearer)
        all_ways(place, carrier, place.keys["limited"], mark, **carried("authorization", OWN))
    met = place.seen(mark)
    assert met
    for name, seen in met:
        assert seen.key == LENT[name]
        assert OWN not in repr(seen)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_key_is_refused_in_every_carrier_and_reaches_nobody(place: Place, wrong: str):
    mark, key = uuid.uuid4().hex, place.keys[wrong]
    for carrier in CARRIERS:
        for answer in all_ways(place, carrier, key, mark):
            assert b"401" in answer[:20]
            assert b"invalid_api_key" in answer
            assert key[4:24].encode() not in answer
    assert place.seen(mark) == []


@pytest.mark.parametrize("status", STATUSES)
def test_a_mirror_that_quotes_keys_in_its_errors_is_not_quoted(place: Place, status: int):
    try:
        for name, mirror in place.mirrors.items():
            quoted = f"you sent {LENT[name]} for {place.keys['good']} and {TEXT}"
            mirror.behave(status=status, error_code=quoted, only="/v1/chat", retry_after="0")
        for key in ("good", "limited"):
            for stream in (False, True):
                answer = talk(place, carried("authorization", place.keys[key]), stream=stream)
                assert answer.status >= 400
                told = repr(answer.headers).encode() + answer.body
                assert not any(lent.encode() in told for lent in LENT.values())
    finally:
        for mirror in place.mirrors.values():
            mirror.behave(status=0, error_code="", only="", retry_after="")


def is_gone(instance: Instance, pid: int) -> bool:
    return pid not in [child.pid for child in instance.children()]


def test_a_process_that_dies_of_a_fault_leaves_no_core(place: Place):
    """A core holds keys and bodies; the machine of this test would keep one."""
    instance, bearer = place.instance, carried("authorization", place.keys["good"])
    for number in (signal.SIGABRT, signal.SIGSEGV):
        for child in (instance.workers()[0], instance.control()):
            assert resource.prlimit(child.pid, resource.RLIMIT_CORE)[0] in (0, 1)
            talk(place, bearer)
            os.kill(child.pid, number)
            wait_until(partial(is_gone, instance, child.pid), 20, "it to end")
            wait_until(lambda: len(instance.children()) == 3, 30, "another one")
            instance.wait_ready()
    assert resource.prlimit(instance.pid, resource.RLIMIT_CORE)[0] in (0, 1)
    assert list(instance.directory.glob("**/core*")) == []


def _explained(place: Place) -> str:
    """Explain one request that went wrong."""
    fails = {"x-test-behaviour": '{"status": 500}'}
    answer = talk(place, carried("authorization", place.keys["good"]) | fails)
    asked = ("explain", answer.headers["x-mirrorgate-request-id"])
    ran = [place.instance.command(*asked, *more, check=True) for more in ((), ("--json",))]
    return "".join(each.stdout + each.stderr for each in ran)


def test_nothing_secret_is_left_of_all_this_nor_of_a_fault_in_a_worker(place: Place):
    instance = place.instance
    for key in place.keys.values():
        for carrier in CARRIERS[:-1]:
            with pytest.raises(OSError, match=r"."):
                talk(place, carried(carrier, place.keys["good"]), user=EXPLODES)
            assert talk(place, carried(carrier, key)).status in (200, 401), "no place is lost"
    told = _explained(place)
    assert "/v1/chat/completions" in told
    assert not any(secret in told for secret in place.secrets())
    assert "the fault of this test" in wait_until(lambda: instance.logs(), 10)
    instance.command("db", "backup", str(instance.directory / "copy.db"), check=True)
    found = [
        (where, secret)
        for where, content in traces(instance, TOKEN)
        for secret in place.secrets()
        if secret.encode() in content
    ]
    assert found == []
    places = [where for where, _ in traces(instance, TOKEN)]
    for wanted in ("mirrorgate.db", "mirrorgate.db-wal", "copy.db", "access.log", "instance.log"):
        assert any(where.endswith(f"/{wanted}") for where in places), places
    access = instance.directory / "access.log"
    wait_until(lambda: "path=/v1/chat/completions " in access.read_text())
    assert " debug " in instance.logs()
