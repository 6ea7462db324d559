"""Names that the desk answers to, and forms that it takes for forged."""

import pytest
from multidict import CIMultiDict

from dashboard.admin.gate import forgery, has_token, host_fault
from dashboard.admin.sessions import Sessions

HOSTS = ("admin.example.com", "10.0.0.7")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8082",
        "localhost:8082",
        "[::1]:8082",
        "192.0.2.7",
        "[2001:db8::1]:443",
        "admin.example.com",
        "Admin.Example.com.:8443",
    ],
)
def test_own_names_and_addresses_are_answered(host):
    assert host_fault(host, HOSTS) is None


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example.com:8082",
        "127.0.0.1.evil.example",
        "admin.example.com.evil.example",
        "admin.example.com@evil.example",
        "localhost.evil.example",
        "2130706433",
        "0x7f.1",
        "",
        "admin.example.com, evil.example",
        "[::1]evil.example",
    ],
)
def test_names_that_may_be_anybodys_are_not(host):
    assert host_fault(host, HOSTS)


HOST = "admin.example.com"


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://admin.example.com", "same-origin"),
        ("http://admin.example.com", None),
        ("https://admin.example.com:443", "same-origin"),
        (None, "same-origin"),
    ],
)
def test_forms_of_the_desk_are_taken(origin, site):
    assert forgery(fields(origin, site), HOST) is None


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://evil.example", "cross-site"),
        ("https://evil.example", None),
        ("https://evil.example", "same-origin"),
        ("https://admin.example.com", "cross-site"),
        ("https://admin.example.com", "same-site"),
        ("https://admin.example.com", "none"),
        ("https://admin.example.com:8081", None),
        ("https://admin.example.com.evil.example", None),
        ("https://admin.example.com@evil.example", None),
        ("https://evil.example/admin.example.com", None),
        ("http://[", None),
        ("null", None),
        ("null", "same-origin"),
        ("", None),
        (None, None),
        (None, "cross-site"),
        (None, ""),
    ],
)
def test_forms_from_elsewhere_or_from_nowhere_are_not(origin, site):
    assert forgery(fields(origin, site), HOST)


def test_ports_of_one_host_are_strangers():
    assert forgery(fields("http://127.0.0.1:8081", None), "127.0.0.1:8082")
    assert forgery(fields("http://127.0.0.1:8082", None), "127.0.0.1:8082") is None


@pytest.mark.parametrize("given", ["", "x", "\udcff"])
def test_a_form_needs_the_token_of_its_session(given):
    session, _ = Sessions(lambda: 1.0).begin("hash", "a")
    other, _ = Sessions(lambda: 1.0).begin("hash", "a")
    assert not has_token(session, given)
    assert not has_token(session, other.csrf)
    assert has_token(session, session.csrf)


def fields(origin: str | None, site: str | None) -> CIMultiDict[str]:
    found = {"Origin": origin, "Sec-Fetch-Site": site}
    return CIMultiDict({name: value for name, value in found.items() if value is not None})
