"""Ten thousand issued keys: what they cost a worker in memory and time, and whether it tells."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.admission.credentials import new_key
from router.admission.key_index import KeyIndex, digest_of
from tests.prove.conftest import Measure
from tests.testkit.instance import Instance
from tests.testkit.instance_processes import seconds_to_start
from tests.testkit.large_stores import fill_keys
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.processes import resident_bytes

pytestmark = pytest.mark.prove

KEYS, WORKERS, TRIES = 10_000, 4, 100_000
MOST_RING = 5 << 20
MOST_MORE = 8 << 20
"""Of a whole worker: the messages pass through it too."""
LONGEST_START = 5.0
MOST_CPU = 1e-6
PEPPER = bytes(32)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with MirrorProcess("a", tmp_path, keys=[TEST_KEY]) as mirror:
        table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
        instance = Instance({"router": {"workers": WORKERS}, "mirrors": [table]}, tmp_path)
        yield instance
        instance.close()


def _largest(instance: Instance) -> int:
    return max(resident_bytes(worker.pid) for worker in instance.workers())


def test_keys_cost_little_memory_and_no_long_start(instance: Instance, measured: Measure) -> None:
    without = seconds_to_start(instance)
    lean = _largest(instance)
    instance.stop()
    fill_keys(instance.config["store"]["url"], KEYS)
    first = seconds_to_start(instance)
    instance.stop()
    lasted = min(first, seconds_to_start(instance))  # the machine may have had other things to do
    largest = _largest(instance)
    measured("start, s", lasted)
    measured("start without keys, s", without)
    measured("largest worker, MiB", largest / (1 << 20))
    measured("largest worker without keys, MiB", lean / (1 << 20))
    began = time.monotonic()
    instance.command("keys", "list", "--json", check=True)
    measured("keys list, s", time.monotonic() - began)
    assert lasted < max(LONGEST_START, 2 * without), "whatever else the machine does"
    assert largest - lean < MOST_MORE


def _ring(keys: list[bytes]) -> KeyIndex:
    ring = KeyIndex()
    ring.season(PEPPER.hex())
    ring.extend(
        (
            f"k{number:012x}",
            digest_of(key, PEPPER).hex(),
            1e12 + number,
            2.5,
            "gpt-4o*,o3",
            10**10 + number,
            10**6 + number,
        )
        for number, key in enumerate(keys)
    )
    return ring


def _keys(count: int) -> list[bytes]:
    return [new_key("mg-").encode() for _ in range(count)]


def test_a_ring_is_small_and_quick(measured: Measure) -> None:
    keys = _keys(KEYS)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    ring = _ring(keys)
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    digests = [ring.digest(key) for key in keys]
    spent = []
    for _ in range(10):
        began = time.process_time()
        for digest in digests:
            assert ring.find(digest, 1.0) is not None
        spent.append((time.process_time() - began) / KEYS)
    hashed = []
    for _ in range(10):
        began = time.process_time()
        for key in keys:
            ring.digest(key)
        hashed.append((time.process_time() - began) / KEYS)
    measured("memory of the ring, MiB", size / (1 << 20))
    measured("look-up, µs", min(spent) * 1e6)
    measured("digest, µs", min(hashed) * 1e6)
    assert size < MOST_RING
    assert min(spent) < MOST_CPU


def test_a_right_key_takes_as_long_as_a_wrong_one(measured: Measure) -> None:
    right, wrong = _keys(KEYS), _keys(KEYS)
    ring = _ring(right)
    spent: tuple[list[int], list[int]] = ([], [])
    for number in range(TRIES):
        known = number & 1
        key = (wrong, right)[known][number // 2 % KEYS]
        began = time.perf_counter_ns()
        found = ring.find(ring.digest(key), 1.0)
        spent[known].append(time.perf_counter_ns() - began)
        assert (found is not None) == bool(known)
    medians = [statistics.median(each) for each in spent]
    measured("a wrong key, µs", medians[0] / 1e3)
    measured("a right key, µs", medians[1] / 1e3)
    assert abs(medians[0] - medians[1]) < 0.1 * max(medians)
