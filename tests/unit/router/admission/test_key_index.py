"""The issued keys of a worker: found by their digest, and only while they may be used."""

from __future__ import annotations

import statistics
import time

import pytest

from monitor.common.keys import KeyRecord, Left
from router.admission.credentials import looks_issued, new_key
from router.admission.key_index import IssuedKey, KeyIndex, digest_of, row_of

PEPPER = "5a" * 32
NOW = 1_790_000_000.0
NEVER = float("inf")


def record(number: int, key: str, expires_at: float | None = None, **more: object) -> KeyRecord:
    digest = digest_of(key.encode(), bytes.fromhex(PEPPER)).hex()
    name, models, rate = f"customer {number}", more.get("models", ()), more.get("rate", 0.0)
    return KeyRecord(
        f"k{number:012x}",
        name,
        digest,
        NOW,
        "alice",
        expires_at,
        None,
        "",
        rate,  # type: ignore[arg-type]
        models,  # type: ignore[arg-type]
        None,
        None,
    )


@pytest.fixture
def ring() -> KeyIndex:
    made = KeyIndex()
    made.season(PEPPER)
    return made


def test_a_key_is_found_with_what_it_may_do(ring: KeyIndex):
    limited = record(1, "one", NOW + 9, models=("gpt-4o*", "o3"), rate=2.5)
    ring.extend([row_of(limited, Left(10, 20)), row_of(record(2, "two"), Left(None, None))])
    found = ring.find(ring.digest(b"one"), NOW)
    assert found == IssuedKey(limited.id, 2.5, ("gpt-4o*", "o3"), NOW + 9, 10, 20)
    other = ring.find(ring.digest(b"two"), NOW)
    assert other == IssuedKey(f"k{2:012x}", 0.0, (), NEVER, None, None)
    assert ring.find(ring.digest(b"three"), NOW) is None
    assert len(ring) == 2


def test_a_key_is_found_until_it_expires_and_then_still_known_to_have(ring: KeyIndex):
    ring.extend([row_of(record(1, "one", NOW), Left(None, None))])
    digest = ring.digest(b"one")
    assert ring.find(digest, NOW - 0.001) is not None
    assert ring.find(digest, NOW) is None
    expired = ring.expired(digest)
    assert expired is not None
    assert expired.expires_at == NOW
    assert ring.expired(ring.digest(b"two")) is None


def test_a_row_that_comes_again_replaces_the_former(ring: KeyIndex):
    ring.extend([row_of(record(1, "one"), Left(10, None))])
    ring.extend([row_of(record(1, "one"), Left(-5, None))])
    found = ring.find(ring.digest(b"one"), NOW)
    assert found is not None
    assert found.left == -5
    assert len(ring) == 1


def test_removed_keys_are_unknown(ring: KeyIndex):
    ring.extend([row_of(record(n, str(n)), Left(None, None)) for n in range(3)])
    ring.remove(["k000000000001", "nobody"])
    known = [ring.expired(ring.digest(str(n).encode())) is not None for n in range(3)]
    assert known == [True, False, True]


def test_digests_depend_on_the_pepper_and_tell_nothing_of_the_key(ring: KeyIndex):
    other = KeyIndex()
    other.season("5b" * 32)
    assert ring.digest(b"one") == ring.digest(b"one") != other.digest(b"one")
    assert len(ring.digest(b"one")) == 16
    ring.extend([row_of(record(1, "one"), Left(None, None))])
    assert PEPPER not in repr(ring)
    assert ring.digest(b"one").hex() not in repr(record(1, "one"))


def test_a_ring_becomes_what_has_come_anew_and_stays_itself(ring: KeyIndex):
    ring.extend([row_of(record(1, "one"), Left(None, None))])
    coming = KeyIndex()
    coming.season("5b" * 32)
    digest = digest_of(b"two", bytes.fromhex("5b" * 32))
    coming.extend([("k2", digest.hex(), None, 0.0, "", None, None)])
    ring.become(coming)
    assert ring.find(ring.digest(b"two"), NOW) is not None
    assert len(ring) == 1


def test_new_keys_are_recognised_and_differ():
    keys = {new_key("mg-") for _ in range(100)}
    assert len(keys) == 100
    assert all(looks_issued(key.encode(), "mg-") for key in keys)


def test_a_wrong_key_takes_as_long_as_a_right_one(ring: KeyIndex):
    right, wrong = ([new_key("mg-").encode() for _ in range(500)] for _ in range(2))
    ring.extend(
        [row_of(record(n, key.decode(), NOW + 9), Left(None, None)) for n, key in enumerate(right)]
    )
    spent: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(20):
        for good, bad in zip(right, wrong, strict=True):
            for key, known in ((good, True), (bad, False)):
                began = time.perf_counter_ns()
                found = ring.find(ring.digest(key), NOW)
                spent[known].append(time.perf_counter_ns() - began)
                assert (found is not None) == known
    one, other = statistics.median(spent[True]), statistics.median(spent[False])
    assert 0.5 < one / other < 2
