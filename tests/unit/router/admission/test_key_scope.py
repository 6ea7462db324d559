"""Counts of an issued key, and the errors for one that is not let in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.common.settings import read
from router.admission.client_address import named_key, parse
from router.admission.config import LimitsConfig
from router.admission.key_index import IssuedKey, KeyIndex
from router.admission.key_scope import (
    Count,
    allows,
    counts,
    refusal_of_key,
    refusal_of_model,
    too_fast,
    too_many,
)
from router.wire.error_response import Problem

CLIENT = parse("192.0.2.1")
assert CLIENT is not None
ADDRESS = CLIENT.key
ID = "k0123456789ab"
KEY = named_key("key", ID)
LIMITS: dict[str, Any] = {"connections": 10, "requests_per_second": 20.0, "burst": 40}


def issued(**more: Any) -> IssuedKey:
    usual: dict[str, Any] = {"rate": 0.0, "models": (), "expires_at": float("inf")}
    return IssuedKey(ID, **{**usual, "left": None, "tokens_left": None, **more})


def told(problem: Problem | None) -> dict[str, Any]:
    assert problem is not None
    error: dict[str, Any] = json.loads(problem.body())["error"]
    return {"status": problem.status, **error}


@pytest.mark.parametrize(
    ("by", "rate", "expected"),
    [
        ("ip", 0.0, [Count(ADDRESS, 10, 20.0, 40)]),
        ("ip", 5.0, [Count(KEY, 0, 5.0, 5), Count(ADDRESS, 10, 20.0, 40)]),
        ("ip", 0.5, [Count(KEY, 0, 0.5, 1), Count(ADDRESS, 10, 20.0, 40)]),
        ("ip", 100.0, [Count(KEY, 0, 100.0, 40), Count(ADDRESS, 10, 20.0, 40)]),
        ("key", 0.0, [Count(KEY, 10, 20.0, 40)]),
        ("key", 5.0, [Count(KEY, 10, 5.0, 5)]),
    ],
)
def test_requests_are_counted_by_address_or_key(by: str, rate: float, expected: list[Count]):
    config = read(LimitsConfig, {**LIMITS, "by": by})
    assert list(counts(config, ADDRESS, issued(rate=rate))) == expected


@pytest.mark.parametrize("by", ["ip", "key"])
def test_in_a_network_that_is_never_limited_only_a_keys_own_rate_holds(by: str):
    config = read(LimitsConfig, {**LIMITS, "by": by})
    assert counts(config, ADDRESS, issued(), free=True) == ()
    assert counts(config, ADDRESS, issued(rate=5.0), free=True) == (Count(KEY, 0, 5.0, 5),)


def test_an_unknown_key_is_refused_until_it_is_known_why():
    ring = KeyIndex()
    assert told(refusal_of_key(ring, ring.digest(b"x")))["code"] == "keys_unavailable"
    ring.season("00" * 32)
    digest = ring.digest(b"x")
    unknown = told(refusal_of_key(ring, digest))
    assert (unknown["status"], unknown["code"]) == (401, "invalid_api_key")
    assert "This key is unknown or has been revoked." in unknown["message"]
    assert unknown["type"] == "invalid_request_error"
    ring.extend([("k1", digest.hex(), 1_790_000_000.0, 0.0, "", None, None)])
    expired = told(refusal_of_key(ring, digest))
    assert (expired["status"], expired["code"]) == (401, "invalid_api_key")
    assert "expired at 2026-09-21 14:13 UTC" in expired["message"]


@pytest.mark.parametrize(
    ("models", "model", "fine"),
    [
        ((), "gpt-4o", True),
        ((), "", True),
        (("gpt-4o*", "o3"), "gpt-4o-mini", True),
        (("gpt-4o*", "o3"), "o3", True),
        (("gpt-4o*", "o3"), "o3-pro", False),
        (("gpt-4o*", "o3"), "GPT-4o", False),
        (("gpt-4o*",), "", False),
        (("*",), "", True),
    ],
)
def test_only_models_that_fit_a_pattern_are_allowed(
    models: tuple[str, ...], model: str, fine: bool
):
    assert allows(issued(models=models), model) is fine
    assert (refusal_of_model(issued(models=models), model) is None) is fine


def test_a_request_for_another_model_is_refused_with_the_models_allowed():
    error = told(refusal_of_model(issued(models=("gpt-4o*", "o3")), "dall-e-3"))
    assert (error["status"], error["code"]) == (404, "model_not_found")
    assert error["message"] == (
        "This key does not allow the model 'dall-e-3'. It may use: gpt-4o*, o3."
    )
    long = told(refusal_of_model(issued(models=("o3",)), "x\n" * 100_000))
    assert len(long["message"]) < 400
    assert "\n" not in long["message"]
    none = told(refusal_of_model(issued(models=("o3",)), ""))
    assert "names no model" in none["message"]


def test_the_refusals_of_limits_speak_of_the_key():
    for problem, code in (
        (too_fast(2.5, 3), "rate_limit_exceeded"),
        (too_many(2, 3), "too_many_connections"),
    ):
        error = told(problem)
        assert (error["status"], error["type"]) == (429, "rate_limit_error")
        assert (error["code"], problem.retry_after) == (code, 3)
        assert "This key" in error["message"]


def test_a_used_up_quota_has_its_own_type_and_is_not_tried_again():
    problem = Problem(429, "insufficient_quota", "x")
    assert told(problem)["type"] == "insufficient_quota"
    assert (b"x-should-retry", b"false") in list(problem.fields())
