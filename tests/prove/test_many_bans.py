"""A hundred thousand bans: what they cost a worker in memory, in time, and at its start."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.common.metric_registry import MetricRegistry
from monitor.common.settings import read
from router.admission.client_address import parse
from router.admission.shared_table import Table, create
from router.forwarding.admission import entry
from router.forwarding.config import WorkerConfig
from router.forwarding.context import WorkerContext
from router.forwarding.metrics import FAMILIES
from router.forwarding.request_context import RequestContext
from router.wire.head import RequestHead
from tests.prove.conftest import Measure
from tests.testkit.http_client import ask
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import seconds_to_start
from tests.testkit.large_stores import ban_in, banned_address, fill_bans
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import resident_bytes
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.prove

BANS, WORKERS = 100_000, 4
MOST_MEMORY = 60 << 20
LONGEST_START = 5.0
MOST_CPU = 8e-6
ASKED = 100_000


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        router = {"workers": WORKERS, "trusted_proxies": ["private"]}
        instance = Instance({"router": router, "mirrors": [table]}, tmp_path)
        yield instance
        instance.close()


def test_bans_cost_little_memory_and_no_long_start(instance: Instance, measured: Measure) -> None:
    without = seconds_to_start(instance)
    lean = max(resident_bytes(worker.pid) for worker in instance.workers())
    instance.stop()
    fill_bans(instance.config["store"]["url"], BANS)
    first = seconds_to_start(instance)
    instance.stop()
    lasted = min(first, seconds_to_start(instance))  # the machine may have had other things to do
    url = f"{instance.base_url}/v1/models"
    for number in (0, BANS // 2, BANS - 1):
        answer = ask(url, headers={"X-Forwarded-For": banned_address(number)})
        assert answer.error["code"] == "client_banned"
    assert ask(url, headers={"X-Forwarded-For": "192.0.2.1"}).status == 200
    largest = max(resident_bytes(worker.pid) for worker in instance.workers())
    measured("start, s", lasted)
    measured("start without bans, s", without)
    measured("largest worker, MiB", largest / (1 << 20))
    measured("largest worker without bans, MiB", lean / (1 << 20))
    assert lasted < max(LONGEST_START, 2 * without), "whatever else the machine does"
    assert largest < MOST_MEMORY
    began = time.monotonic()
    instance.command("bans", "remove", "--all", check=True, timeout=60)
    wait_until(lambda: ask(url, headers={"X-Forwarded-For": banned_address(7)}).status == 200, 5)
    measured("lifting all of them, s", time.monotonic() - began)


def _requests(config: WorkerConfig, head: RequestHead) -> list[RequestContext]:
    made = [parse(f"192.0.{i >> 8}.{i & 255}") for i in range(1000)]
    return [
        RequestContext(config, head, head.target, client) for client in made if client is not None
    ]


def test_all_checks_of_a_request_take_little_time(measured: Measure) -> None:
    fd = create(WORKERS)
    for column in range(WORKERS):
        table = Table(fd, column, WORKERS)
    limits = {"connections": 10, "requests_per_second": 1000, "burst": 1000}
    config = read(WorkerConfig, {"limits": limits})

    def nobody() -> None:
        raise AssertionError

    context = WorkerContext(config, MetricRegistry(FAMILIES), hand_over=nobody, table=table)  # type: ignore[arg-type]
    ban_in(context, BANS)
    head = RequestHead(b"POST", b"/v1/chat/completions", [], {})
    requests = _requests(config, head)
    spent = []
    for _ in range(5):
        began = time.process_time()
        for i in range(ASKED):
            place, problem = entry(context, head, requests[i % len(requests)])
            assert problem is None
            context.limits.leave(place)
        spent.append((time.process_time() - began) / ASKED)
    measured("bans, table and rate together, µs of CPU a request", min(spent) * 1e6)
    assert min(spent) < MOST_CPU
    os.close(fd)
