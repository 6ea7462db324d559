"""`mirrorgate doctor`: each thing that can be wrong, made wrong, and told with what to do."""

from __future__ import annotations

import datetime
import json
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trustme

from router.cli.commands import doctor
from router.cli.commands.doctor import BAD, NOTE, OK, skewed
from tests.testkit.ports import free_ports
from tests.unit.router.cli.test_main import Running, in_a_folder_of_its_own, running, said

__all__ = ["in_a_folder_of_its_own", "running"]


def write(more: str = "", mirror: str = "http://127.0.0.1:9", key: str = "") -> None:
    ports = free_ports(3)
    sections = {
        name: f'listen = "127.0.0.1:{port}"'
        for name, port in zip(("router", "dashboard", "admin"), ports, strict=True)
    }
    text = "".join(f"[{name}]\n{line}\n" for name, line in sections.items() if name not in more)
    secret = f'api_key = "{key}"\n' if key else ""
    table = f'[[mirrors]]\nid = "a"\nurl = "{mirror}"\nallow_private = true\n{secret}'
    Path("config.toml").write_text(f"{text}{more}\n{table}")


def found(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, list[Any]]]:
    """Exit code, and the checks by what they are about."""
    code, out, _ = said(capsys, "doctor", "--json", *argv)
    told = json.loads(out)
    assert told["ok"] is (code == 0)
    by_subject: dict[str, list[Any]] = {}
    for check in told["checks"]:
        by_subject.setdefault(check["about"], []).append(check)
        assert check["do"] or check["state"] == OK or check["about"] == "configuration"
    return code, by_subject


def test_a_sound_set_up_has_nothing_to_mend(capsys: pytest.CaptureFixture[str]):
    write()
    code, out, err = said(capsys, "doctor", "--no-probe")
    assert code == 0
    assert all(line.split()[0] in (OK, NOTE) for line in out.splitlines())
    subjects = {line.split()[1] for line in out.splitlines()}
    assert {"versions", "clock", "configuration", "permissions", "ports", "store"} <= subjects
    assert err.startswith("0 to fix, ")
    assert sorted(os.listdir()) == ["config.toml"]  # it looks, and leaves nothing


def test_a_bad_configuration_is_told_fault_by_fault_and_exits_2(
    capsys: pytest.CaptureFixture[str],
):
    Path("config.toml").write_text("[routr]\n[[mirrors]]\nid = 7\n")
    code, checks = found(capsys)
    assert code == 2
    assert len([c for c in checks["configuration"] if c["state"] == BAD]) > 1


def test_a_port_that_is_taken_is_named_with_its_setting(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(f'[router]\nlisten = "127.0.0.1:{port}"')
        code, checks = found(capsys, "--no-probe")
    (bad,) = [c for c in checks["ports"] if c["state"] == BAD]
    assert code == 1
    assert (bad["said"], bad["do"]) == (
        f"port {port} is in use",
        "set router.listen, or stop what uses it",
    )


def test_a_secret_that_everybody_can_read_and_folders_that_lack(
    capsys: pytest.CaptureFixture[str],
):
    write('[store]\nurl = "sqlite:////nowhere/x.db"', key="sk-in-the-file")
    Path("config.toml").chmod(0o644)
    code, checks = found(capsys, "--no-probe")
    said_of = [c["said"] for c in checks["permissions"] if c["state"] == BAD]
    assert code == 1
    assert "holds mirrors[0].api_key" in said_of[0]
    assert "sk-in-the-file" not in str(checks)
    assert said_of[1] == "store.url: there is no folder /nowhere"
    Path("config.toml").chmod(0o640)
    code, checks = found(capsys, "--no-probe")
    assert len([c for c in checks["permissions"] if c["state"] == BAD]) == 1


def test_a_folder_that_the_unit_makes_is_only_noted(capsys: pytest.CaptureFixture[str]):
    ports = free_ports(1)
    write(f'[admin]\nlisten = "127.0.0.1:{ports[0]}"\nsocket = "/run/not-there-yet/x.sock"')
    code, checks = found(capsys, "--no-probe")
    assert code == 0
    (note,) = [c for c in checks["permissions"] if c["state"] == NOTE]
    assert "RuntimeDirectory" in note["do"]


@pytest.mark.parametrize(("days", "state"), [(-3, BAD), (5, NOTE), (90, OK)])
def test_the_end_of_the_certificate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, days: int, state: str
):
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    issued = trustme.CA().issue_cert("api.example.com", not_after=end)
    issued.cert_chain_pems[0].write_to_path("cert.pem")
    issued.private_key_pem.write_to_path("key.pem")
    listen = f'listen = "127.0.0.1:{free_ports(1)[0]}"'
    write(f'[router]\n{listen}\ntls_cert = "cert.pem"\ntls_key = "key.pem"')
    _, checks = found(capsys, "--no-probe")
    (check,) = checks["certificate"]
    assert check["state"] == state
    assert f"{end:%Y-%m-%d}" in check["said"]


def test_a_store_of_a_newer_version_and_one_of_something_else(
    capsys: pytest.CaptureFixture[str],
):
    write('[store]\nurl = "sqlite:///x.db"')
    with sqlite3.connect("x.db") as other:
        other.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        other.execute("INSERT INTO alembic_version VALUES ('9999')")
        other.execute("PRAGMA user_version = 2")
    other.close()
    _, checks = found(capsys, "--no-probe")
    (check,) = checks["store"]
    assert check["state"] == BAD
    assert "written by a newer mirrorgate (schema 9999" in check["said"]
    assert check["do"] == "install that one again, or restore a backup"


def test_a_valkey_that_does_not_answer_is_told_without_its_password(
    capsys: pytest.CaptureFixture[str],
):
    (port,) = free_ports(1)
    store = f'[store]\nurl = "postgresql://127.0.0.1:{port}/m"\n'
    write(f'{store}[cluster]\nurl = "redis+sentinel://u:hidden@127.0.0.1:{port}/main"')
    code, checks = found(capsys, "--no-probe")
    (check,) = checks["cluster"]
    assert (code, check["state"]) == (1, BAD)
    assert check["said"].startswith(f"Valkey at 127.0.0.1:{port}/main cannot be used: no Sentinel")
    assert "hidden" not in json.dumps(checks)


def test_a_mirror_that_refuses_is_told_with_its_verdict(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as bound:  # bound, but nobody listens
        bound.bind(("127.0.0.1", 0))
        write(mirror=f"http://127.0.0.1:{bound.getsockname()[1]}")
        code, checks = found(capsys)
    (check,) = checks["mirrors"]
    assert (code, check["state"]) == (1, BAD)
    assert check["said"].startswith("a: connection_refused")
    assert "`mirrorgate probe a` says more" in check["do"]


def test_a_running_instance_tells_of_itself(capsys: pytest.CaptureFixture[str], running: Running):
    status = {
        "version": "0.0.9",
        "config": {"problem": "mirrors[0].url: bad"},
        "store": {"problem": "disk full"},
        "workers": [{"slot": 0, "alive": True}, {"slot": 1, "alive": False}],
    }
    running.answers["GET /api/admin/status"] = (200, status)
    _, checks = found(capsys, "--no-probe")
    told = " ".join(check["said"] for check in checks["instance"])
    assert "is mirrorgate 0.0.9, installed is" in told
    assert "workers that do not answer: 1" in told
    assert "the file is not in use: mirrors[0].url: bad" in told
    assert "the store cannot be written: disk full" in told
    assert "ports" not in checks


@pytest.mark.parametrize(
    ("skews", "states"),
    [({}, []), ({"a": 2.0, "b": -1.0, "c": 9e9}, [OK]), ({"a": 90.0, "b": 91.0}, [BAD])],
)
def test_the_clock_is_compared_with_most_mirrors(skews: dict[str, float], states: list[str]):
    assert [check.state for check in skewed(skews)] == states


def test_a_clock_from_before_this_program_is_wrong():
    assert doctor.clock_itself(0.0).state == BAD
    assert doctor.clock_itself(4e9).state == OK
