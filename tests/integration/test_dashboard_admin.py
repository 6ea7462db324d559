"""The operators' desk: commands over the Unix socket, and what TCP gives."""

import os
import threading

import pytest
from aiohttp import web

from dashboard.admin import audit
from dashboard.admin.app import build_admin_app
from dashboard.admin.audit import actor
from dashboard.common.config import AdminConfig
from dashboard.common.sources import CommandError
from monitor.common.audit import Actor
from monitor.health.snapshot import Override
from tests.testkit.dashboard import (
    API_KEY,
    CLIENT,
    CONFIG_PROBLEM,
    DETAIL,
    EXPLAINED,
    NOW,
    FakeCommands,
    FakeSources,
    ask,
    serving,
    serving_on_unix_socket,
)

ME = audit.over_the_socket(os.getpid(), os.getuid())


@pytest.fixture
def commands() -> FakeCommands:
    return FakeCommands()


@pytest.fixture
async def socket(commands, tmp_path):
    app = build_admin_app(FakeSources(), commands, trusted=True, clock=lambda: NOW)
    async with serving_on_unix_socket(app, tmp_path / "admin.sock") as client:
        yield client


async def test_status_tells_operators_what_visitors_do_not_learn(socket):
    status, told = await ask(socket, "GET", "/api/admin/status")
    assert status == 200
    assert told["version"] == "0.1.0"
    assert told["config"]["problem"] == CONFIG_PROBLEM
    assert told["workers"][0]["alive"] is True
    nodes = {node["id"]: node for node in told["nodes"]}
    assert nodes["sg"]["detail"] == DETAIL
    assert nodes["us-west"]["wish"] == "maintenance"
    assert nodes["us-west"]["wish_until"] == "2026-11-21T10:00:00Z"
    assert nodes["off"]["enabled"] is False
    assert API_KEY not in str(told)


async def test_explain_tells_of_every_mirror_what_each_worker_thinks_of_it_and_no_key(socket):
    status, told = await ask(socket, "GET", "/api/admin/explain")
    assert (status, told["policy"], told["silent"]) == (200, "p2c", [1])
    mirrors = {mirror["id"]: mirror for mirror in told["mirrors"]}
    assert list(mirrors) == ["hk", "jp", "sg", "us-west", "de", "off"]
    assert mirrors["hk"]["workers"] == {"0": EXPLAINED}
    assert mirrors["hk"]["takes"]["own_key"] == "lent"
    assert mirrors["jp"]["workers"] == {"0": None}
    assert (mirrors["jp"]["in_rotation"], mirrors["sg"]["in_rotation"]) == (True, False)
    assert API_KEY not in str(told)


async def test_the_past_states_of_a_mirror_are_told_newest_first(socket, commands):
    status, told = await ask(socket, "GET", "/api/admin/mirrors/sg/transitions?limit=1")
    assert status == 200
    (change,) = told["transitions"]
    assert (change["at"], change["state"]) == ("2026-11-21T08:59:00Z", "down")
    assert (change["verdict"], change["detail"]) == ("sni_block_rst", DETAIL)
    status, told = await ask(socket, "GET", "/api/admin/mirrors/nowhere/transitions")
    assert (status, told["error"]["message"][:14]) == (404, "there is no mi")
    assert commands.told == [("transitions", "sg", 1)]


async def test_the_configuration_and_the_last_requests_are_told(socket):
    status, told = await ask(socket, "GET", "/api/admin/configuration")
    assert (status, told["file"], told["taken_by"]) == (200, "/etc/x.toml", "alice")
    assert told["settings"][1] == {
        "path": "limits.connections",
        "running": "10",
        "file": "20",
        "differs": True,
        "restart": False,
    }
    status, told = await ask(socket, "GET", "/api/admin/explain?recent=5")
    assert (status, told["requests"][0]["id"]) == (200, "mg_1")
    assert (await ask(socket, "GET", "/api/admin/explain?recent=x"))[0] == 400


async def test_explain_tells_what_became_of_a_request_or_that_nobody_knows_it(socket, commands):
    status, told = await ask(socket, "GET", "/api/admin/explain?request=mg_1")
    assert (status, told["id"], told["silent"]) == (200, "mg_1", [1])
    status, told = await ask(socket, "GET", "/api/admin/explain?request=mg_2")
    assert status == 404
    assert told["error"]["message"].endswith("worker 1 did not answer")
    status, told = await ask(socket, "GET", "/api/admin/explain?request=%0a")
    assert status == 400
    assert commands.told == [("trace", "mg_1"), ("trace", "mg_2")]


async def test_a_reload_tells_what_changed(socket, commands):
    status, told = await ask(socket, "POST", "/api/admin/reload")
    assert (status, told["added"]) == (200, ["kr"])
    assert commands.told == [("reload", ME)]


async def test_a_bad_file_is_told_fault_by_fault(socket, commands):
    commands.fault = CommandError("bad_file", ["mirrors[1].url: expected a URL"])
    status, told = await ask(socket, "POST", "/api/admin/reload")
    assert (status, told["faults"]) == (422, ["mirrors[1].url: expected a URL"])


async def test_a_wish_is_carried_out_and_the_node_told(socket, commands):
    wish = {"wish": "drain", "for": 60}
    status, told = await ask(socket, "POST", "/api/admin/mirrors/hk/wish", json=wish)
    assert (status, told["id"]) == (200, "hk")
    assert commands.told == [("override", "hk", Override.drain, NOW + 60, ME)]


async def test_a_wish_for_an_unknown_mirror_names_those_there_are(socket, commands):
    wish = {"wish": "use"}
    status, told = await ask(socket, "POST", "/api/admin/mirrors/xx/wish", json=wish)
    assert status == 404
    assert "hk, jp" in told["error"]["message"]
    assert commands.told == []


async def test_bans_are_made_listed_lifted_and_prevented(socket, commands):
    body = {"network": "198.51.100.7", "for": 3600, "reason": "spam"}
    status, told = await ask(socket, "POST", "/api/admin/bans", json=body)
    assert (status, told["network"]) == (201, "198.51.100.7/32")
    assert told["until"] == "2026-11-21T10:00:00Z"
    status, told = await ask(socket, "GET", "/api/admin/bans?limit=2")
    assert told["bans"][0]["network"] == f"{CLIENT}/32"
    assert (len(told["bans"]), told["total"]) == (2, 30)
    status, told = await ask(socket, "DELETE", "/api/admin/bans?network=198.51.100.7")
    assert (status, len(told["removed"])) == (200, 1)
    status, told = await ask(
        socket, "POST", "/api/admin/bans/allow", json={"network": "198.51.100.0/24", "for": None}
    )
    assert (status, told["network"]) == (200, "198.51.100.0/24")
    assert commands.told == [
        ("ban", "198.51.100.7/32", 3600.0, "spam", ME),
        ("unban", "198.51.100.7/32", ME),
        ("allow", "198.51.100.0/24", None, ME),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/admin/mirrors/hk/wish", b'{"wish": "sleep"}'),
        ("POST", "/api/admin/mirrors/hk/wish", b'{"wish": "use", "for": -1}'),
        ("POST", "/api/admin/mirrors/hk/wish", b'{"wish": "use", "fro": 1}'),
        ("POST", "/api/admin/bans", b""),
        ("POST", "/api/admin/bans", b'{"network": "0.0.0.0/0"}'),
        ("POST", "/api/admin/bans", b'{"network": "192.0.2.1", "for": "1h"}'),
        ("POST", "/api/admin/bans", b"not json"),
        ("POST", "/api/admin/bans/allow", b"[]"),
        ("DELETE", "/api/admin/bans", None),
        ("GET", "/api/admin/bans?limit=0", None),
        ("GET", "/api/admin/audit?limit=x", None),
        ("GET", "/api/admin/audit?before=-1", None),
    ],
)
async def test_bad_input_is_refused_with_one_sentence_and_nothing_done(
    socket, commands, method, path, body
):
    status, told = await ask(socket, method, path, data=body)
    assert status == 400
    assert "\n" not in told["error"]["message"]
    assert commands.told == []


async def test_a_command_that_fails_says_why(socket, commands):
    commands.fault = CommandError("store", reason="the store is read-only")
    status, told = await ask(socket, "POST", "/api/admin/bans", json={"network": "192.0.2.1"})
    assert (status, told["error"]["message"]) == (409, "the store is read-only")


async def test_the_audit_log_is_told_page_by_page(socket, commands):
    status, told = await ask(socket, "GET", "/api/admin/audit?limit=4")
    assert (status, told["next"]) == (200, 6)
    assert told["entries"][0] == {
        "id": 9,
        "at": "2026-11-21T08:59:51Z",
        "who": "alice",
        "from": "192.0.2.9",
        "what": "change 9",
    }
    _, told = await ask(socket, "GET", "/api/admin/audit?limit=9&before=6")
    assert [entry["id"] for entry in told["entries"]] == [5, 4, 3, 2, 1]
    assert told["next"] is None
    assert commands.told == [("audit", 4, None), ("audit", 9, 6)]


async def test_an_operator_over_tcp_is_known_by_address():
    async def whoami(request: web.Request) -> web.Response:
        return web.json_response(await actor(request))

    app = web.Application()
    app.router.add_get("/whoami", whoami)
    async with serving(app) as client:
        assert await ask(client, "GET", "/whoami") == (200, ["operator", "127.0.0.1"])


async def test_a_directory_that_does_not_answer_holds_no_command_up(socket, commands, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(audit, "LOOK_UP", 0.01)
    monkeypatch.setattr(audit, "over_the_socket", lambda pid, uid: never.wait(30) and ME)
    try:
        await ask(socket, "POST", "/api/admin/reload")
    finally:
        never.set()
    assert commands.told == [
        ("reload", Actor(f"user {os.getuid()}", f"the socket (pid {os.getpid()})"))
    ]


@pytest.mark.parametrize(
    ("login", "told"),
    [
        (None, "the socket (pid 7)"),
        ("4294967295", "the socket (pid 7)"),  # a service has had no login
        ("0", "the socket (pid 7)"),
        ("4000000000", "the socket (pid 7, logged in as user 4000000000)"),
        ("", "the socket (pid 7)"),
    ],
)
def test_an_operator_who_became_another_user_is_known_by_the_login(tmp_path, login, told):
    (tmp_path / "7").mkdir()
    if login is not None:
        (tmp_path / "7" / "loginuid").write_text(login)
    assert audit.over_the_socket(7, 0, tmp_path) == Actor("root", told)


def test_users_and_processes_that_cannot_be_seen_have_no_name(tmp_path):
    assert audit.over_the_socket(0, 0, tmp_path) == Actor("root", "the socket")
    assert audit.over_the_socket(7, 4_000_000_000, tmp_path).who == "user 4000000000"


async def test_too_large_a_body_is_refused(socket):
    status, told = await ask(socket, "POST", "/api/admin/bans", data=b" " * 70000)
    assert (status, told["error"]["message"]) == (413, "the body is too large")


async def test_tcp_has_metrics_and_no_commands(commands):
    app = build_admin_app(FakeSources(), commands, trusted=False, clock=lambda: NOW)
    async with serving(app) as client:
        async with client.get("/metrics") as response:
            assert response.status == 200
        for method, path in [("POST", "/api/admin/reload"), ("GET", "/api/admin/status")]:
            status, _ = await ask(client, method, path)
            assert status == 404
        async with client.get("/metrics", headers={"Host": "rebound.example.com"}) as response:
            assert response.status == 403
    assert commands.told == []


async def test_tcp_with_a_token_wants_the_token(commands):
    sources = FakeSources(admin_=AdminConfig(metrics_token="tok-1"))
    app = build_admin_app(sources, commands, trusted=False)
    async with serving(app) as client:
        status, told = await ask(client, "GET", "/metrics")
        assert status == 401
        assert "Bearer" in told["error"]["message"]
        headers = {"Authorization": "Bearer tok-1"}
        async with client.get("/metrics", headers=headers) as response:
            assert response.status == 200
