"""How often canaries are sent, and how many tokens they may take."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.canaries import Account, Canaries, model_for
from monitor.config import MirrorConfig, MonitorConfig
from monitor.diagnosis.pace import Pace
from monitor.probes.canary import ASSUMED, judged
from monitor.probes.prober import Prober
from monitor.probes.result import Canary, HttpAnswer, Way

WANTED = MonitorConfig(canary=True)
MIRROR = MirrorConfig("m", "https://mirror.test", api_key="sk-own")
WAY = Way("mirror.test", "192.0.2.1")
DAY = 86400.0
INTERVAL = Pace().canary_interval


class Aviary:
    """Canaries that are not sent anywhere, with a clock of their own."""

    def __init__(self, tokens: int = 10) -> None:
        self.now, self.tokens, self.sent = 0.0, tokens, list[float]()
        self.canaries = Canaries(
            Prober(), Pace(), random.Random(1), lambda: self.now, lambda: 20000 * DAY + self.now
        )
        self.canaries._send = self.send  # type: ignore[method-assign]

    async def send(self, mirror: MirrorConfig, way: Way, config: MonitorConfig) -> Canary:
        self.sent.append(self.now)
        return Canary(None, 200, tokens=self.tokens)

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
def test_what_a_completion_took_is_read_or_assumed(status, body, failure, tokens):
    assert judged(HttpAnswer(status, body=body)) == (failure, tokens)
