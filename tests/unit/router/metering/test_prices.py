"""Prices are exact, dated, and the most specific one holds."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.admission.config import PriceConfig
from router.metering.prices import Prices, day_of
from router.metering.usage import Usage
from tests.testkit.memory import kept_bytes

DAY = "2026-11-21"


def price(config: PriceConfig):
    found = Prices({"m": [config]}).of("m", DAY)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "usage", "cost"),
    [
        (PriceConfig(input=2.5, output=10), Usage(input=1000, output=100), 3_500_000),
        (PriceConfig(input=0.1), Usage(input=3), 300),
        (PriceConfig(input=0.15, cached_input=0.075), Usage(input=10, cached=4), 1200),
        (PriceConfig(input=0.15), Usage(input=10, cached=4), 1500),
        (PriceConfig(input=3, cached_input=0), Usage(input=10, cached=10), 0),
        (PriceConfig(image=0.04), Usage(images=3), 120_000_000),
        (PriceConfig(audio_minute=0.006), Usage(audio_ms=8470), 847_000),
        (PriceConfig(audio_minute=0.006), Usage(audio_ms=1), 100),
        (PriceConfig(characters=15), Usage(characters=7), 105_000),
        (PriceConfig(input=0.0005), Usage(input=1), 1),
        (PriceConfig(input=0.000499999), Usage(input=1), 0),
        (PriceConfig(input=100_000), Usage(input=100_000_000), 10**16),
        (PriceConfig(), Usage(1, 1, 1, 1, 1, 1), 0),
    ],
)
def test_the_cost_of_an_answer_follows_its_price(config: PriceConfig, usage: Usage, cost: int):
    assert price(config).cost(usage) == cost


AMOUNTS = st.integers(0, 10**8).map(lambda n: n / 10**5)
COUNTS = st.integers(0, 10**6)


@given(
    st.builds(
        PriceConfig,
        input=AMOUNTS,
        cached_input=AMOUNTS,
        output=AMOUNTS,
        image=AMOUNTS,
        audio_minute=AMOUNTS,
        characters=AMOUNTS,
    ),
    st.builds(lambda a, b, *c: Usage(a + b, a, *c), *[COUNTS] * 6),
)
def test_a_cost_is_the_exact_one_to_half_a_nano_unit(config: PriceConfig, usage: Usage):
    def written(amount: float) -> Fraction:
        return Fraction(repr(amount))

    exact = (
        (usage.input - usage.cached) * written(config.input) / 10**6
        + usage.cached * written(config.cached_input) / 10**6
        + usage.output * written(config.output) / 10**6
        + usage.characters * written(config.characters) / 10**6
        + usage.images * written(config.image)
        + usage.audio_ms * written(config.audio_minute) / 60_000
    )
    assert abs(price(config).cost(usage) - exact * 10**9) <= Fraction(1, 2)


def test_the_price_of_a_day_is_the_last_one_that_has_begun():
    prices = Prices({"m": [PriceConfig("2026-12-01", 2), PriceConfig("", 1)]})
    costs = {day: prices.of("m", day) for day in ("2026-11-30", "2026-12-01", "2027-01-01")}
    assert [p.input for p in costs.values() if p] == [10**9, 2 * 10**9, 2 * 10**9]
    later = Prices({"m": [PriceConfig("2026-12-01", 2)], "*": [PriceConfig("", 5)]})
    first, second = later.of("m", "2026-11-30"), later.of("m", "2026-12-01")
    assert first is not None
    assert second is not None
    assert (first.input, second.input) == (5 * 10**9, 2 * 10**9)


def test_the_most_specific_pattern_counts():
    patterns = ("*", "gpt-4*", "gpt-4o*", "gpt-4o-mini", "*-mini")
    prices = Prices({p: [PriceConfig(input=n)] for n, p in enumerate(patterns)})
    found = {
        model: prices.of(model, DAY)
        for model in ("o3", "gpt-4", "gpt-4o-2024", "gpt-4o-mini", "o3-mini")
    }
    assert [p.input // 10**9 for p in found.values() if p] == [0, 1, 2, 3, 4]


def test_a_model_without_a_price_has_none_and_names_are_no_patterns():
    prices = Prices({"gpt-4": [PriceConfig()], "a[b]*": [PriceConfig()], "x?*": [PriceConfig()]})
    assert prices.of("gpt-4o", DAY) is None
    assert prices.of("", DAY) is None
    assert prices.of("ab", DAY) is None
    assert prices.of("xyz", DAY) is None
    assert prices.of("a[b]c", DAY) is not None
    assert Prices({"gpt-*": [PriceConfig()]}).of("*", DAY) is None


def test_callers_words_do_not_fill_the_memory():
    prices = Prices({"*": [PriceConfig()]})

    def ask(names: Iterable[int]) -> None:
        for number in names:
            prices.of(f"model-{number}", DAY)

    ask(range(1024))
    assert kept_bytes(lambda: ask(range(1024, 20_000))) < 300_000


def test_the_dearest_model_is_charged_for_one_that_is_not_known():
    prices = Prices({"a": [PriceConfig(audio_minute=1)], "b": [PriceConfig(input=1000)]})
    assert prices.highest(Usage(audio_ms=60_000), DAY) == 10**9
    assert Prices({}).highest(Usage(input=1), DAY) == 0


def test_a_day_is_one_of_utc():
    assert day_of(1_795_305_599.9) == "2026-11-21"
    assert day_of(1_795_305_600.0) == "2026-11-22"
