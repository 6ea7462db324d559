"""Settings: values as people write them, faults as people can use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.common import validators
from monitor.common.config import MirrorConfig, StoreConfig, mirror_faults
from monitor.common.settings import (
    Duration,
    Fault,
    SettingsError,
    Size,
    collect,
    parse_duration,
    parse_size,
    read,
    setting,
)
from monitor.notify.config import NotifyConfig

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Inner:
    """A table within a table."""

    depth: int = setting(1, "how deep", check=validators.at_least(0))


@dataclass(frozen=True)
class Example:
    """One setting of every kind."""

    name: str = setting(doc="required")
    on: bool = setting(True)
    number: int = setting(1)
    ratio: float = setting(0.5, check=validators.between(0, 1))
    wait: Duration = setting(1.0)
    room: Size = setting(1)
    colour: Literal["red", "green"] = setting("red")
    words: tuple[str, ...] = setting(())
    choices: tuple[Literal["a", "b"], ...] = setting(("a",))
    names: dict[str, str] = setting({})
    inner: Inner = setting(Inner)
    many: tuple[Inner, ...] = setting(())
    by_key: dict[str, Inner] = setting({})
    token: str = setting("", check=validators.header_safe, secret=True)
    for_: str = setting("", "a keyword of Python")

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.name == "two" and self.number != 2:
            yield "number", "must be 2"


def faults_of(cls: type[Any], table: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(cls, table)
    return [str(fault) for fault in caught.value.faults]


def test_a_table_becomes_a_dataclass_with_every_kind_of_value():
    built = read(
        Example,
        {
            "name": "x",
            "on": False,
            "number": 3,
            "ratio": 1,
            "wait": "2m",
            "room": "4KiB",
            "colour": "green",
            "words": ["a", "b"],
            "choices": ["b", "a"],
            "names": {"zh": "名"},
            "inner": {"depth": 4},
            "many": [{"depth": 5}, {}],
            "by_key": {"k": {"depth": 6}},
            "for": "now",
        },
    )
    assert built == Example(
        name="x",
        on=False,
        number=3,
        ratio=1.0,
        wait=120.0,
        room=4096,
        colour="green",
        words=("a", "b"),
        choices=("b", "a"),
        names={"zh": "名"},
        inner=Inner(4),
        many=(Inner(5), Inner(1)),
        by_key={"k": Inner(6)},
        for_="now",
    )
    assert isinstance(built.ratio, float)


def test_missing_settings_get_defaults_that_are_not_shared():
    one, two = read(Example, {"name": "x"}), read(Example, {"name": "y"})
    assert one.wait == 1.0
    assert one.inner == Inner()
    assert one.names == {}
    assert one.names is not two.names


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("on", 1, "expected true or false, got 1"),
        ("on", "true", 'expected true or false, got "true"'),
        ("number", True, "expected a whole number, got true"),
        ("number", 1.5, "expected a whole number, got 1.5"),
        ("number", "1", 'expected a whole number, got "1"'),
        ("ratio", True, "expected a number, got true"),
        ("ratio", float("nan"), "expected a number, got nan"),
        ("ratio", float("inf"), "expected a number, got inf"),
        ("ratio", "0.5", 'expected a number, got "0.5"'),
        ("ratio", 10**400, f"expected a number, got 1{'0' * 76}…"),
        ("ratio", 1.5, "expected 0 to 1, got 1.5"),
        ("name", 5, "expected a string, got 5"),
        ("name", ["x"], "expected a string, got a list"),
        ("colour", "blue", 'expected one of "red", "green", got "blue"'),
        ("colour", {}, 'expected one of "red", "green", got a table'),
        ("words", "a", 'expected a list, got "a"'),
        ("names", ["a"], "expected a table, got a list"),
        ("inner", 5, "expected a table, got 5"),
        ("wait", True, "expected a duration, got true"),
        ("wait", -1, "expected a duration, got -1"),
        ("wait", float("nan"), "expected a duration, got nan"),
        ("wait", [], "expected a duration, got a list"),
        ("wait", "1y", 'expected a duration such as 30, "30s", "5m" or "2h", got "1y"'),
        ("room", 1.5, "expected a size, got 1.5"),
        ("room", "4MB", 'expected a size such as 4096 or "4MiB", got "4MB"'),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(key: str, value: object, message: str):
    assert faults_of(Example, {"name": "x", key: value}) == [f"{key}: {message}"]


def test_every_fault_is_found_at_once_unknown_names_first_missing_ones_last():
    table = {
        "wait": "soon",
        "nmae": "x",
        "many": [{}, {"depth": -1}],
        "by_key": {"gpt-4.1": {"depth": "deep"}},
        "choices": ["a", "c"],
    }
    assert faults_of(Example, table) == [
        'nmae: unknown setting, did you mean "name"?',
        'wait: expected a duration such as 30, "30s", "5m" or "2h", got "soon"',
        'choices[1]: expected one of "a", "b", got "c"',
        "many[1].depth: expected at least 0, got -1",
        'by_key."gpt-4.1".depth: expected a whole number, got "deep"',
        "name: is required",
    ]


def test_an_unknown_setting_far_from_every_name_gets_no_guess():
    assert faults_of(Example, {"name": "x", "zzzzzz": 1}) == ["zzzzzz: unknown setting"]


def test_rules_between_settings_are_checked_once_each_alone_is_valid():
    assert faults_of(Example, {"name": "two"}) == ["number: must be 2"]
    assert faults_of(Example, {"name": "two", "on": 0}) == ["on: expected true or false, got 0"]


def test_a_path_before_the_table_stands_in_front_of_every_fault():
    with pytest.raises(SettingsError, match=r"^a\.b\.name: is required$"):
        read(Example, {}, "a.b")
    with pytest.raises(SettingsError, match=r"^a: expected a table, got 5$"):
        read(Example, 5, "a")


@pytest.mark.parametrize("value", ["s3cret with spaces", 5318008, ["s3cret"], {"s3cret": "s3cret"}])
def test_a_fault_never_names_the_value_of_a_secret(value: object):
    (fault,) = faults_of(Example, {"name": "x", "token": value})
    assert fault.startswith("token: expected ")
    assert "s3cret" not in fault
    assert "5318008" not in fault


@pytest.mark.parametrize(
    ("cls", "table"),
    [
        (MirrorConfig, {"id": "a", "url": "https://a.example", "api_key": "s3cret s3cret"}),
        (MirrorConfig, {"id": "a", "url": "https://user:s3cret@a.example"}),
        (MirrorConfig, {"id": "a", "url": "htp://user:s3cret@a.example:99999"}),
        (NotifyConfig, {"url": "htps://hooks.example.com/s3cret"}),
        (StoreConfig, {"url": "mysql://me:s3cret@db/x"}),
    ],
)
def test_the_real_secrets_are_declared_as_such(cls: type[Any], table: dict[str, object]):
    assert not any("s3cret" in fault for fault in faults_of(cls, table))


def test_a_fault_is_one_line_whatever_the_configuration_contains():
    (fault,) = faults_of(Example, {"name": "x", "colour": "a\nmirrors[0]: fine\x1b[2J\u2028"})
    assert fault.isprintable()
    assert "\\u000a" in fault


def test_long_values_are_cut():
    (fault,) = faults_of(Example, {"name": "x", "colour": "y" * 5000})
    assert len(fault) < 150


def test_a_webhook_may_carry_its_token_in_the_query():
    url = "https://oapi.dingtalk.example/robot/send?access_token=abc"
    assert read(NotifyConfig, {"url": url}).url == url


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_a_duration_is_its_amount_in_its_unit(amount: int, unit: str):
    assert parse_duration(f"{amount}{unit}") == pytest.approx(amount * UNITS[unit])
    assert parse_duration(f" {amount} {unit} ") == parse_duration(f"{amount}{unit}")


@given(st.integers(0, 10**6))
def test_a_size_is_a_whole_number_of_bytes(amount: int):
    assert parse_size(f"{amount}KiB") == amount * 1024
    assert read(Example, {"name": "x", "room": amount}).room == amount


@pytest.mark.parametrize(
    "text", ["", "s", "1", "-1s", "1e3s", "٣s", "1 s s", "inf", "9" * 20 + "d"]
)
def test_invalid_durations_are_refused(text: str):
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
KEYS = st.sampled_from([*Example.__dataclass_fields__, "for", "other"])


@given(st.dictionaries(KEYS, JSON_VALUES))
def test_any_table_is_read_or_refused_with_one_line_per_fault(table: dict[str, object]):
    faults: list[Fault] = []
    built = collect(Example, table, "top", faults)
    assert (built is None) is bool(faults)
    assert all(fault.path.startswith("top.") for fault in faults)
    assert all("\n" not in str(fault) for fault in faults)


@given(st.text(st.characters(codec="ascii"), max_size=3), st.integers(0, 20))
def test_a_url_that_is_taken_holds_nothing_invisible(odd: str, place: int):
    text = "https://a.example/path"
    text = text[:place] + odd + text[place:]
    assert validators.http_url(text) or re.fullmatch("[!-~]+", text)


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("https://api.openai.com", True),
        ("http://127.0.0.1:9001/openai", True),
        ("https://[::1]:8443", True),
        ("htp:/x", False),
        ("api.openai.com", False),
        ("https://", False),
        ("https://a b.com", False),
        (" https://a.com", False),
        ("https://a\n.com", False),
        ("https://a.com:0", False),
        ("https://a.com:99999", False),
        ("https://a.com?x=1", False),
        ("https://a.com#x", False),
        ("https://user@a.com", False),
        ("https://-a.com", False),
        ("https://" + "a" * 254, False),
    ],
)
def test_the_url_of_a_mirror(text: str, fine: bool):
    assert (validators.http_url(text) is None) is fine


def test_a_host_that_is_not_in_ascii_is_told_with_how_to_write_it():
    told = validators.http_url("https://user:secret@例子.example/v1")
    assert told == "expected a URL without query, fragment and credentials"
    told = validators.http_url("https://例子.example/v1")
    assert told == 'expected a host in ASCII: write "xn--fsqu00a.example"'
    assert (
        validators.http_url("https://例..子/v1")
        == 'expected an http(s) URL, got "https://例..子/v1"'
    )


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:0", True),
        ("[::]:8080", True),
        ("0.0.0.0:65535", True),
        ("127.0.0.1", False),
        (":8080", False),
        ("::1:8080", False),
        ("[127.0.0.1]:8080", False),
        ("example.com:80", False),
        ("127.0.0.1:65536", False),
        ("127.0.0.1:٨٠", False),
        ("127.0.0.1:-1", False),
        ("127.0.0.1:" + "1" * 5000, False),
    ],
)
def test_the_address_of_a_listener(text: str, fine: bool):
    assert (validators.listen_address(text) is None) is fine


@pytest.mark.parametrize(
    ("text", "fine"),
    [("/v1/", True), ("/", True), ("/v1", False), ("v1/", False), ("/a/../b/", False), ("", False)],
)
def test_a_path_prefix(text: str, fine: bool):
    assert (validators.path_prefix(text) is None) is fine


def test_mirrors_with_the_same_id_are_told_by_their_places():
    mirrors = tuple(MirrorConfig(id=i, url="https://a.example") for i in ("a", "b", "a", "a"))
    assert list(mirror_faults(mirrors)) == [
        ("mirrors[2].id", '"a" is taken by mirrors[0]'),
        ("mirrors[3].id", '"a" is taken by mirrors[0]'),
    ]


def test_the_parts_of_a_mirrors_url():
    plain = MirrorConfig(id="a", url="https://API.example.com./openai/")
    assert (plain.host, plain.port, plain.base_path) == ("api.example.com", 443, "/openai")
    assert plain.authority == "api.example.com"
    assert plain.label == "a"
    odd = MirrorConfig(id="a", url="http://[::1]:8080", name="甲")
    assert (odd.host, odd.port, odd.base_path, odd.authority) == ("::1", 8080, "", "[::1]:8080")
    assert odd.label == "甲"


def test_a_fault_without_a_path_is_its_message_alone():
    assert str(Fault("", "no file")) == "no file"
    assert str(SettingsError([Fault("a", "x"), Fault("b", "y")])) == "a: x\nb: y"
