"""The admin API of issued keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from dashboard.admin.app import build_admin_app
from monitor.common.keys import KeyOrder
from tests.testkit.dashboard import (
    NOW,
    FakeCommands,
    FakeSources,
    ask,
    serving,
    serving_on_unix_socket,
)


@pytest.fixture
def commands() -> FakeCommands:
    return FakeCommands()


@pytest.fixture
async def socket(commands: FakeCommands, tmp_path: Path) -> AsyncIterator[ClientSession]:
    app = build_admin_app(FakeSources(), commands, trusted=True, clock=lambda: NOW)
    async with serving_on_unix_socket(app, tmp_path / "admin.sock") as client:
        yield client


async def test_a_key_is_created_and_told_once(socket: ClientSession, commands: FakeCommands):
    order = {"name": " lab ", "quota": "12.50", "tokens": 5, "rate": 2, "models": ["o3", "gpt-4*"]}
    order["expires_at"] = "2030-01-01T08:00:00+08:00"
    async with socket.post("/api/admin/keys", json=order) as response:
        assert response.status == 201
        assert response.headers["cache-control"] == "no-store"
        told = await response.json()
    (name, made, by) = commands.told[0]
    assert made == KeyOrder("lab", 12_500_000_000, 5, 2.0, ("o3", "gpt-4*"), 1893456000.0)
    assert (name, by.origin.startswith("the socket")) == ("create_key", True)
    assert told["key"] == "mg-" + "x" * 48
    assert (told["id"], told["state"], told["quota"], told["left"]) == (
        "k1",
        "active",
        *["12.50"] * 2,
    )
    assert told["expires_at"] == "2030-01-01T00:00:00Z"
    assert told["notes"] == ["no mirror lends its key"]
    assert "digest" not in told


async def test_a_key_needs_a_name_only(socket: ClientSession, commands: FakeCommands):
    nothing = dict.fromkeys(("quota", "tokens", "rate", "models", "expires_at"))
    for order in ({"name": "n"}, {"name": "n", **nothing}):
        status, told = await ask(socket, "POST", "/api/admin/keys", json=order)
        assert status == 201
        assert (told["quota"], told["left"], told["expires_at"]) == (None, None, None)
    assert [made for _, made, _ in commands.told] == [KeyOrder("n")] * 2


async def test_keys_are_listed_with_their_use(socket: ClientSession, commands: FakeCommands):
    status, told = await ask(socket, "GET", "/api/admin/keys?days=7")
    assert (status, told["days"]) == (200, 7)
    (key,) = told["keys"]
    assert (key["name"], key["used"], key["used_tokens"]) == ("学生", "0.0015", 120)
    assert (key["left"], key["left_tokens"]) == ("9.9985", None)
    assert key["recent"] == {"requests": 3, "tokens": 120, "cost": "0.0015"}
    assert key["use"] == [
        {
            "day": "2026-11-21",
            "model": "gpt-4o",
            "basis": "usage",
            "requests": 3,
            "input_tokens": 100,
            "cached_tokens": 40,
            "output_tokens": 20,
            "images": 0,
            "audio_ms": 0,
            "characters": 0,
            "cost": "0.0015",
        }
    ]
    assert not {"key", "digest"} & key.keys()
    await ask(socket, "GET", "/api/admin/keys")
    assert commands.told == [("keys", 7), ("keys", 30)]


async def test_a_key_is_topped_up_and_revoked(socket: ClientSession, commands: FakeCommands):
    status, told = await ask(socket, "POST", "/api/admin/keys/k1/topup", json={"quota": "5"})
    assert (status, told["quota"]) == (200, "5.00")
    status, told = await ask(socket, "DELETE", "/api/admin/keys/k1")
    assert (status, told["state"], told["revoked_by"]) == (200, "revoked", "alice")
    assert [each[:-1] for each in commands.told] == [
        ("top_up_key", "k1", 5 * 10**9, None),
        ("revoke_key", "k1"),
    ]


async def test_a_key_that_is_not_there_is_not_found(socket: ClientSession, commands: FakeCommands):
    for method, path in (("DELETE", "k2"), ("POST", "k2/topup")):
        status, told = await ask(socket, method, f"/api/admin/keys/{path}", json={"tokens": 1})
        assert status == 404
        assert 'no key "k2"' in told["error"]["message"]
    assert commands.told == []


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("", b"{}", "name"),
        ("", b'{"name": 5}', "name"),
        ("", b'{"name": "n", "quota": 12.5}', "quota"),
        ("", b'{"name": "n", "quota": "0"}', "quota"),
        ("", b'{"name": "n", "tokens": "5"}', "tokens"),
        ("", b'{"name": "n", "tokens": true}', "tokens"),
        ("", b'{"name": "n", "tokens": 0}', "tokens"),
        ("", b'{"name": "n", "rate": "5"}', "rate"),
        ("", b'{"name": "n", "rate": NaN}', "rate"),
        ("", b'{"name": "n", "rate": 0}', "rate"),
        ("", b'{"name": "n", "models": "o3"}', "models"),
        ("", b'{"name": "n", "models": ["a,b"]}', "models"),
        ("", b'{"name": "n", "expires_at": 5}', "expires_at"),
        ("", b'{"name": "n", "expires_at": "2030-01-01"}', "expires_at"),
        ("", b'{"name": "n", "expires_at": "2020-01-01T00:00:00Z"}', "expires_at"),
        ("", b'{"name": "n", "limit": 5}', "limit"),
        ("/k1/topup", b"{}", "quota"),
        ("/k1/topup", b'{"quota": "-1"}', "quota"),
        ("/k1/topup", b'{"rate": 1}', "rate"),
    ],
)
async def test_bad_input_is_refused_with_one_sentence_and_nothing_done(
    socket: ClientSession, commands: FakeCommands, path: str, body: bytes, named: str
):
    status, told = await ask(socket, "POST", f"/api/admin/keys{path}", data=body)
    assert status == 400
    assert named in told["error"]["message"]
    assert "\n" not in told["error"]["message"]
    assert commands.told == []


@pytest.mark.parametrize("days", ["0", "x", "99999", "-1"])
async def test_days_are_a_number(socket: ClientSession, days: str):
    status, told = await ask(socket, "GET", f"/api/admin/keys?days={days}")
    assert (status, "days" in told["error"]["message"]) == (400, True)


async def test_there_are_no_keys_over_tcp(commands: FakeCommands):
    app = build_admin_app(FakeSources(), commands, trusted=False, clock=lambda: NOW)
    async with serving(app) as client:
        for method in ("GET", "POST"):
            assert (await ask(client, method, "/api/admin/keys"))[0] == 404
    assert commands.told == []
