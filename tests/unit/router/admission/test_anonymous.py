"""Anonymous callers: no web page of a stranger, and nothing by DNS rebinding."""

from typing import Any

import pytest

from monitor.common.settings import SettingsError, read
from router.admission.anonymous import AnonymousCallers
from router.control.changes import cautions
from router.control.sections import Config
from router.forwarding.config import RouterConfig, WorkerConfig
from router.wire.error_response import Problem

APP = "https://app.example"


def asked(
    look: dict[bytes, bytes] | None = None, proxied: bool = False, **router: Any
) -> Problem | None:
    """The refusal of an anonymous request with these fields; by default to a local listener."""
    table = {
        "router": {"callers": ["anonymous"], "cors_origins": [APP], **router},
        "public_url": "https://Status.example/page",
        "entrances": ["https://api-hk.example:8443/v1", "http://[2001:db8::7]/v1"],
    }
    config = read(WorkerConfig, table)
    settings, urls = config.router, (config.public_url, *config.entrances)
    origins, no_browser = settings.cors_origins, settings.proxy_protocol
    callers = AnonymousCallers(settings.listen, origins, urls, any_host=no_browser)
    return callers.refusal({b"host": b"127.0.0.1:8080", **(look or {})}, proxied)


def test_every_web_page_may_not_be_let_in_at_once():
    with pytest.raises(SettingsError) as raised:
        read(Config, {"router": {"callers": ["anonymous"]}, "mirrors": []})
    (fault,) = raised.value.faults
    assert fault.path == "router.cors_origins"
    read(RouterConfig, {"callers": ["anonymous"], "cors_origins": []})
    read(RouterConfig, {"cors_origins": ["*"]})


@pytest.mark.parametrize("origin", [None, APP.encode()])
def test_programs_and_pages_of_allowed_origins_come_in(origin: bytes | None):
    assert asked({} if origin is None else {b"origin": origin}) is None


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"",
        b"http://app.example",
        b"https://app.example.evil.example",
        b"https://app.example:8443",
        b"HTTPS://APP.EXAMPLE",
        b"https://app.example ",
        b"https://app.example\xe9",
        b"http://127.0.0.1:8080",
        b"*",
    ],
)
@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "0.0.0.0:8080"])
@pytest.mark.parametrize("proxied", [False, True])
def test_pages_of_other_origins_are_refused_wherever_it_listens(
    origin: bytes, listen: str, proxied: bool
):
    problem = asked({b"origin": origin}, proxied, listen=listen)
    assert problem is not None
    assert (problem.status, problem.code) == (403, "origin_not_allowed")
    assert "router.cors_origins" in problem.message


LOOPBACK = (
    b"127.0.0.1",
    b"127.0.0.1:8080",
    b"127.8.9.10:1",
    b"localhost",
    b"LocalHost:9999",
    b"localhost.:80",
    b"mirrorgate.localhost:8080",
    b"[::1]",
    b"[::1]:8080",
    b"[0:0:0:0:0:0:0:1]:8080",
    b"[::ffff:127.0.0.1]:8080",
    b"127.0.0.1 ",
)
OTHERS = (
    b"",
    b"rebound.example",
    b"rebound.example:8080",
    b"127.0.0.1.rebound.example:8080",
    b"localhost.rebound.example",
    b"notlocalhost",
    b"192.168.1.7:8080",
    b"0.0.0.0:8080",
    b"[::]:8080",
    b"[2001:db8::1]:8080",
    b"128.0.0.1",
    b"2130706433",
    b"[::1]x",
    b"[::1].rebound.example",
    b"localhost:80@rebound.example",
    b"127.0.0.1:x.rebound.example",
    b"localhost..",
    b"\xff\xfe",
)


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_local_listener_is_called_by_a_local_name(host: bytes):
    assert asked({b"host": host}) is None


@pytest.mark.parametrize("listen", ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"])
@pytest.mark.parametrize("host", OTHERS)
def test_a_name_that_was_pointed_at_this_machine_is_refused(host: bytes, listen: str):
    problem = asked({b"host": host}, listen=listen)
    assert problem is not None
    assert (problem.status, problem.code) == (403, "host_not_allowed")
    for setting in ("dashboard.public_url", "dashboard.entrances", "router.trusted_proxies"):
        assert setting in problem.message


@pytest.mark.parametrize(
    "host",
    [
        b"status.example",
        b"STATUS.example.:444",
        b"api-hk.example",
        b"api-hk.example:9",
        b"[2001:db8::7]:80",
    ],
)
def test_names_of_the_page_and_of_entrances_are_our_own(host: bytes):
    assert asked({b"host": host}) is None


@pytest.mark.parametrize(
    ("proxied", "router"),
    [
        (True, {}),
        (False, {"proxy_protocol": True}),
        (False, {"listen": "0.0.0.0:8080"}),
        (False, {"listen": "192.0.2.7:8080"}),
        (False, {"listen": "[::]:8080"}),
    ],
)
def test_behind_a_proxy_and_on_other_addresses_any_name_will_do(
    proxied: bool, router: dict[str, Any]
):
    assert asked({b"host": b"api.example"}, proxied, **router) is None


MIRROR = {"id": "a", "url": "https://a.example", "api_key": "sk-x"}
OFF = {"connections": 0, "requests_per_second": 0}


@pytest.mark.parametrize(
    ("callers", "limits", "mirror", "words"),
    [
        (["anonymous"], {}, {}, []),
        (["own"], OFF, {"api_key": ""}, []),
        (["anonymous"], {"connections": 0}, {}, []),
        (["anonymous"], {"allow": ["192.0.2.0/24"]}, {}, []),
        (["anonymous"], OFF, {}, ["[limits]"]),
        (["anonymous"], {"allow": ["::/0"]}, {}, ["[limits]"]),
        (["anonymous"], {}, {"api_key": ""}, ["api_key"]),
        (["anonymous"], {}, {"enabled": False}, ["api_key"]),
        (["anonymous"], OFF, {"api_key": ""}, ["[limits]", "api_key"]),
    ],
)
def test_dangerous_combinations_of_settings_are_reported(
    callers: list[str], limits: dict[str, Any], mirror: dict[str, Any], words: list[str]
):
    router = {"callers": callers, "cors_origins": []}
    config = read(Config, {"router": router, "limits": limits, "mirrors": [{**MIRROR, **mirror}]})
    said = cautions(config)
    assert len(said) == len(words)
    assert all(word in sentence for word, sentence in zip(words, said, strict=True))
