"""A hundred thousand bans and ten thousand issued keys together: what they cost a worker in memory,
at its start and per request, and whether the time of a refusal tells how near a guess was.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from router.admission.client_address import parse
from router.admission.credentials import SECRET_LENGTH, checksum, new_key
from router.admission.key_index import digest_of
from router.admission.shared_table import Table, create
from router.forwarding.admission import entry, refusal
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.forwarding.request_context import RequestContext
from router.metering.metered_request import MeteredRequest, Request
from router.process.worker import GC_THRESHOLDS
from router.upstream.dialect import Dialect
from router.wire.head import RequestHead
from tests.prove.conftest import Measure
from tests.testkit.http_client import CHAT, ask_on
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import connections_to_all_workers
from tests.testkit.large_stores import ban_in, banned_address, fill_bans, fill_keys
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import resident_bytes

pytestmark = pytest.mark.prove

BANS, KEYS, WORKERS = 100_000, 10_000, 4
TRIES = 100_000
MOST_MEMORY = 60 << 20
LONGEST_START = 5.0
MOST_CPU = 8e-6
MOST_WITH_METERING = 20e-6
"""With what is asked for read from a small body."""
STARTS = 3
PEPPER = bytes(32)
CLIENT = "127.0.0.1"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[MirrorProcess]:
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        yield mirror


def _instance(mirror: MirrorProcess, directory: Path) -> Instance:
    table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
    lends = {"api_key": TEST_KEY, "client_keys": ["sk-*"]}
    config = {
        "router": {"workers": WORKERS, "trusted_proxies": ["127.0.0.1/32"]},
        "limits": {"connections": 10, "requests_per_second": 1000, "burst": 1000},
        "mirrors": [table | lends],
    }
    return Instance(config, directory)


def _prepared(instance: Instance) -> str:
    """Its tables, and a key."""
    instance.start()
    ran = instance.command("keys", "create", "--name", "n", check=True)
    instance.stop()
    return ran.stdout.strip()


def _start(instance: Instance, key: str, banned: bool) -> tuple[float, float]:
    """Seconds until it says that it is ready, and until a request was let in on every worker, and a
    banned client was not."""
    began = time.monotonic()
    instance.start()
    ready = time.monotonic() - began
    with connections_to_all_workers(instance, CLIENT) as each_worker:
        url = f"{instance.base_url}/v1/chat/completions"
        for asking in each_worker.values():
            assert ask_on(asking, url, CHAT, key=key).status == 200
            for number in (0, BANS - 1) if banned else ():
                named = {"X-Forwarded-For": banned_address(number)}
                answer = ask_on(asking, url, CHAT, key=key, headers=named)
                assert answer.error["code"] == "client_banned"
    return ready, time.monotonic() - began


def test_together_they_cost_little_memory_and_no_long_start(
    mirror: MirrorProcess, tmp_path: Path, measured: Measure
) -> None:
    empty, full = (_instance(mirror, tmp_path / name) for name in ("empty", "full"))
    try:
        keys = [_prepared(each) for each in (empty, full)]
        fill_bans(full.config["store"]["url"], BANS)
        fill_keys(full.config["store"]["url"], KEYS)
        starts: tuple[list[tuple[float, float]], ...] = ([], [])
        largest = [0, 0]
        for _ in range(STARTS):
            for at, instance in enumerate((empty, full)):  # side by side, as the machine changes
                starts[at].append(_start(instance, keys[at], banned=bool(at)))
                sizes = [resident_bytes(worker.pid) for worker in instance.workers()]
                largest[at] = max(largest[at], *sizes)
                instance.stop()
    finally:
        empty.close()
        full.close()
    measured("load of the machine", os.getloadavg()[0])
    for name, each, size in zip(("nothing", "all of them"), starts, largest, strict=True):
        ready, serving = (min(column) for column in zip(*each, strict=True))
        measured(f"ready with {name}, s", ready)
        measured(f"every worker serves with {name}, s", serving)
        measured(f"largest worker with {name}, MiB", size / (1 << 20))
    assert largest[1] < MOST_MEMORY
    quickest, plain = (min(ready for ready, _ in each) for each in (starts[1], starts[0]))
    assert quickest < max(LONGEST_START, 2 * plain), "whatever else the machine does"


@pytest.fixture
def context() -> Iterator[WorkerContext]:
    """A worker's, with all of them."""
    fd = create(WORKERS)
    for column in range(WORKERS):
        table = Table(fd, column, WORKERS)
    limits = {"connections": 10, "requests_per_second": 1e6, "burst": 1_000_000}
    prices = {"gpt-4o*": {"input": 2.5, "output": 10}}
    router = {"callers": ["own", "issued"]}
    document = {"limits": limits, "prices": prices, "router": router}
    config = read(WorkerConfig, document)

    def nobody() -> None:
        raise AssertionError

    context = WorkerContext(config, MetricRegistry(FAMILIES), hand_over=nobody, table=table)  # type: ignore[arg-type]
    ban_in(context, BANS)
    context.keys.season(PEPPER.hex())
    yield context
    os.close(fd)


def _learn(
    context: WorkerContext, keys: Sequence[str], *, rate: float = 0.0, quota: int | None
) -> None:
    context.keys.extend(
        (f"k{number:012x}", digest_of(key.encode(), PEPPER).hex(), None, rate, "", quota, quota)
        for number, key in enumerate(keys)
    )


def _asked(context: WorkerContext, key: str, number: int = 0) -> RequestContext:
    look = {b"authorization": b"Bearer " + key.encode(), b"content-type": b"application/json"}
    head = RequestHead(b"POST", b"/v1/chat/completions", [], look)
    client = parse(f"192.0.{number >> 8 & 3}.{number & 255}")
    assert client is not None
    return RequestContext(context.config, head, head.target, client)


def _cpu(step: Callable[[int], object]) -> float:
    """Seconds of CPU for one of many such steps, as they go when nothing comes between them."""
    spent, usual = [], gc.get_threshold()
    gc.collect()
    gc.freeze()  # as a worker does
    gc.set_threshold(*GC_THRESHOLDS)
    for _ in range(10):
        began = time.process_time()
        for number in range(TRIES // 10):
            step(number)
        spent.append((time.process_time() - began) / (TRIES // 10))
    gc.set_threshold(*usual)
    gc.unfreeze()
    return min(spent)


@pytest.mark.parametrize("kind", ["plain", "limited"])
def test_all_checks_of_a_request_with_an_issued_key_take_little_time(
    context: WorkerContext, kind: str, measured: Measure
) -> None:
    """`limited`: the key has a rate and quotas of its own."""
    keys = [new_key("mg-") for _ in range(KEYS)]
    rate, quota = (1e6, 10**15) if kind == "limited" else (0.0, None)
    _learn(context, keys, rate=rate, quota=quota)
    asked = [_asked(context, key, number) for number, key in enumerate(keys[:1000])]
    head = RequestHead(b"POST", b"/v1/chat/completions", [], {})
    body = json.dumps({**CHAT, "model": "gpt-4o"}).encode()
    request = Request(b"POST", head.target, Dialect.chat, False, b"", body)
    wall = context.wall()

    def enter(number: int) -> None:
        place, problem = entry(context, head, asked[number % 1000])
        assert problem is None
        context.limits.leave(place)

    def look(number: int) -> None:
        assert refusal(context, 100, asked[number % 1000]) is None

    def begin(number: int) -> None:
        key = asked[number % 1000].issued(context.keys, wall)
        assert key is not None
        assert isinstance(context.metering.begin(key, request, wall), MeteredRequest)

    def both(number: int) -> None:
        enter(number)
        look(number)

    measured("load of the machine", os.getloadavg()[0])
    measured("bans, table and rate, µs of CPU", _cpu(enter) * 1e6)
    measured("whether the key is good, µs", _cpu(look) * 1e6)
    checks, metering = _cpu(both), _cpu(begin)
    measured("all checks and the table, µs", checks * 1e6)
    measured("metering begins, µs", metering * 1e6)
    measured("all of it, µs", (checks + metering) * 1e6)
    new = _cpu(
        lambda number: _asked(context, keys[number % KEYS], number).issued(context.keys, wall)
    )
    measured("once for a connection: whose key it is, µs", new * 1e6)
    assert checks < MOST_CPU
    assert checks + metering < MOST_WITH_METERING


def _near(key: str) -> str:
    """A guess that has all but one letter of the secret right, and a valid checksum."""
    secret = key[3 : 3 + SECRET_LENGTH]
    other = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    return f"mg-{other}{checksum(other)}"


def test_the_time_of_a_refusal_does_not_show_how_near_a_guess_was(
    context: WorkerContext, measured: Measure
) -> None:
    """Each try is a new connection's: whose key it is, the checks, and the refusal's text."""
    right = [new_key("mg-") for _ in range(KEYS)]
    _learn(context, right, quota=None)
    tried = {
        "a right key": right,
        "a wrong key": [new_key("mg-") for _ in range(KEYS)],
        "a wrong key but for one letter": [_near(key) for key in right],
    }
    spent: dict[str, list[int]] = {name: [] for name in tried}
    head = RequestHead(b"POST", b"/v1/chat/completions", [], {})
    for number in range(TRIES):
        for name, keys in tried.items():
            key = keys[number % KEYS]
            began = time.perf_counter_ns()
            asked = _asked(context, key, number)
            place, problem = entry(context, head, asked)
            refused = refusal(context, 100, asked)
            spent[name].append(time.perf_counter_ns() - began)
            context.limits.leave(place)
            assert problem is None
            assert (refused is None) == (keys is right)
    medians = {name: statistics.median(each) for name, each in spent.items()}
    for name, median in medians.items():
        measured(f"{name}, µs", median / 1e3)
    far, near = medians["a wrong key"], medians["a wrong key but for one letter"]
    assert abs(far - near) < 0.05 * far
    assert abs(medians["a right key"] - far) < 0.3 * far, "besides, its answer is another one"
