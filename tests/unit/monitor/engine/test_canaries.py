"""Frequency of canaries, and their budget of tokens."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common.config import MirrorConfig, MonitorConfig
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.canaries import ASSUMED, Account, Canaries, ask_completion, judged, model_for
from monitor.engine.prober import Prober
from monitor.probes.capacity import NoCapacity
from monitor.probes.opening import Opened
from monitor.probes.results import (
    TIMED_OUT,
    Canary,
    HttpAnswer,
    Operation,
    StepResult,
    TlsEvidence,
    Way,
)

WANTED = MonitorConfig(canary=True)
MIRROR = MirrorConfig("m", "https://mirror.test", api_key="sk-own")
WAY = Way("mirror.test", "192.0.2.1")
DAY = 86400.0
SHAKEN = StepResult(Operation.tls_handshake, None, 0.1, tls=TlsEvidence(verified=True))
VERIFIED = Opened((SHAKEN,), cast(Any, object()))
INTERVAL = DiagnosisTiming().canary_interval


class Aviary:
    """Canaries that are not sent anywhere, with a clock of their own."""

    def __init__(self, tokens: int = 10) -> None:
        self.now, self.tokens, self.sent = 0.0, tokens, list[float]()
        self.canaries = Canaries(
            Prober(),
            DiagnosisTiming(),
            random.Random(1),
            lambda: self.now,
            lambda: 20000 * DAY + self.now,
        )
        self.canaries._open = self.open  # type: ignore[method-assign]
        self.canaries._send = self.send  # type: ignore[method-assign]
        self.opened = VERIFIED
        self.fault: BaseException | None = None
        self.before_sending = False

    @asynccontextmanager
    async def open(
        self, mirror: MirrorConfig, way: Way, config: MonitorConfig
    ) -> AsyncIterator[Opened]:
        if self.fault is not None and self.before_sending:
            raise self.fault
        yield self.opened

    async def send(
        self, opened: Opened, mirror: MirrorConfig, way: Way, config: MonitorConfig
    ) -> Canary:
        if self.fault is not None:
            raise self.fault
        if not opened.verified:
            return await ask_completion(opened, mirror, way, "m", "", 1.0)
        self.sent.append(self.now)
        return Canary(None, 200, tokens=self.tokens)

    def booked(self) -> int:
        """Tokens of the mirror that are spent today."""
        account = self.canaries.account(MIRROR.id)
        return 1000 - account.left(1000, 20000 + int(self.now // DAY))

    async def run(self, seconds: float, config: MonitorConfig = WANTED, mirror=MIRROR) -> None:
        ends = self.now + seconds
        while self.now < ends:
            await self.canaries.sing(mirror, WAY, config)
            self.now += 60.0


async def test_the_first_one_comes_after_an_hour_and_each_other_an_hour_later():
    aviary = Aviary()
    await aviary.run(6 * INTERVAL)
    assert aviary.sent[0] >= INTERVAL
    pauses = [b - a for a, b in zip(aviary.sent, aviary.sent[1:], strict=False)]
    assert len(aviary.sent) >= 4
    assert min(pauses) >= INTERVAL


@pytest.mark.parametrize(
    ("mirror", "config"),
    [
        (MIRROR, MonitorConfig()),
        (MirrorConfig("m", "https://mirror.test"), WANTED),
        (MirrorConfig("m", "http://mirror.test", api_key="sk-own"), WANTED),
        (MIRROR, MonitorConfig(canary=True, canary_daily_tokens=0)),
    ],
    ids=["off", "no-key", "no-tls", "no-tokens"],
)
async def test_there_is_none_unless_it_is_wanted_possible_and_allowed(mirror, config):
    aviary = Aviary()
    await aviary.run(5 * INTERVAL, config, mirror)
    assert aviary.sent == []


async def test_no_day_takes_more_than_the_cap_and_the_next_day_begins_anew():
    aviary = Aviary(tokens=120)
    config = MonitorConfig(canary=True, canary_daily_tokens=500)
    await aviary.run(3 * DAY, config)
    by_day = [sum(120 for at in aviary.sent if at // DAY == day) for day in range(3)]
    assert by_day == [480, 480, 480]


@pytest.mark.parametrize(
    ("fault", "before_sending", "booked"),
    [
        (NoCapacity(), True, 0),
        (asyncio.CancelledError(), True, 0),
        (RuntimeError("a fault"), True, 0),
        (RuntimeError("a fault"), False, ASSUMED),
        (asyncio.CancelledError(), False, ASSUMED),
    ],
    ids=["no room", "cancelled", "fault", "fault when it may be sent", "cancelled then"],
)
async def test_a_canary_that_was_not_sent_gives_back_its_tokens(fault, before_sending, booked):
    aviary = Aviary()
    aviary.now = INTERVAL * 2
    aviary.fault, aviary.before_sending = fault, before_sending
    with pytest.raises(type(fault)):
        await aviary.canaries.sing(MIRROR, WAY, WANTED)
    assert aviary.booked() == booked


@pytest.mark.parametrize("tokens", [0, 9, ASSUMED, 120])
async def test_a_canary_costs_what_it_took(tokens):
    aviary = Aviary(tokens)
    aviary.now = INTERVAL * 2
    await aviary.canaries.sing(MIRROR, WAY, WANTED)
    assert aviary.booked() == tokens


async def test_a_canary_over_a_way_that_cannot_be_opened_costs_nothing():
    aviary = Aviary()
    aviary.now = INTERVAL * 2
    aviary.opened = Opened((StepResult(Operation.connect, TIMED_OUT, 1.0),), None)
    result = await aviary.canaries.sing(MIRROR, WAY, WANTED)
    assert result is not None
    assert (result.failure, aviary.booked()) == (TIMED_OUT, 0)


async def test_tokens_given_back_after_midnight_do_not_credit_the_new_day():
    account = Account(0.0)
    account.spend(ASSUMED, 1)
    account.spend(10, 2)
    account.settle(-ASSUMED, 1)
    assert account.left(1000, 2) == 990


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), max_size=50))
def test_an_account_knows_what_is_left_of_each_day(spending):
    account, day, spent = Account(0.0), 0, 0
    for later, tokens in spending:
        spent = spent if later == 0 else 0
        day += later
        account.spend(tokens, day)
        spent += tokens
        assert account.left(1000, day) == 1000 - spent
        assert account.left(1000, day + 1) == 1000


def test_the_model_is_one_that_the_mirror_serves_under_its_name_there():
    assert model_for(MIRROR, "gpt-4o-mini") == "gpt-4o-mini"
    few = MirrorConfig("m", "https://a.test", models=("a", "b"), model_map={"a": "x"})
    assert (model_for(few, "gpt-4o-mini"), model_for(few, "b")) == ("x", "b")


@pytest.mark.parametrize(
    ("status", "body", "failure", "tokens"),
    [
        (200, b'{"choices": [], "usage": {"total_tokens": 9}}', None, 9),
        (200, b'{"choices": []}', None, ASSUMED),
        (200, b'{"choices": [], "usage": {"total_tokens": -5}}', None, ASSUMED),
        (200, b'{"choices": [], "usage": {"total_tokens": 1e99}}', None, ASSUMED),
        (200, b'{"choices": [], "usage": {"total_tokens": true}}', None, ASSUMED),
        (200, b'{"error": {}}', "json_parse_error", ASSUMED),
        (200, b"<html>", "json_parse_error", ASSUMED),
        (429, b"{}", "http_unexpected_status_code", 0),
    ],
)
def test_the_tokens_of_a_completion_are_read_or_assumed(status, body, failure, tokens):
    assert judged(HttpAnswer(status, body=body)) == (failure, tokens)
