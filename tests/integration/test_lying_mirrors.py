"""Mirrors that lie beside good ones: nobody takes a lie for an answer, and little goes to them."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios import chat_mirror as words
from tests.scenarios.chat_mirror import ChatMirror
from tests.scenarios.failover_catalogue import REQUEST, outcome_of, plane_before
from tests.scenarios.lying_mirrors import Asked, judge, play
from tests.testkit.clock import ManualClock
from tests.testkit.raw_http import Response


async def test_every_kind_of_lie_beside_two_good_mirrors_costs_nobody_an_answer() -> None:
    seen = await play(rate=12.0, turn=10.0)
    assert len(seen.ended) > 2000
    assert seen.of("lie") == []
    assert seen.lost == []
    assert seen.billed_twice == []
    assert seen.needless == []
    for stay in seen.stays:
        assert len(stay.mirror.asked) > 1, f"{stay.lie.name} was not tried"
        if not stay.lie.narrow:
            assert stay.share(seen.ended, True) < 0.1, stay.lie.name
        else:
            assert stay.share(seen.ended, False) > 0.1, f"{stay.lie.name}: the others stayed away"


ASKED = Asked("r1", 0, "gpt-4o", "/v1/chat/completions", stream=False)
STREAM = Asked("r1", 0, "gpt-4o", "/v1/chat/completions", stream=True)


@pytest.mark.parametrize(
    ("asked", "status", "body", "complete", "outcome"),
    [
        (ASKED, 200, ASKED.document(), True, "whole"),
        (ASKED, 200, ASKED.document(), False, "cut"),
        (ASKED, 200, ASKED.document().replace(b"r1-11", b"r1-1"), True, "lie"),
        (ASKED, 200, b"{}", True, "lie"),
        (ASKED, 200, b"", True, "lie"),
        (ASKED, 502, b'{"error": {"message": "m"}}', True, "error"),
        (STREAM, 200, b"".join(STREAM.events()), True, "whole"),
        (STREAM, 200, b"".join(STREAM.events()), False, "whole"),
        (STREAM, 200, b"".join(STREAM.events()[:5]), True, "lie"),
        (STREAM, 200, b"".join([*STREAM.events()[:5], STREAM.events()[-1]]), False, "lie"),
        (STREAM, 200, b"".join(STREAM.events()[:5]), False, "cut"),
        (STREAM, 200, b'data: {"error": {"code": "x"}}\n\ndata: [DONE]\n\n', True, "lie"),
        (STREAM, 200, STREAM.events()[0] + b'data: {"error": {"code": "x"}}\n\n', False, "cut"),
    ],
)
def test_a_client_knows_a_lie(
    asked: Asked, status: int, body: bytes, complete: bool, outcome: str
) -> None:
    assert judge(asked, Response(status, "X", [], body, complete))[0] == outcome


async def test_a_request_on_its_last_chance_does_not_try_a_mirror_that_was_ejected() -> None:
    """It may be on two mirrors already, so nothing could save it from the third."""

    async def well_once(mirror: ChatMirror, writer: asyncio.StreamWriter) -> bool:
        await words.well(mirror, writer)
        return False

    time = ManualClock()
    async with (
        ChatMirror(time, "a", words.reset_always) as a,
        ChatMirror(time, "b", well_once) as b,
        ChatMirror(time, "c", words.well) as c,
        plane_before(time, [a, b, c]) as plane,
    ):
        for _ in range(3):
            assert outcome_of(await time.run(plane.ask(REQUEST))) == "whole"
        assert len(a.asked_at) == 3
        b.fault = words.reset_always
        await time.elapse(15.0)
        answer = await time.run(plane.ask(REQUEST))
        assert (outcome_of(answer), len(a.asked_at), len(c.asked_at)) == ("whole", 3, 1)
