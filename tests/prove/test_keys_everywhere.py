"""Decisions about a key hold on every worker: the delay after a revocation or expiry, and the
excess over its quota with four workers."""

from __future__ import annotations

import asyncio
import http.client
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from router.cli.client import Client
from tests.prove.conftest import Measure
from tests.testkit.http_client import CHAT, ask_on
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import connections_to_all_workers
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

WORKERS = 4
SOON = 0.3
REVOCATIONS, EXPIRIES = 60, 10
QUOTAS, ANSWERS, AT_ONCE = 8, 5000, 16
OUTPUT, TOKENS_OF_ANSWER = 5, 6
"""Of the pretend mirror's: one in, five out."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        lends = {"api_key": TEST_KEY, "client_keys": ["sk-*"]}
        config = {"router": {"workers": WORKERS}, "mirrors": [table | lends]}
        with Instance(config, tmp_path / "instance") as instance:
            yield instance


@pytest.fixture
def operator(instance: Instance) -> Client:
    """Commands, without the time that a new process takes."""
    return Client(Path(instance.config["admin"]["socket"]))


def _created(operator: Client, **order: Any) -> tuple[str, str]:
    made = operator.call("POST", "/api/admin/keys", {"name": "n", **order})
    return made["key"], made["id"]


class Asked(NamedTuple):
    """One request."""

    key: str
    began: float
    """`time.time()`."""
    status: int


class OnOneWorker:
    """Asks without a pause on one kept connection: in turn with the good key, and the one whose
    end is awaited."""

    def __init__(self, instance: Instance, asking: http.client.HTTPConnection, good: str) -> None:
        self._url = f"{instance.base_url}/v1/chat/completions"
        self._asking = asking
        self.good = good
        self._stop = False
        self.doomed = good
        self.asked: list[Asked] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Stop asking."""
        self._stop = True
        self._thread.join()

    def of(self, key: str, status: int) -> list[Asked]:
        """The requests with this key that got this status."""
        return [each for each in list(self.asked) if (each.key, each.status) == (key, status)]

    def _run(self) -> None:
        while not self._stop:
            for key in (self.good, self.doomed):
                began = time.time()
                status = ask_on(self._asking, self._url, CHAT, key=key).status
                self.asked.append(Asked(key, began, status))


@contextmanager
def on_all_workers(instance: Instance, good: str) -> Iterator[list[OnOneWorker]]:
    """Requests on every worker, all the time; the good key is never refused."""
    with connections_to_all_workers(instance, "127.0.0.1") as each:
        askers = [OnOneWorker(instance, asking, good) for asking in each.values()]
        try:
            yield askers
        finally:
            for asker in askers:
                asker.end()
    assert len(askers) == WORKERS
    assert {each.status for asker in askers for each in asker.asked if each.key == good} == {200}


def _delays(
    askers: Sequence[OnOneWorker], key: str, end: Callable[[], float]
) -> tuple[float, float]:
    """Use a key everywhere until it ends; how long after the moment that `end` returns the last
    request that was let in began, and the first refused one."""
    for asker in askers:
        asker.doomed = key
    wait_until(lambda: all(asker.of(key, 200) for asker in askers), 20, "it to be used everywhere")
    ended = end()
    wait_until(lambda: all(asker.of(key, 401) for asker in askers), 20, "it to be refused")
    last = max(asker.of(key, 200)[-1].began for asker in askers)
    first = min(asker.of(key, 401)[0].began for asker in askers)
    for asker in askers:
        asker.doomed = asker.good
        refused = asker.of(key, 401)[0]
        assert asker.of(key, 200)[-1].began < refused.began, "once refused, always refused"
    return last - ended, first - ended


def test_a_revoked_key_is_refused_by_every_worker_within_a_third_of_a_second(
    instance: Instance, operator: Client, measured: Measure
) -> None:
    good, _ = _created(operator)
    delays = []
    with on_all_workers(instance, good) as askers:
        for _ in range(REVOCATIONS):
            key, key_id = _created(operator)

            def revoke(key_id: str = key_id) -> float:
                began = time.time()
                operator.call("DELETE", f"/api/admin/keys/{key_id}")
                return began

            delays.append(_delays(askers, key, revoke)[0])
    measured("revocations, on each of four workers", len(delays))
    measured("last request let in after the command, median, ms", statistics.median(delays) * 1e3)
    measured("the worst, ms", max(delays) * 1e3)
    assert max(delays) < SOON


def test_a_key_expires_on_every_worker_at_its_moment(
    instance: Instance, operator: Client, measured: Measure
) -> None:
    good, _ = _created(operator)
    late, early = [], []
    with on_all_workers(instance, good) as askers:
        for _ in range(EXPIRIES):
            moment = datetime.fromtimestamp(int(time.time()) + 3, UTC)
            key, _ = _created(operator, expires_at=moment.isoformat())
            delay, first = _delays(askers, key, moment.timestamp)
            late.append(delay)
            early.append(first)
    measured("last request let in after its end, worst, ms", max(late) * 1e3)
    measured("first one refused after its end, ms", min(early) * 1e3)
    assert max(late) < SOON
    assert min(early) > -SOON, "it is not refused before its end"


async def _use_up(instance: Instance, key: str, at_once: int) -> tuple[int, float]:
    """Ask until nothing more is answered; how many were, and how many a second."""
    codes: Counter[int] = Counter()
    url, began, last = f"{instance.base_url}/v1/chat/completions", time.monotonic(), 0.0
    body = {**CHAT, "messages": [{"role": "user", "content": "one"}], "max_tokens": OUTPUT}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client:

        async def one_after_the_other() -> None:
            nonlocal last
            while codes[429] < 20 * at_once:
                async with client.post(url, json=body) as answer:
                    await answer.read()
                codes[answer.status] += 1
                if answer.status == 200:
                    last = time.monotonic()

        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    assert set(codes) <= {200, 429}
    return codes[200], codes[200] / (last - began)


def _is_left(operator: Client, key_id: str, tokens: int) -> bool:
    """True if so much is left of the key, as control has counted."""
    keys = operator.call("GET", "/api/admin/keys")["keys"]
    return any(key["id"] == key_id and int(key["left_tokens"]) == tokens for key in keys)


def test_four_workers_exceed_a_quota_by_no_more_than_is_documented(
    instance: Instance, operator: Client, measured: Measure
) -> None:
    """By one request, and a hundredth of it; what is left once all is counted may be used."""
    quota, beyond, rates = ANSWERS * TOKENS_OF_ANSWER, [], []
    for _ in range(QUOTAS):
        key, key_id = _created(operator, tokens=quota)
        answered, rate = asyncio.run(_use_up(instance, key, AT_ONCE))
        left = quota - answered * TOKENS_OF_ANSWER
        wait_until(partial(_is_left, operator, key_id, left), 30, "all to be counted")
        if left > 0:
            answered += asyncio.run(_use_up(instance, key, 1))[0]
        beyond.append(answered - ANSWERS)
        rates.append(rate)
    measured("answers of the quota", ANSWERS)
    measured("answers a second, at sixteen at once", statistics.median(rates))
    measured("answers beyond the quota, median", statistics.median(beyond))
    measured("answers beyond the quota, worst", max(beyond))
    assert min(beyond) >= 0, "all of the quota may be used"
    assert max(beyond) <= 1 + ANSWERS // 100
