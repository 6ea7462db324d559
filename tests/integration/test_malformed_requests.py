"""Malformed and ambiguous requests through a real door: what is refused, and what reaches a mirror.

Raw bytes go in on a real socket; a mirror that reads with a strict parser of its own looks at what
comes out. "Reject" is a 4xx or a bare close, and then the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.cases.malformed_requests import GROUPS, Case
from tests.testkit.data_plane import DataPlane
from tests.testkit.event_loops import each_loop, run_on
from tests.testkit.raw_http import RawClient, Response, StrictMirror, get
from tests.testkit.wait import wait_until_async

# A head or body that never arrives is refused in about a second, not in fifteen.
ROUTER = {"timeouts": {"header": "300ms", "body_stall": "300ms", "keep_alive": "300ms"}}
CASES = [
    pytest.param(case, id=f"{group}: {case.name}")
    for group, cases in GROUPS.items()
    for case in cases
]


async def _outcome(case: Case, mirror: StrictMirror) -> list[Response]:
    """Every response to the client, up to the expected one or the end of the connection."""
    async with mirror, DataPlane([mirror.table()], ROUTER) as plane:
        client = await plane.connect()
        sending = asyncio.ensure_future(_send(client, case))
        responses = await _responses(case, client)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        await wait_until_async(lambda: plane.in_flight == 0, what="nothing in flight")
    return responses


async def _send(client: RawClient, case: Case) -> None:
    with contextlib.suppress(ConnectionError):
        await client.send(case.data)
        if case.ends:
            client.writer.write_eof()


async def _responses(case: Case, client: RawClient) -> list[Response]:
    responses: list[Response] = []
    while case.expect != "accept" or len(responses) < case.expected:
        try:
            response = await client.response(to_head=case.data.startswith(b"HEAD"))
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        if response.status != 100:
            responses.append(response)
    return responses


def _assert_egress_is_strict(case: Case, mirror: StrictMirror, answers: int) -> None:
    assert mirror.violations == []
    assert len(mirror.requests) <= case.expected
    assert len(mirror.requests) <= answers, "more requests came out than were answered"
    sent = mirror.everything.lower()
    for unwanted in case.lacks:
        assert unwanted.lower() not in sent


@each_loop
@pytest.mark.parametrize("case", CASES)
def test_only_strict_http_reaches_a_mirror(case: Case, loop_name: str) -> None:
    mirror = StrictMirror()
    responses = run_on(loop_name, _outcome(case, mirror))
    _assert_egress_is_strict(case, mirror, len(responses))
    statuses = [response.status for response in responses]
    if case.expect == "reject":
        assert mirror.requests == []
        assert len(statuses) <= 1
        assert all(400 <= status < 500 for status in statuses), statuses
    elif case.expect == "accept":
        assert statuses == [200] * case.expected
        assert len(mirror.requests) == case.expected
        assert all(wanted in mirror.everything for wanted in case.has), mirror.everything


@each_loop
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in GROUPS["controls"] if case.keeps]
)
def test_a_well_formed_request_leaves_the_connection_usable(case: Case, loop_name: str) -> None:
    async def outcome() -> list[int]:
        async with StrictMirror() as mirror, DataPlane([mirror.table()]) as plane:
            client = await plane.send(case.data)
            for _ in range(case.expected):
                await client.response()
            await client.send(get() + get())
            return [(await client.response()).status for _ in range(2)]

    assert run_on(loop_name, outcome()) == [200, 200]


def test_the_table_covers_what_it_claims() -> None:
    cases = [case for group in GROUPS.values() for case in group]
    assert len(cases) > 350
    assert sum(case.expect == "reject" for case in cases) > 250
