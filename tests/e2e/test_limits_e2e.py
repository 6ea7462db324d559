"""Limits and automatic bans of the installed program: exact over workers, told, lifted, kept.

127.0.0.1 is a trusted proxy here, so a test can be any client by naming it. Whoever comes from
another loopback address is a client of his own, who cannot name anybody and is never banned.

What is promised within a part of a second is held to its word in the long runs, which have a
machine for themselves; beside other tests it only has to happen.
"""

import asyncio
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Any

import openai
import pytest

from router.admission.credentials import SECRET_LENGTH, checksum
from tests.testkit.http_client import CHAT, Answer, ask, connection
from tests.testkit.instance import Instance
from tests.testkit.instance_output import all_up
from tests.testkit.instance_processes import worker_of
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.mmdb import write_mmdb
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

LIMIT = 10
VIOLATIONS = 4
BAN = {"violations": VIOLATIONS, "within": "60s", "for": "1h", "max": "30d"}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MirrorProcess]:
    with MirrorProcess("alpha", tmp_path_factory.mktemp("mirror"), keys=[TEST_KEY]) as mirror:
        yield mirror


def _config(mirror: MirrorProcess, **limits: Any) -> dict[str, Any]:
    return {
        "router": {"workers": 4, "trusted_proxies": ["127.0.0.1/32"]},
        "limits": {"connections": LIMIT, "requests_per_second": 50, "burst": 100, **limits},
        "mirrors": [
            {
                "id": "alpha",
                "url": mirror.base_url,
                "addresses": ["127.0.0.1"],
                "allow_private": True,
            }
        ],
    }


@pytest.fixture(scope="module")
def instance(mirror: MirrorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    directory = tmp_path_factory.mktemp("limits")
    country = {"country": {"names": {"en": "China", "zh-CN": "中国"}}}
    write_mmdb(directory / "places.mmdb", {"203.0.113.0/24": country})
    config = _config(mirror, ban=BAN)
    config["dashboard"] = {"location_database": "places.mmdb", "contact": "desk@example.org"}
    with Instance(config, directory) as instance:
        wait_until(lambda: all_up(instance), 30, "the mirror to be up")
        yield instance


def _source(client: str) -> str:
    return client if client.startswith("127.") else "127.0.0.1"


def _as(client: str, agent: str = "") -> dict[str, str]:
    named = {} if client.startswith("127.") else {"X-Forwarded-For": client}
    return {**named, **({"User-Agent": agent} if agent else {})}


def models(instance: Instance, client: str, agent: str = "", key: str = TEST_KEY) -> Answer:
    """The answer to a small request of a client."""
    url = f"{instance.base_url}/v1/models"
    return ask(url, key=key, source=_source(client), headers=_as(client, agent))


class Stream:
    """A chat stream of a client, or its refusal; closed on leaving."""

    def __init__(self, instance: Instance, client: str, events: int = 1200) -> None:
        self._connection = connection(instance.base_url, _source(client))
        headers = {
            "Authorization": f"Bearer {TEST_KEY}",
            "Content-Type": "application/json",
            **_as(client),
            "x-test-behaviour": json.dumps({"events": events, "event_delay": 0.05}),
        }
        body = json.dumps({**CHAT, "stream": True})
        try:
            self._connection.request("POST", "/v1/chat/completions", body, headers)
            self.port = self._connection.sock.getsockname()[1]
            self.response = self._connection.getresponse()
        except BaseException:
            self._connection.close()
            raise
        self.status = self.response.status

    def is_cut(self) -> bool:
        """Read to the end; whether that came too early."""
        try:
            return b"[DONE]" not in self.response.read()
        except (OSError, http.client.HTTPException):
            return True

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@contextmanager
def held(instance: Instance, client: str, count: int = LIMIT) -> Iterator[list[Stream]]:
    """So many streams of a client, all let in."""
    with ExitStack() as stack:
        streams = []
        for _ in range(count):
            streams.append(stack.enter_context(closing(Stream(instance, client))))
            assert streams[-1].status == 200
        yield streams


def _race(instance: Instance, client: str, count: int) -> list[Stream]:
    """Open so many streams at the same moment."""
    barrier = threading.Barrier(count)

    def open_one(_: int) -> Stream:
        barrier.wait()
        return Stream(instance, client)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(open_one, range(count)))


def test_ten_streams_are_held_over_all_workers_and_the_eleventh_never(instance: Instance):
    client = "127.0.0.2"
    workers: set[int | None] = set()
    for _ in range(5):
        with ExitStack() as stack:
            streams = _race(instance, client, 24)
            for stream in streams:
                stack.callback(stream.close)
            counted = Counter(stream.status for stream in streams)
            assert counted == {200: LIMIT, 429: 24 - LIMIT}
            refused = next(stream for stream in streams if stream.status == 429)
            error = json.loads(refused.response.read())["error"]
            assert error["type"] == "rate_limit_error"
            assert error["code"] == "too_many_connections"
            assert 1 <= int(refused.response.headers["retry-after"]) <= 10
            let_in = [stream for stream in streams if stream.status == 200]
            workers |= {worker_of(instance, stream.port) for stream in let_in}
            assert models(instance, "127.0.0.3").status == 200
        _wait_until_free(instance, client)
    assert len(workers) > 1


def _wait_until_free(instance: Instance, client: str) -> None:
    """All places of a client are free again, as opening streams in all of them shows."""

    def is_free() -> bool:
        try:
            with held(instance, client):
                return True
        except AssertionError:
            return False

    wait_until(is_free, 20, f"{LIMIT} places to be free")


def test_a_client_that_ends_one_stream_may_open_another_at_once(instance: Instance):
    client = "127.0.0.4"
    with held(instance, client, LIMIT - 1):
        for _ in range(30):
            answer = models(instance, client)
            assert answer.status == 200, answer.body
            time.sleep(0.05)  # below the rate


def test_a_client_that_aborts_one_stream_may_begin_another_at_once(instance: Instance):
    client = "127.0.0.21"
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(Stream(instance, client))) for _ in range(LIMIT)]
        for _ in range(30):
            streams.pop(0).close()
            streams.append(stack.enter_context(closing(Stream(instance, client))))
            assert streams[-1].status == 200
            time.sleep(0.03)  # below the rate


@pytest.mark.parametrize("limit", [10.0, pytest.param(1.0, marks=pytest.mark.prove)])
def test_a_killed_worker_frees_its_places_within_a_second(instance: Instance, limit: float):
    client = "127.0.0.5"
    with held(instance, client) as streams, ExitStack() as stack:
        assert models(instance, client).status == 429
        by_worker = Counter(worker_of(instance, stream.port) for stream in streams)
        victim, lost = by_worker.most_common(1)[0]
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        opened: list[float] = []

        def all_reopened() -> bool:
            with suppress(OSError, http.client.HTTPException):
                stream = stack.enter_context(closing(Stream(instance, client)))
                if stream.status == 200:
                    opened.append(time.monotonic() - killed)
            return len(opened) == lost

        wait_until(all_reopened, limit + 10, "the places of the dead worker")
        assert opened[-1] < limit
        assert models(instance, client).status == 429


def test_a_refusal_does_not_wait_for_the_body(instance: Instance):
    client = "127.0.0.6"
    with held(instance, client), closing(connection(instance.base_url, client)) as waiting:
        waiting.putrequest("POST", "/v1/chat/completions")
        waiting.putheader("Content-Length", "10000000")
        waiting.endheaders()
        answer = waiting.getresponse()
        assert answer.status == 429
        assert answer.headers["connection"] == "close"


def test_too_many_requests_are_told_when_to_come_back(instance: Instance):
    client = "127.0.0.7"
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: models(instance, client), range(400)))
    refused = [answer for answer in answers if answer.status == 429]
    assert len(answers) - len(refused) >= 101
    for answer in refused:  # few of them, if the machine is slow
        assert answer.error["code"] in ("rate_limit_exceeded", "too_many_connections")
        assert 1 <= int(answer.headers["retry-after"]) <= 10


def test_an_untrusted_proxy_cannot_name_clients_and_the_missing_setting_is_reported(
    instance: Instance,
):
    direct = "127.0.0.8"
    with held(instance, direct):
        url = f"{instance.base_url}/v1/models"
        answer = ask(url, source=direct, headers={"X-Forwarded-For": "198.51.100.100"})
        assert answer.status == 429

    def told() -> str:
        said = instance.command("status", check=True).stderr
        return said if "trusted_proxies" in said else ""

    assert direct in wait_until(told, 20, "the notice")
    series = 'mirrorgate_unbelieved_clients_total{setting="trusted_proxies"}'
    wait_until(lambda: series in _metrics(instance), 20, "the metric")


def _metrics(instance: Instance) -> str:
    return ask(f"{instance.admin_url}/metrics", key="").body.decode()


def _hold_until_banned(instance: Instance, client: str, agent: str) -> Answer:
    """Ask for more streams than there may be, again and again, until that is forbidden."""
    with held(instance, client) as streams:

        def banned() -> Answer | None:
            with suppress(ConnectionError, http.client.HTTPException):  # the ban cuts what is open
                answer = models(instance, client, agent)
                return answer if answer.status == 403 else None
            return None

        answer = wait_until(banned, 40, f"the ban on {client}")
        assert all(stream.is_cut() for stream in streams)
    return answer


def _bans(instance: Instance) -> list[dict[str, Any]]:
    listed = instance.command("bans", "list", "--json", check=True)
    bans: list[dict[str, Any]] = json.loads(listed.stdout)["bans"]
    return bans


def _seconds(ban: dict[str, Any]) -> float:
    until, since = (datetime.fromisoformat(ban[name]) for name in ("until", "since"))
    return (until - since).total_seconds()


def test_a_client_that_goes_on_is_banned_listed_and_banned_longer_each_time_even_after_a_restart(
    instance: Instance,
):
    client = "203.0.113.7"
    answer = _hold_until_banned(instance, client, "greedy/1.0")
    assert answer.error["code"] == "client_banned"
    assert "desk@example.org" in answer.error["message"]
    (ban,) = _bans(instance)
    assert ban["network"] == f"{client}/32"
    assert ban["location"] == "China"
    assert ban["user_agent"] == "greedy/1.0"
    assert ban["reason"] == "too_many_connections"
    assert ban["by"] == "automatic"
    assert ban["count"] == 1
    assert 3600 <= _seconds(ban) <= 3600 * 1.1 + 1
    assert models(instance, "203.0.113.8").status == 200
    (shown,) = wait_until(lambda: _public(instance), 20, "the public list")
    assert (shown["ip"], shown["location"]) == ("203.0.113.x", "中国")
    assert client not in ask(f"{instance.dashboard_url}/banned", key="").body.decode()
    instance.command("bans", "remove", client, check=True)
    wait_until(lambda: models(instance, client).status == 200, 20, "the ban to be lifted")
    assert instance.stop() == 0
    instance.start()
    _hold_until_banned(instance, client, "greedy/2.0")
    (ban,) = _bans(instance)
    assert ban["count"] == 2
    assert 7200 <= _seconds(ban) <= 7200 * 1.1 + 1
    assert instance.stop() == 0
    instance.start()
    assert models(instance, client).status == 403
    instance.command("bans", "remove", "--all", check=True)
    wait_until(lambda: models(instance, client).status == 200, 20, "the ban to be lifted")
    wait_until(lambda: "mirrorgate_bans_active 0" in _metrics(instance), 20, "the metric")


def _public(instance: Instance) -> list[dict[str, Any]]:
    bans: list[dict[str, Any]] = ask(f"{instance.dashboard_url}/api/v1/bans", key="").json()["bans"]
    return bans


@pytest.mark.parametrize("limit", [10.0, pytest.param(0.3, marks=pytest.mark.prove)])
def test_a_ban_reaches_every_worker_and_ends_what_is_open_within_a_third_of_a_second(
    instance: Instance, limit: float
):
    client = "127.0.0.20"
    with held(instance, client) as streams:
        assert len({worker_of(instance, stream.port) for stream in streams}) > 1
        with ThreadPoolExecutor(LIMIT) as threads:
            ends = [threads.submit(_end, stream) for stream in streams]
            _command(instance, "POST", "/api/admin/bans", {"network": client})
            told = time.monotonic()
            assert max(end.result() for end in ends) - told < limit
    _command(instance, "DELETE", f"/api/admin/bans?network={client}")
    wait_until(lambda: models(instance, client).status == 200, limit, "the ban to be lifted")


def _end(stream: Stream) -> float:
    assert stream.is_cut()
    return time.monotonic()


def _command(
    instance: Instance, method: str, path: str, body: Mapping[str, Any] | None = None
) -> None:
    """A command as the program sends it, without the time that a new process takes."""
    with closing(http.client.HTTPConnection("localhost")) as asking:
        asking.sock = socket.socket(socket.AF_UNIX)
        asking.sock.connect(instance.config["admin"]["socket"])
        asking.request(method, path, json.dumps(body) if body else None)
        assert asking.getresponse().status in (200, 201)


def test_bans_go_on_under_another_control_process(instance: Instance):
    before, after = "198.51.100.31", "198.51.100.32"
    _command(instance, "POST", "/api/admin/bans", {"network": before})
    _wait_for(instance, before, 403)
    os.kill(instance.control().pid, signal.SIGKILL)
    assert models(instance, before).status == 403

    def ban() -> bool:
        with suppress(OSError, http.client.HTTPException):
            _command(instance, "POST", "/api/admin/bans", {"network": after})
            return True
        return False

    wait_until(ban, 30, "another control process")
    _wait_for(instance, after, 403)
    assert models(instance, before).status == 403
    _command(instance, "DELETE", "/api/admin/bans?network=198.51.100.0/24")
    for client in (before, after):
        _wait_for(instance, client, 200)


def _wait_for(instance: Instance, client: str, status: int) -> None:
    """Every worker answers so, as many connections in a row show."""

    def everywhere() -> bool:
        return all(models(instance, client).status == status for _ in range(12))

    wait_until(everywhere, 20, f"{status} for {client}")


def test_nobody_on_this_machine_or_behind_it_is_banned_automatically(instance: Instance):
    client = "127.0.0.9"
    seconds: set[int] = set()
    with held(instance, client):

        def enough() -> bool:
            assert models(instance, client).status == 429
            seconds.add(int(time.time()))
            return len(seconds) > 2 * VIOLATIONS

        wait_until(enough, 50, "refusals in enough seconds")
    assert _bans(instance) == []


def test_an_allowed_client_is_neither_limited_nor_banned(instance: Instance):
    client = "198.51.100.9"
    instance.command("bans", "allow", client, "--for", "1h", check=True)
    with held(instance, client, LIMIT + 5):
        pass


async def test_fifty_calls_at_once_with_their_retries_are_slowed_and_succeed(
    instance: Instance, mirror: MirrorProcess
):
    client = "198.51.100.50"
    assert models(instance, client).status == 200
    async with openai.AsyncOpenAI(
        api_key=TEST_KEY, base_url=f"{instance.base_url}/v1", default_headers=_as(client)
    ) as sdk:

        async def one() -> str | None:
            behaviour = {"x-test-behaviour": json.dumps({"latency": 0.1})}
            messages: Any = CHAT["messages"]
            answer = await sdk.chat.completions.create(
                model="gpt-4o-mini", messages=messages, extra_headers=behaviour
            )
            return answer.choices[0].message.content

        results = await asyncio.gather(*(one() for _ in range(50)), return_exceptions=True)
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert _bans(instance) == []


def test_guessing_keys_and_malformed_requests_end_in_a_ban_too(instance: Instance):
    guesser = "203.0.113.60"

    def banned() -> bool:
        status = models(instance, guesser, key=_issued()).status
        assert status in (401, 403)
        return status == 403

    wait_until(banned, 40, "the ban")
    (ban,) = _bans(instance)
    assert guesser in ban["network"]
    assert ban["reason"] == "invalid_api_key"
    instance.command("bans", "remove", "203.0.113.0/24", check=True)
    assert _bans(instance) == []


def _issued() -> str:
    """A key that looks as if it had been issued here, but was not."""
    secret = "x" * SECRET_LENGTH
    return f"mg-{secret}{checksum(secret)}"
