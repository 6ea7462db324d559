"""The command line: what it says, where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import ModuleType
from typing import Any

import pytest

from monitor.common.compiled import form
from monitor.common.durations import ago, duration, roughly, until
from monitor.common.log_writer import flush_all
from monitor.common.logs import writer_of
from router.cli import main
from router.cli.commands.init import ids_of, mirrors_of
from router.cli.commands.status import traffic
from router.cli.console import Console, aligned, width
from router.control.document import load

MIRROR = '[[mirrors]]\nid = "hk"\nurl = "https://a.example"\n'


@dataclass
class Running:
    """A pretend instance: answers what it was told to, remembers what it was asked."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MIRRORGATE_CONFIG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    instance = Running()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            instance.asked.append((self.command, self.path, body))
            status, answer = instance.answers[f"{self.command} {self.path.partition('?')[0]}"]
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    Path("config.toml").write_text(MIRROR)
    with ThreadingUnixStreamServer(str(tmp_path / "mirrorgate.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield instance
        server.shutdown()
        thread.join()


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    try:
        code = main.main(argv)
    except SystemExit as exit:
        code = int(exit.code or 0)
    return (code, *capsys.readouterr())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "mirrorgate: the following arguments are required: COMMAND: see `mirrorgate --help`"),
        (["statu"], 'mirrorgate: there is no command "statu", did you mean "status"?'),
        (["bans", "ad"], 'mirrorgate: there is no command "ad", did you mean "add"?'),
        (["xyzzy"], 'mirrorgate: there is no command "xyzzy", there are: init, run, check'),
        (["maintenance", "hk", "--for", "soon"], 'expected a duration such as 30, "30s"'),
        (["maintenance", "hk", "--for", "0"], 'expected a duration of more than 0, got "0"'),
        (["bans", "add", "1.2.3"], "expected an address or a network"),
        (["bans", "list", "--limit", "0"], "expected a number from 1 to 10000"),
        (["bans", "remove"], "IP"),
        (["bans", "remove", "192.0.2.1", "--all"], "not allowed with"),
        (["enable", "hk", "--for", "1h"], "unrecognized arguments: --for 1h"),
        (["check", "--conf", "x"], "unrecognized arguments: --conf x"),
    ],
)
def test_bad_usage_is_one_sentence_on_stderr_and_exit_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
):
    code, out, err = said(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert "--help" in err


@pytest.mark.parametrize("argv", [["check"], ["status"], ["run"], ["reload"], ["bans", "list"]])
def test_without_a_configuration_each_command_says_how_to_get_one(
    capsys: pytest.CaptureFixture[str], argv: list[str]
):
    code, out, err = said(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("there is no configuration file")
    assert "mirrorgate init URL" in err


@pytest.mark.parametrize("command", [*main.command_names(), "bans list", "bans add"])
def test_every_command_has_help_with_config(capsys: pytest.CaptureFixture[str], command: str):
    code, out, err = said(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert "--config FILE" in out


@pytest.mark.parametrize("arguments", [("help", "init"), ("help",), ("check", "--json")])
def test_a_result_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...]
):
    (tmp_path / "config.toml").write_text(MIRROR)
    with Path("/dev/full").open("w") as full:
        ended = _run(arguments, tmp_path, stdout=full)
    assert ended.returncode == 1
    assert ended.stderr == "mirrorgate: the result cannot be written: No space left on device\n"


def test_a_caller_may_have_closed_the_output(tmp_path: Path):
    ended = _run(("help", "init"), tmp_path, preexec_fn=partial(os.close, 1))
    assert (ended.returncode, ended.stderr) == (0, "")


def _run(arguments: tuple[str, ...], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "router", *arguments)
    return subprocess.run(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, check=False, **more
    )


def test_a_key_that_could_not_be_shown_is_named_so_that_it_can_be_revoked(tmp_path: Path):
    (tmp_path / "config.toml").write_text(MIRROR)
    with Path("/dev/full").open("w") as full:
        ended = _run(("keys", "create", "--name", "x"), tmp_path, stdout=full)
    assert ended.returncode == 1
    (key,) = json.loads(_run(("keys", "list", "--json"), tmp_path, stdout=subprocess.PIPE).stdout)[
        "keys"
    ]
    assert f"`mirrorgate keys revoke {key['id']}`" in ended.stderr


def test_the_version(capsys: pytest.CaptureFixture[str]):
    assert said(capsys, "--version") == (0, f"mirrorgate 0.1.0, {form}\n", "")


def test_a_good_file_is_fine_and_what_is_probably_not_meant_is_noted(
    capsys: pytest.CaptureFixture[str],
):
    Path("config.toml").write_text(MIRROR.replace("a.example", "a.example/v1"))
    code, out, err = said(capsys, "check")
    assert (code, out) == (0, "config.toml is fine: 1 mirror\n")
    assert err.splitlines() == [
        'note: mirrors[0].url ends in "/v1": requests would go to /v1/v1/…',
    ]


def test_check_says_one_line_per_fault_and_exits_2(capsys: pytest.CaptureFixture[str]):
    Path("other.toml").write_text(MIRROR + MIRROR.replace("https://a.example", "htp:/x"))
    code, out, err = said(capsys, "check", "--config", "other.toml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        'mirrors[1].url: expected an http(s) URL, got "htp:/x"',
        'mirrors[1].id: "hk" is taken by mirrors[0]',
    ]


def test_check_gives_its_faults_as_json(capsys: pytest.CaptureFixture[str]):
    Path("config.toml").write_text("[routr]")
    code, out, err = said(capsys, "check", "--json")
    assert (code, err) == (2, "")
    found = json.loads(out)
    assert found["ok"] is False
    assert found["faults"][0] == {
        "path": "routr",
        "message": 'unknown setting, did you mean "router"?',
    }


def test_the_configuration_may_be_named_before_the_command_and_by_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    Path("named.toml").write_text(MIRROR)
    assert said(capsys, "--config", "named.toml", "check")[0] == 0
    monkeypatch.setenv("MIRRORGATE_CONFIG", "named.toml")
    assert said(capsys, "check")[0] == 0
    assert said(capsys, "check", "--config", "missing.toml")[0] == 2


@pytest.mark.parametrize(
    "argv",
    [["status"], ["reload"], ["drain", "hk"], ["bans", "list"], ["bans", "add", "192.0.2.1"]],
)
def test_with_no_instance_running_a_command_says_so_and_exits_1(
    capsys: pytest.CaptureFixture[str], argv: list[str], tmp_path: Path
):
    Path("config.toml").write_text(MIRROR)
    code, out, err = said(capsys, *argv)
    assert (code, out) == (1, "")
    assert err == (
        f"mirrorgate: no instance is running (nobody answers at {tmp_path}/mirrorgate.sock): "
        "start one: `mirrorgate run`\n"
    )


STATUS = {
    "version": "0.1.0",
    "pid": 7,
    "uptime_seconds": 93784,
    "config": {"file": "/etc/c.toml", "problem": "mirrors[0].url: bad"},
    "workers": [
        {"slot": 0, "pid": 8, "alive": True, "form": "compiled"},
        {"slot": 1, "pid": 9, "alive": False, "form": "compiled"},
    ],
    "nodes": [
        {
            "id": "hk",
            "name": "香港",
            "state": "up",
            "since": "2020-01-01T00:00:00Z",
            "verdict": "ok",
            "in_rotation": True,
            "vantages": {"sh": {"latency_ms": {"first_byte": 180.4}}, "bj": {"latency_ms": {}}},
            "wish": "use",
            "detail": "",
        },
        {
            "id": "us",
            "name": "us",
            "state": "down",
            "since": None,
            "verdict": "sni_blocked",
            "in_rotation": False,
            "vantages": {},
            "wish": "drain",
            "detail": "TLS is cut\nafter the name \x1b]0;x\x07",
        },
    ],
    "store": {"problem": "m.db: it was replaced while in use"},
    "restart_needed": ["router.listen"],
}


def test_status_is_a_table_whose_columns_line_up(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["GET /api/admin/status"] = (200, STATUS)
    code, out, err = said(capsys, "status")
    assert code == 0
    summary, header, *rows = out.splitlines()
    assert summary == "mirrorgate 0.1.0, compiled, process 7, up 1d 2h, 1 of 2 workers alive"
    starts = [header.index(name) for name in ("STATE", "FIRST BYTE", "WHY")]
    assert rows[0].split()[:3] == ["hk", "香港", "up"]
    assert "180 ms" in rows[0]
    assert [rows[1][start - 1] for start in starts] == [" "] * 3
    assert rows[1][starts[0] :].startswith("down")
    assert rows[0][starts[0] - 2 :].startswith("up")  # two characters take four columns
    assert "no (drain)" in rows[1]
    assert rows[1].endswith("TLS is cut?after the name ?]0;x?")
    assert err.splitlines() == [
        "/etc/c.toml is not in use: mirrors[0].url: bad",
        "the store cannot be written: m.db: it was replaced while in use",
        "changed, but only in effect after a restart: router.listen",
    ]


def test_the_end_of_a_wish_is_shown():
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    node = {"wish": "maintenance", "wish_until": "2026-11-29T12:42:00Z"}
    assert traffic(node, now) == "no (maintenance, for 42m)"
    assert traffic({"wish": "maintenance", "wish_until": None}, now) == "no (maintenance)"


def test_the_end_of_the_time_for_which_a_mirror_is_left_alone_is_shown():
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    node = {"in_rotation": False, "held_until": "2026-11-29T12:03:00Z"}
    assert traffic(node, now) == "no (left alone, for 3m)"
    assert traffic({**node, "held_until": None}, now) == "no"


def test_status_as_json_is_what_the_instance_said(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["GET /api/admin/status"] = (200, STATUS)
    code, out, err = said(capsys, "status", "--json")
    assert (code, json.loads(out), err) == (0, STATUS, "")


def test_reload_says_what_changed(capsys: pytest.CaptureFixture[str], running: Running):
    running.answers["POST /api/admin/reload"] = (
        200,
        {"added": ["us"], "removed": [], "changed": ["hk", "jp"], "restart": ["router.listen"]},
    )
    code, out, err = said(capsys, "reload")
    assert (code, out) == (0, "added: us\nchanged: hk, jp\n")
    assert err == "router.listen takes effect after a restart\n"
    running.answers["POST /api/admin/reload"] = (200, {"added": [], "removed": [], "changed": []})
    assert said(capsys, "reload") == (0, "reloaded: nothing differs\n", "")


def test_a_reload_of_a_bad_file_exits_2_with_its_faults(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["POST /api/admin/reload"] = (422, {"faults": ["mirrors[1].url: bad"]})
    code, out, err = said(capsys, "reload")
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == "mirrors[1].url: bad"
    assert "nothing was changed" in err


def test_wishes_go_to_the_instance(capsys: pytest.CaptureFixture[str], running: Running):
    running.answers["POST /api/admin/mirrors/hk/wish"] = (200, {"id": "hk", "wish": "x"})
    running.answers["GET /api/admin/status"] = (200, {"nodes": []})
    assert said(capsys, "drain", "hk") == (0, "hk gets no new requests\n", "")
    assert said(capsys, "maintenance", "hk", "--for", "90m")[1] == "hk is in maintenance for 90m\n"
    assert said(capsys, "enable", "hk")[1] == "hk is used again\n"
    assert [body for method, _, body in running.asked if method == "POST"] == [
        {"wish": "drain", "for": None},
        {"wish": "maintenance", "for": 5400.0},
        {"wish": "use", "for": None},
    ]


def test_decisions_in_effect_but_not_yet_written_are_reported(
    capsys: pytest.CaptureFixture[str], running: Running
):
    store = {"problem": "disk full", "unwritten": 2, "queued": 20_000, "dropped_lately": 7}
    status = {**STATUS, "nodes": [], "store": store}
    running.answers["GET /api/admin/status"] = (200, status)
    running.answers["POST /api/admin/mirrors/hk/wish"] = (200, {"written": False})
    running.answers["POST /api/admin/bans"] = (201, {"network": "192.0.2.1", "written": False})
    for argv in (("drain", "hk"), ("bans", "add", "192.0.2.1")):
        code, _, err = said(capsys, *argv)
        assert code == 0
        assert err.startswith("note: this is in effect, but the store cannot be written at present")
    told = said(capsys, "status")[2]
    assert "in effect, but not written yet: 2 bans and overrides" in told
    assert "history has gaps: 7 rows were dropped in the last hour" in told


def test_a_clock_that_differs_from_the_clusters_is_said(
    capsys: pytest.CaptureFixture[str], running: Running
):
    cluster: dict[str, Any] = {"problem": ""}
    running.answers["GET /api/admin/status"] = (200, {**STATUS, "nodes": [], "cluster": cluster})
    for ahead, told in ((3600.0, "1h ahead of"), (-45.0, "45s behind")):
        cluster["clock_ahead"] = ahead
        assert f"the clock here is {told} Valkey's" in said(capsys, "status")[2]
    cluster["clock_ahead"] = 2.0
    assert "the clock here" not in said(capsys, "status")[2]


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", ["drain", "maintenance"])
def test_the_last_mirror_in_rotation_is_taken_out_only_by_who_says_yes(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    running: Running,
    command: str,
):
    nodes = [{"id": "hk", "in_rotation": True}, {"id": "jp", "in_rotation": False}]
    running.answers["GET /api/admin/status"] = (200, {"nodes": nodes})
    running.answers["POST /api/admin/mirrors/hk/wish"] = (200, {})
    running.answers["POST /api/admin/mirrors/jp/wish"] = (200, {})
    code, _, err = said(capsys, command, "hk")
    assert code == 1
    assert err == (
        "mirrorgate: hk is the last mirror in rotation: without it no request can be served; "
        "repeat this with --yes if that is meant\n"
    )
    monkeypatch.setattr("sys.stderr", Terminal())
    for typed, done in (("\n", 1), ("no\n", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        assert main.main([command, "hk"]) == done
    assert said(capsys, command, "jp")[0] == said(capsys, command, "hk", "--yes")[0] == 0
    posts = [path for method, path, _ in running.asked if method == "POST"]
    assert posts == [f"/api/admin/mirrors/{i}/wish" for i in ("hk", "jp", "hk")]


def test_a_start_is_announced_before_the_servers_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    Path("config.toml").write_text(MIRROR)
    seen = []
    loading = ModuleType("router.cli.startup")

    def start(path: Path) -> int:
        assert flush_all()
        seen.append(capfd.readouterr().out)
        return 0

    loading.start = start  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "router.cli.startup", loading)
    writer_of.cache_clear()
    assert main.main(["run"]) == 0
    assert seen == ["mirrorgate 0.1.0 is starting with config.toml\n"]


def test_a_mistyped_mirror_gets_a_suggestion(capsys: pytest.CaptureFixture[str], running: Running):
    running.answers["POST /api/admin/mirrors/hkk/wish"] = (404, {"error": {"message": "no"}})
    running.answers["GET /api/admin/status"] = (200, STATUS)
    code, out, err = said(capsys, "drain", "hkk")
    assert (code, out) == (1, "")
    assert err == 'mirrorgate: there is no mirror "hkk": did you mean "hk"?\n'


def test_an_odd_id_cannot_reach_another_address(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["POST /api/admin/mirrors/..%2F..%2Freload%3Fx/wish"] = (200, {})
    running.answers["GET /api/admin/status"] = (200, STATUS)
    assert said(capsys, "drain", "../../reload?x")[0] == 0


def test_the_audit_log_is_a_table_and_its_rest_is_named(
    capsys: pytest.CaptureFixture[str], running: Running
):
    entry = {
        "id": 7,
        "at": "2026-01-01T00:00:00Z",
        "who": "root",
        "from": "",
        "what": "ban 192.0.2.1/32: a\x1b]0;x",
    }
    running.answers = {"GET /api/admin/audit": (200, {"entries": [entry], "next": 7})}
    code, out, err = said(capsys, "audit", "--limit", "1", "--before", "8")
    assert (code, err) == (0, "there may be more: see it with --before 7\n")
    header, row = out.splitlines()
    assert header.split() == ["WHEN", "WHO", "FROM", "WHAT"]
    assert row.endswith("  root  -     ban 192.0.2.1/32: a?]0;x")
    assert json.loads(said(capsys, "audit", "--json")[1])["entries"] == [entry]
    assert running.asked == [
        ("GET", "/api/admin/audit?limit=1&before=8", None),
        ("GET", "/api/admin/audit?limit=50", None),
    ]


@pytest.mark.parametrize(
    ("content", "said_of_it"),
    [(None, "no instance is running"), (b"", "cannot be read"), (b"x" * 999, "cannot be read")],
)
def test_without_an_instance_and_a_store_there_is_no_audit_log_to_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, said_of_it: str
):
    file = tmp_path / "mirrorgate.db"
    if content is not None:
        file.write_bytes(content)
    (tmp_path / "config.toml").write_text("")
    code, out, err = said(capsys, "audit")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert said_of_it in err
    assert file.exists() is (content is not None)


def test_bans_are_listed_added_removed_and_allowed(
    capsys: pytest.CaptureFixture[str], running: Running
):
    later = (datetime.now(UTC) + timedelta(hours=1, seconds=5)).isoformat()
    ban = {
        "id": "b1",
        "network": "192.0.2.1/32",
        "since": "2026-01-01T00:00:00Z",
        "until": later,
        "reason": "abuse",
        "by": "operator",
        "count": 2,
    }
    running.answers = {
        "GET /api/admin/bans": (200, {"bans": [ban], "total": 3}),
        "POST /api/admin/bans": (201, {**ban, "until": None}),
        "DELETE /api/admin/bans": (200, {"removed": [ban]}),
        "POST /api/admin/bans/allow": (200, {}),
    }
    code, out, err = said(capsys, "bans", "list", "--limit", "1")
    assert code == 0
    assert out.splitlines()[1].startswith("192.0.2.1/32  ")
    assert "(in 1h)" in out
    assert err == "2 more: see them with --limit 3\n"
    added = said(capsys, "bans", "add", "192.0.2.1", "--for", "1h", "--reason", "abuse")
    assert added[:2] == (0, "192.0.2.1/32 is banned until it is removed\n")
    assert said(capsys, "bans", "remove", "192.0.2.1")[1] == "192.0.2.1/32 is no longer banned\n"
    assert said(capsys, "bans", "allow", "2001:db8::/32")[1] == (
        "2001:db8::/32 is not banned, and will not be automatically\n"
    )
    assert running.asked == [
        ("GET", "/api/admin/bans?limit=1", None),
        ("POST", "/api/admin/bans", {"network": "192.0.2.1", "for": 3600.0, "reason": "abuse"}),
        ("DELETE", "/api/admin/bans?network=192.0.2.1", None),
        ("POST", "/api/admin/bans/allow", {"network": "2001:db8::/32", "for": None}),
    ]


def test_nobody_banned_and_nothing_to_remove(capsys: pytest.CaptureFixture[str], running: Running):
    running.answers = {
        "GET /api/admin/bans": (200, {"bans": [], "total": 0}),
        "DELETE /api/admin/bans": (200, {"removed": []}),
    }
    assert said(capsys, "bans", "list") == (0, "nobody is banned\n", "")
    assert said(capsys, "bans", "remove", "--all") == (1, "", "nobody is banned\n")
    assert running.asked[-1] == ("DELETE", "/api/admin/bans?network=all", None)
    code, out, err = said(capsys, "bans", "remove", "192.0.2.9")
    assert (code, out) == (1, "")
    assert "is not banned" in err


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (409, {"error": {"message": "the store is read-only"}}, "the store is read-only"),
        (500, b"oops", "the running instance answered with status 500"),
        (503, [], "the running instance answered with status 503"),
    ],
)
def test_a_refusal_of_the_instance_is_told_and_exits_1(
    capsys: pytest.CaptureFixture[str], running: Running, status: int, answer: Any, message: str
):
    running.answers["GET /api/admin/status"] = (status, answer)
    assert said(capsys, "status") == (1, "", f"mirrorgate: {message}\n")


def test_states_are_coloured_on_a_terminal_only_and_never_with_no_color():
    terminal, plain = Terminal(), io.StringIO()
    assert Console(terminal, plain, {}).state("down") == "\x1b[31mdown\x1b[0m"
    assert Console(terminal, plain, {"NO_COLOR": "1"}).state("down") == "down"
    assert Console(terminal, plain, {"TERM": "dumb"}).state("down") == "down"
    assert Console(plain, plain, {}).state("down") == "down"


def test_wide_characters_and_colours_do_not_shift_columns():
    rows = [("香港", "x"), ("\x1b[31mdown\x1b[0m", "y"), ("e\u0301", "z")]
    assert [width(cell) for cell, _ in rows] == [4, 4, 1]
    assert aligned(rows) == ["香港  x", "\x1b[31mdown\x1b[0m  y", "e\u0301     z"]


def test_init_writes_a_configuration_that_is_valid_even_offline(
    capsys: pytest.CaptureFixture[str], refused: str, tmp_path: Path
):
    code, out, err = said(capsys, "init", f"http://{refused}/v1/", f"http://{refused}")
    assert code == 0
    assert out == "config.toml is written: start with `mirrorgate run`\n"
    assert f"the /v1 belongs to requests, the mirror is http://{refused}" in err
    assert "probing 1 mirror" in err
    (mirror,) = load(tmp_path / "config.toml", {}).config.mirrors
    assert mirror.url == f"http://{refused}"


@pytest.fixture
def refused() -> Iterator[str]:
    """An address where nobody listens, as a port is bound but not listening."""
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def test_init_does_not_overwrite_unless_told_to(
    capsys: pytest.CaptureFixture[str], refused: str, tmp_path: Path
):
    Path("config.toml").write_text("mine")
    code, _, err = said(capsys, "init", f"http://{refused}")
    assert code == 1
    assert "config.toml exists: overwrite it with --force" in err
    assert Path("config.toml").read_text() == "mine"
    Path("config.toml").chmod(0o600)
    assert said(capsys, "init", f"http://{refused}", "--force")[0] == 0
    assert load(tmp_path / "config.toml", {}).config.mirrors
    assert Path("config.toml").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir()) == ["config.toml"]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["init"], 2, "name at least one mirror: mirrorgate init URL"),
        (["init", "a.example", "--callers", "all"], 2, "expected some of own, issued, anonymous"),
        (["init", "a.example", "--api-key", "sk\n1"], 2, "mirrors[0].api_key: "),
        (["init", "htp:/x"], 2, 'expected an http(s) URL, got "htp:/x"'),
        (["init", "a b"], 2, "expected an http(s) URL"),
        (["init", "例子.测试"], 2, 'expected a host in ASCII: write "xn--fsqu00a.xn--0zwm56d"'),
        (["init", "a.example", "--config", "no/c.toml"], 1, "the folder no does not exist"),
    ],
)
def test_init_refuses_what_it_cannot_write(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
):
    got, out, err = said(capsys, *argv)
    assert (got, out) == (code, "")
    assert message in err
    assert os.listdir() == []


def test_init_writes_what_it_is_told_and_checks_it(
    capsys: pytest.CaptureFixture[str], refused: str, tmp_path: Path
):
    told = ("--callers", "issued,own", "--title", 'Mirrors "一"', "--api-key", "env:NOT_SET_HERE")
    code, _, err = said(capsys, "init", f"http://{refused}", "--service", *told)
    assert code == 0
    assert "note: mirrors[0].api_key" in err
    config = load(tmp_path / "config.toml", {"NOT_SET_HERE": "sk-1"}).config
    assert config.router.callers == ("issued", "own")
    assert config.dashboard.title == 'Mirrors "一"'
    assert config.mirrors[0].api_key == "sk-1"
    assert config.admin.socket == "/run/mirrorgate/mirrorgate.sock"
    assert config.store.url == "sqlite:////var/lib/mirrorgate/mirrorgate.db"
    assert Path("config.toml").stat().st_mode & 0o777 == 0o640


def test_mirrors_on_one_host_have_names_that_tell_them_apart(
    capsys: pytest.CaptureFixture[str], refused: str, tmp_path: Path
):
    urls = [f"http://{refused}", f"http://{refused}/{'x' * 120}", "http://[::1]:9"]
    assert said(capsys, "init", *urls)[0] == 0
    names = [mirror.name for mirror in load(tmp_path / "config.toml", {}).config.mirrors]
    assert names == [refused, f"{refused}/{'x' * 120}"[:100], "::1"]


def test_a_key_in_the_file_is_for_its_owner_only(capsys: pytest.CaptureFixture[str], refused: str):
    assert said(capsys, "init", f"http://{refused}", "--api-key", "sk-secret")[0] == 0
    assert Path("config.toml").stat().st_mode & 0o777 == 0o600


def test_init_asks_who_sits_there(monkeypatch: pytest.MonkeyPatch, refused: str, tmp_path: Path):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("sys.stdin", Terminal(f"http://{refused}\nsk-1\n\nMine\n"))
    assert main.main(["init"]) == 0
    config = load(tmp_path / "config.toml", {}).config
    assert [mirror.url for mirror in config.mirrors] == [f"http://{refused}"]
    assert (config.mirrors[0].api_key, config.dashboard.title) == ("sk-1", "Mine")
    assert config.router.callers == ("own", "issued")


def test_ids_come_from_the_telling_part_of_the_host():
    urls = [
        "https://api.openai.com",
        "https://api-hk.example.com",
        "https://hk.one.example",
        "https://hk.two.example",
        "http://127.0.0.1:9001",
        "https://localhost",
        "http://[::1]:80",
    ]
    assert ids_of(urls) == [
        "openai", "api-hk", "hk", "hk-2", "127-0-0-1-9001", "localhost", "1-80",
    ]  # fmt: skip
    console = Console(io.StringIO(), io.StringIO(), {})
    assert [m.url for m in mirrors_of(["a.example", "https://a.example/"], console)] == [
        "https://a.example"
    ]


def test_times_in_words():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert [duration(s) for s in (0.25, 15, 90, 600, 3600, 604800, 1.5)] == [
        "250ms", "15s", "90s", "10m", "1h", "7d", "1500ms",
    ]  # fmt: skip
    assert [roughly(s) for s in (-5, 0, 59, 61, 3600, 90061)] == [
        "0s", "0s", "59s", "1m 1s", "1h", "1d 1h",
    ]  # fmt: skip
    assert ago("2026-01-01T00:00:00Z", now) == "1d"
    assert ago(now.timestamp() - 60, now) == "1m"
    assert ago(None, now) == ago("yesterday", now) == "-"
    assert until(None, now) == "no end"
    assert until("2026-01-02T01:00:00Z", now).endswith("(in 1h)")


def test_a_reader_who_has_enough_is_no_error(tmp_path: Path, running: Running):
    running.answers["GET /api/admin/status"] = (200, {**STATUS, "nodes": STATUS["nodes"] * 5000})  # type: ignore[operator]
    pipe = subprocess.Popen(
        [sys.executable, "-m", "router", "status", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert pipe.stdout is not None
    assert pipe.stderr is not None
    with pipe:
        pipe.stdout.readline()
        pipe.stdout.close()
        assert pipe.stderr.read() == b""
    assert pipe.returncode == 1


SEEN = {
    "id": "hk",
    "why_not": "rate limited",
    "cost": 2.51234,
    "latency": 1.25,
    "oldest": 0.0,
    "network": 0.1,
    "waiting": 1,
    "streaming": 2,
    "success": 0.9,
    "weight": 1.0,
    "ramp": 1.0,
    "failing": 0.0,
    "breaker": {"phase": "closed", "cause": None, "seconds_left": 0, "has_lease": False},
    "limited_seconds": 65.0,
    "keys_limited": 2,
    "refusals": 3,
    "fallback_rank": 0,
}
TAKES = {"callers_keys": "all", "own_key": "lent", "priority": 0, "paths": [], "models": ["a", "b"]}
EXPLAINED = {
    "policy": "p2c",
    "silent": [1],
    "mirrors": [
        {
            "id": "hk",
            "state": "up",
            "in_rotation": True,
            "ejection": None,
            "takes": TAKES,
            "workers": {"0": SEEN, "2": {**SEEN, "why_not": "", "keys_limited": 0, "refusals": 0}},
        },
        {
            "id": "jp",
            "state": "down\x1b[2J",
            "in_rotation": False,
            "ejection": {"cause": "failing", "until": None},
            "takes": {**TAKES, "models": []},
            "workers": {"0": None},
        },
    ],
}
TRACED = {
    "id": "mg_1",
    "began": "2026-11-21T09:00:00Z",
    "seconds": 1.5,
    "method": "POST",
    "path": "/v1/chat/completions",
    "endpoint": "chat",
    "stream": True,
    "mirror": "hk",
    "status": 200,
    "outcome": "success",
    "worker": 1,
    "silent": [],
    "attempts": [
        {"mirror": "jp", "outcome": "connect", "after": 0.0, "seconds": 0.25},
        {"mirror": "hk", "outcome": "success", "after": 0.25, "seconds": 1.25},
    ],
}


def test_explain_shows_a_row_for_each_mirror_and_worker(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["GET /api/admin/explain"] = (200, EXPLAINED)
    code, out, err = said(capsys, "explain")
    assert (code, err) == (0, "worker 1 did not answer within a second\n")
    _, _, first, second, third, _, _, fits, other = out.splitlines()
    assert first.split()[:3] == ["hk", "yes", "0"]
    assert "rate limited for 1m 5s, rate limited for 2 keys, refuses 3 kinds" in first
    assert "2.512" in first
    assert second.split()[:3] == ["2", "yes", "2.512"]
    assert third.startswith("jp  no (ejected, failing, on trial)")
    assert fits.split() == ["hk", "up", "all", "lent", "0", "all", "a", "b"]
    assert "\x1b" not in other


def test_explain_shows_the_attempts_of_a_request(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["GET /api/admin/explain"] = (200, TRACED)
    code, out, err = said(capsys, "explain", "mg_1")
    assert (code, err) == (0, "")
    assert running.asked == [("GET", "/api/admin/explain?request=mg_1", None)]
    head, when, _, *attempts = out.splitlines()
    assert head == "mg_1: POST /v1/chat/completions (chat, stream), worker 1"
    assert when.endswith(", 1.500 s: 200 success from hk")
    assert [line.split() for line in attempts] == [
        ["1", "jp", "0.000", "s", "0.250", "s", "connect"],
        ["2", "hk", "0.250", "s", "1.250", "s", "success"],
    ]
    assert json.loads(said(capsys, "explain", "mg_1", "--json")[1]) == TRACED
