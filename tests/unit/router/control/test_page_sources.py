"""Visitors are told apart as clients of the API are; models and terms come from the settings."""

from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from dashboard.common.sources import Offer
from monitor.common.settings import read
from monitor.health.snapshot import HealthSnapshot, MirrorHealth, State
from router.admission.client_address import parse
from router.control.page_sources import PageSources
from router.control.sections import Config
from router.forwarding.config import RouterConfig
from tests.testkit.dashboard import NOW


def view_of(**router: Any) -> PageSources:
    config = SimpleNamespace(router=read(RouterConfig, router))
    nothing: Any = None
    configuration: Any = SimpleNamespace(current=SimpleNamespace(config=config))
    return PageSources(configuration, *[nothing] * 7)


def key(address: str) -> bytes:
    client = parse(address)
    assert client is not None
    return client.key


@pytest.mark.parametrize(
    ("address", "fields", "asking", "proxied"),
    [
        ("10.0.0.1", [("X-Forwarded-For", "192.0.2.1")], "192.0.2.1", True),
        ("10.0.0.1", [("X-Forwarded-For", "6.6.6.6, 192.0.2.1, 10.0.0.2")], "192.0.2.1", True),
        (
            "10.0.0.1",
            [("X-Forwarded-For", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")],
            "192.0.2.1",
            True,
        ),
        ("::ffff:10.0.0.1", [("X-Forwarded-For", "2001:db8::7")], "2001:db8::1234", True),
        ("10.0.0.1", [("X-Forwarded-For", "junk\udcff")], "10.0.0.1", True),
        ("10.0.0.1", [], "10.0.0.1", True),
        ("203.0.113.1", [("X-Forwarded-For", "192.0.2.1")], "203.0.113.1", False),
    ],
)
def test_a_trusted_proxy_says_who_asks(address, fields, asking, proxied):
    view = view_of(trusted_proxies=["10.0.0.0/8"])
    assert view.visitor(address, CIMultiDict(fields))[:2] == (key(asking), proxied)


def test_a_connection_is_its_peers_or_a_proxys():
    view = view_of(trusted_proxies=["10.0.0.0/8"])
    assert view.visitor("10.0.0.1", None)[:2] == (key("10.0.0.1"), True)
    assert view.visitor("192.0.2.1", None)[:2] == (key("192.0.2.1"), False)


def test_the_field_is_the_one_of_the_configuration_in_effect():
    view = view_of(trusted_proxies=["10.0.0.0/8"], client_ip_header="cf-connecting-ip")
    fields = CIMultiDict({"CF-Connecting-IP": "192.0.2.1", "X-Forwarded-For": "6.6.6.6"})
    assert view.visitor("10.0.0.1", fields).key == key("192.0.2.1")
    configuration: Any = view._configuration
    configuration.current.config.router = read(RouterConfig, {})
    assert view.visitor("10.0.0.1", fields)[:2] == (key("10.0.0.1"), False)


def source_of(mirrors: dict[str, dict[str, Any]], health: list[MirrorHealth], **more: Any) -> Any:
    """The sources of a configuration with these mirrors by id."""
    listed = [{"id": name, "url": f"https://{name}.example", **m} for name, m in mirrors.items()]
    config = read(Config, {"mirrors": listed, **more})
    nothing: Any = None
    configuration: Any = SimpleNamespace(current=SimpleNamespace(config=config))
    board: Any = SimpleNamespace(
        current=HealthSnapshot(1, 0.0, "here", {one.id: one for one in health})
    )
    unused = (nothing,) * 6
    return PageSources(configuration, board, *unused, lambda: NOW)


def test_models_are_those_of_the_mirrors_in_rotation_with_todays_prices():
    sources = source_of(
        {
            "up": {"model_map": {"mine": "gpt-4o"}},
            "fixed": {"models": ["o3"]},
            "down": {},
            "off": {"enabled": False},
        },
        [
            MirrorHealth("up", State.up, models=("gpt-4o", "whisper-1")),
            MirrorHealth("fixed", State.up, models=("o3", "unsold")),
            MirrorHealth("down", State.down, models=("lost",)),
            MirrorHealth("off", State.up, models=("hidden",)),
        ],
        prices={
            "gpt-4o*": {"input": 2.5, "cached_input": 1.25, "output": 10.0, "note": "list price"},
            "o3": [{"input": 10.0}, {"from": "2026-11-22", "input": 2.0}],
            "whisper-1": {"audio_minute": 0.006},
        },
    )
    assert list(sources.offers()) == [
        Offer("gpt-4o", "2.50", "1.25", "10.00", note="list price"),
        Offer("mine"),
        Offer("o3", "10.00"),
        Offer("whisper-1", audio_minute="0.006"),
    ]


def test_terms_are_the_settings_in_effect():
    sources = source_of(
        {"a": {}},
        [],
        router={"callers": ["issued"], "stream": {"keepalive_style": "off"}, "max_body": "1MiB"},
        limits={"connections": 3, "by": "key", "ban": {"for": "2h"}},
        keys={"prefix": "hk-"},
    )
    terms = sources.terms()
    assert (terms.callers, terms.keepalive, terms.max_body) == (("issued",), 0, 1 << 20)
    assert (terms.connections, terms.counted_by_key, terms.ban_for) == (3, True, 7200)
    assert terms.key_prefix == "hk-"
