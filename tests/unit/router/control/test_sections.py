"""Prices as they are written in the configuration."""

from __future__ import annotations

import tomllib

import pytest

from monitor.common.settings import SettingsError, read, to_table
from router.control.sections import Config

MIRROR = '[[mirrors]]\nid = "a"\nurl = "https://a.example"\n'


def prices(text: str):
    return read(Config, tomllib.loads(MIRROR + text)).prices


def test_one_price_is_a_table_and_several_are_a_list_of_them():
    one = prices('[prices."gpt-4o"]\ninput = 2.5\n')["gpt-4o"]
    assert [price.input for price in one] == [2.5]
    text = '[[prices.o3]]\ninput = 1\n[[prices.o3]]\nfrom = "2026-12-01"\ninput = 2\n'
    assert [(price.from_, price.input) for price in prices(text)["o3"]] == [
        ("", 1.0),
        ("2026-12-01", 2.0),
    ]


def test_prices_survive_the_way_to_workers():
    config = read(Config, tomllib.loads(MIRROR + '[prices."gpt-4o"]\ninput = 2.5\n'))
    assert read(Config, to_table(config)) == config


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[prices.a]\ninput = -1", "prices.a[0].input"),
        ("[prices.a]\ninput = 0.0000000001", "prices.a[0].input"),
        ("[prices.a]\noutput = 100001", "prices.a[0].output"),
        ("[prices.a]\ncached_input = -2", "prices.a[0].cached_input"),
        ('[prices.a]\nfrom = "2026-02-30"', "prices.a[0].from"),
        ('[prices.a]\nfrom = "20260201"', "prices.a[0].from"),
        ("[[prices.a]]\ninput = 1\n[[prices.a]]\ninput = 2", "prices"),
        ("prices.a = 3", "prices.a"),
        ('[keys]\nendpoints = ["/v1/chat"]', "keys.endpoints"),
    ],
)
def test_a_price_that_cannot_be_is_a_fault(text: str, path: str):
    with pytest.raises(SettingsError) as caught:
        read(Config, tomllib.loads(text if text.startswith("prices") else MIRROR + text))
    assert path in [fault.path for fault in caught.value.faults]
