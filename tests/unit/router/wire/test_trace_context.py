"""W3C Trace Context as its examples have it."""

from __future__ import annotations

from random import Random

import pytest

from router.wire.trace_context import begun, passed_on

GIVEN = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_client_that_records_its_trace_is_joined_whatever_the_share_is() -> None:
    trace = begun(b" " + GIVEN, 0.0, Random(1))
    assert trace is not None
    assert trace.trace == 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert trace.parent == 0x00F067AA0BA902B7
    field = trace.fields_for("a", None, Random(2))
    assert field.startswith(b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-")
    span = int(field.rstrip().split(b"-")[2], 16)
    assert span == trace.attempts["a"]
    assert len({0, span, trace.parent, trace.span}) == 4
    assert field.endswith(b"-01\r\n")


def test_a_tracestate_goes_on_with_its_trace_only() -> None:
    joined, own = begun(GIVEN, 0.0, Random(1)), begun(None, 1.0, Random(1))
    assert joined is not None
    assert own is not None
    assert joined.fields_for("a", b"k=v", Random(2)).endswith(b"-01\r\ntracestate: k=v\r\n")
    assert b"tracestate" not in own.fields_for("a", b"k=v", Random(2))
    assert passed_on(GIVEN, b"k=v") == b"traceparent: %b\r\ntracestate: k=v\r\n" % GIVEN
    assert passed_on(None, b"k=v") == b"tracestate: k=v\r\n"


def test_one_that_does_not_is_left_alone() -> None:
    assert begun(GIVEN[:-2] + b"00", 1.0, Random(1)) is None
    assert begun(b"cc" + GIVEN[2:-2] + b"08-what-comes", 1.0, Random(1)) is None


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"ff" + GIVEN[2:],
        GIVEN + b"-more",
        GIVEN.upper(),
        b"00-" + b"0" * 32 + GIVEN[35:],
        GIVEN[:36] + b"0" * 16 + b"-01",
        b"x" * 5000,
    ],
)
def test_an_invalid_traceparent_starts_a_sampled_trace(given: bytes | None) -> None:
    trace = begun(given, 1.0, Random(1))
    assert trace is not None
    assert (trace.parent, bool(trace.trace), bool(trace.span)) == (0, True, True)
    assert begun(given, 0.0, Random(1)) is None


def test_the_share_is_kept() -> None:
    rng = Random(7)
    assert 80 < sum(begun(None, 0.1, rng) is not None for _ in range(1000)) < 120
