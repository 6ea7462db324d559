"""The base URL that this router names, where a client has taken a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.testkit.data_plane import DataPlane
from tests.testkit.raw_http import get

PROXIED = {"trusted_proxies": ["private"]}
RFC7239 = {"trusted_proxies": ["private"], "client_ip_header": "forwarded"}
ENTRANCES = {"entrances": ["https://hk.example.com/v1", "https://jp.example.com/v1/"]}
PAGE = {"public_url": "https://status.example.com"}


async def message(request: bytes, router: dict[str, Any], **more: Any) -> str:
    async with DataPlane([], router, more) as plane:
        answer = await plane.ask(request)
        assert (answer.status, answer.error["code"]) == (404, "unknown_url")
        text: str = answer.error["message"]
        return text


@pytest.mark.parametrize(
    ("fields", "router", "base"),
    [
        ([], {}, "http://test/v1"),
        (["X-Forwarded-Proto: https"], PROXIED, "https://test/v1"),
        (["X-Forwarded-Proto: http, https"], PROXIED, "https://test/v1"),
        (["X-Forwarded-Proto: HTTPS"], PROXIED, "https://test/v1"),
        (["X-Forwarded-Proto: gopher"], PROXIED, "http://test/v1"),
        (["X-Forwarded-Proto: https"], {}, "http://test/v1"),
        (["Forwarded: for=192.0.2.1;proto=https"], RFC7239, "https://test/v1"),
        (
            ["Forwarded: for=192.0.2.1;proto=https, for=192.0.2.2;proto=http"],
            RFC7239,
            "http://test/v1",
        ),
    ],
)
async def test_the_base_url_is_the_one_that_the_client_called(
    fields: list[str], router: dict[str, Any], base: str
) -> None:
    assert (await message(get("/foo", *fields), router)).endswith(f"The base URL is {base}")


@pytest.mark.parametrize(
    ("host", "base"),
    [
        (b"test", "https://hk.example.com/v1"),
        (b"jp.example.com", "https://jp.example.com/v1"),
        (b"JP.example.com", "https://jp.example.com/v1"),
        (b"evil.example.net", "https://hk.example.com/v1"),
    ],
)
async def test_only_entrances_are_named_where_there_are_some(host: bytes, base: str) -> None:
    request = get("/foo").replace(b"Host: test", b"Host: " + host)
    assert (await message(request, {}, **ENTRANCES, **PAGE)).endswith(f"The base URL is {base}")


async def test_without_entrances_the_status_page_is_named_if_there_is_one() -> None:
    told = await message(get("/foo"), {}, **PAGE)
    assert told.endswith("How to use this router: https://status.example.com")
    assert "test/v1" not in told


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1?x=1"])
async def test_the_base_url_itself_greets(path: str) -> None:
    async with DataPlane([], {}, ENTRANCES) as plane:
        answer = await plane.ask(get(path))
        assert answer.status == 200
        assert b"https://hk.example.com/v1" in answer.body
    async with DataPlane([], {}, PAGE) as plane:
        answer = await plane.ask(get(path))
        assert (answer.status, answer["location"]) == (302, PAGE["public_url"])
