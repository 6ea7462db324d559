"""The budget of visitors: of each, of all, and what is remembered of them."""

from dataclasses import replace

import pytest
from multidict import CIMultiDict

from dashboard.common.visitors import KNOWN, Rates, Refusal, Visitors
from tests.testkit.dashboard import FakeSources

NOTHING: CIMultiDict[str] = CIMultiDict()


class Scene:
    def __init__(self, each: float = 10.0, total: float = 400.0) -> None:
        self.now = 1000.0
        sources = FakeSources()
        sources.dashboard_ = replace(
            sources.dashboard_, requests_per_second=each, total_requests_per_second=total
        )
        self.visitors = Visitors(sources, lambda: self.now)

    def ask(self, address: str, times: int = 1) -> list[Refusal | None]:
        return [self.visitors.asking(address, NOTHING) for _ in range(times)]


def test_a_visitor_may_load_a_page_at_once_and_then_so_many_a_second():
    scene = Scene()
    assert scene.ask("192.0.2.1", 61) == [None] * 60 + [Refusal(429, 1)]
    assert scene.ask("192.0.2.2") == [None], "others have a budget of their own"
    scene.now += 0.1
    assert scene.ask("192.0.2.1", 2) == [None, Refusal(429, 1)]
    for _ in range(100):
        scene.now += 1
        assert scene.ask("192.0.2.1", 20)[9:11] == [None, Refusal(429, 1)]


def test_refusals_cost_nothing_of_the_budget():
    scene = Scene()
    scene.ask("192.0.2.1", 5000)
    scene.now += 6
    assert scene.ask("192.0.2.1", 60) == [None] * 60


def test_a_visitor_is_told_when_to_come_back():
    scene = Scene(each=0.1)
    assert scene.ask("192.0.2.1", 2) == [None, Refusal(429, 10)]
    scene.now += 7.5
    assert scene.ask("192.0.2.1") == [Refusal(429, 3)]
    scene.now += 2.6
    assert scene.ask("192.0.2.1") == [None]


def test_all_together_have_a_budget_too():
    scene = Scene()
    told = [scene.ask(f"192.0.2.{n}")[0] for n in range(500)]
    assert told == [None] * 400 + [Refusal(503, 1)] * 100
    scene.now += 1
    assert scene.ask("198.51.100.1") == [None]


def test_without_a_limit_nobody_is_refused():
    assert set(Scene(each=0, total=0).ask("192.0.2.1", 10_000)) == {None}


def test_a_connection_of_a_visitor_over_his_budget_is_not_read_from():
    scene = Scene()
    scene.ask("192.0.2.1", 60)
    assert scene.visitors.connecting("192.0.2.1")[1] == Refusal(429, 1)
    assert scene.visitors.connecting("192.0.2.2")[1] is None
    scene.ask("127.0.0.9", 60)
    assert scene.visitors.connecting("127.0.0.9")[1] is None, "it is a proxy: others come with it"


def test_visitors_behind_a_trusted_proxy_have_a_budget_each():
    scene = Scene()
    first, second = CIMultiDict(x="192.0.2.1"), CIMultiDict(x="192.0.2.2")
    for _ in range(60):
        assert scene.visitors.asking("127.0.0.9", first) is None
    assert scene.visitors.asking("127.0.0.9", first) == Refusal(429, 1)
    assert scene.visitors.asking("127.0.0.9", second) is None
    assert scene.ask("192.0.2.1") == [Refusal(429, 1)], "wherever they come from"
    assert scene.visitors.asking("192.0.2.3", first) is None, "who is no proxy is not believed"


@pytest.mark.parametrize("rate", [0.5, 10.0, 1000.0])
def test_the_number_of_remembered_visitors_is_bounded(rate):
    rates = Rates(KNOWN)
    for number in range(3 * KNOWN):
        rates.take(number.to_bytes(4), rate, float(number))
    assert len(rates) == KNOWN
