"""Visitors of the pages are told apart as clients of the API are."""

from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict

from monitor.common.settings import read
from router.admission.client_address import parse
from router.control.page_sources import PageSources
from router.forwarding.config import RouterConfig


def view_of(**router: Any) -> PageSources:
    config = SimpleNamespace(router=read(RouterConfig, router))
    nothing: Any = None
    configuration: Any = SimpleNamespace(current=SimpleNamespace(config=config))
    return PageSources(configuration, *[nothing] * 8)


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
