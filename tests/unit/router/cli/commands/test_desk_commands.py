"""`hash-password`, `incidents`, `explain --recent` and `reload --dry-run`."""

import io

import pytest

from dashboard.admin.passwords import matches
from dashboard.common.config import AdminConfig
from monitor.common.settings import read
from router.cli import main
from tests.unit.router.cli.test_main import Running, in_a_folder_of_its_own, running, said

__all__ = ["in_a_folder_of_its_own", "running"]
PASSWORD = "correct horse battery"


def test_a_password_is_read_from_a_pipe_and_its_hash_is_what_the_setting_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    code, out, err = said(capsys, "hash-password")
    assert code == 0
    assert matches(PASSWORD, out.strip())
    assert not matches("another", out.strip())
    assert read(AdminConfig, {"password_hash": out.strip()})
    assert PASSWORD not in out + err


@pytest.mark.parametrize("password", ["", "short", "x" * 2000])
def test_a_password_that_can_be_guessed_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, password: str
):
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    code, out, err = said(capsys, "hash-password")
    assert (code, out) == (2, "")
    assert "expected a password of 10 to 1024 characters" in err


INCIDENT = {
    "id": "c0ffee",
    "status": "open",
    "impact": "minor",
    "edited_impact": "major",
    "verdict": "dns_down",
    "started_at": "2026-11-21T09:00:00Z",
    "nodes": [{"id": "hk"}, {"id": "jp"}],
    "title": {"zh": "断电", "en": ""},
    "updates": [{}],
}
PLANNED = {
    "id": "m1",
    "status": "scheduled",
    "starts_at": "2026-12-01T02:00:00Z",
    "ends_at": "2026-12-01T03:00:00Z",
    "mirrors": ["hk"],
    "title": {"zh": "", "en": "Switch\x1b[31m"},
    "updates": [],
}


def test_incidents_and_maintenances_are_listed(
    capsys: pytest.CaptureFixture[str], running: Running
):
    plain = {**INCIDENT, "title": None, "id": "c0ffe1"}
    answer = {"incidents": [INCIDENT, plain], "maintenances": [PLANNED]}
    running.answers["GET /api/admin/incidents"] = (200, answer)
    code, out, _ = said(capsys, "incidents", "list")
    assert code == 0
    assert "major" in out
    assert "断电" in out
    assert "hk jp" in out
    assert "dns_down" in out
    assert "\x1b" not in out


def test_words_and_plans_are_sent_as_the_api_takes_them(
    capsys: pytest.CaptureFixture[str], running: Running
):
    running.answers["POST /api/admin/incidents/c0/updates"] = (201, {})
    running.answers["POST /api/admin/incidents/c0"] = (200, {})
    running.answers["POST /api/admin/maintenances"] = (201, PLANNED)
    running.answers["DELETE /api/admin/maintenances/m1"] = (200, {**PLANNED, "status": "cancelled"})
    update = ("incidents", "update", "c0", "--status", "resolved", "--en", "Done")
    assert said(capsys, *update)[0] == 0
    words = ("--title-zh", "有误", "--title-en", "Wrong", "--text-en", "Looking")
    since = ("--since", "2026-11-29T10:00+08:00", "--nodes", "hk, jp", "--impact", "major")
    running.answers["POST /api/admin/incidents"] = (201, {"id": "0p"})
    opened = said(capsys, "incidents", "open", *words, *since)
    assert opened[1] == "0p was opened: end it with an update of status resolved\n"
    edit = ("incidents", "edit", "c0", "--zh", "断电", "--impact", "major")
    assert said(capsys, *edit)[0] == 0
    plan = ("incidents", "plan", "hk", "--at", "2026-12-01T02:00:00+00:00", "--for", "1h")
    assert said(capsys, *plan)[1] == "m1: maintenance of hk is planned\n"
    assert said(capsys, "incidents", "end", "m1")[1] == "m1 is cancelled\n"
    assert [body for _, _, body in running.asked] == [
        {"status": "resolved", "text": {"zh": "", "en": "Done"}},
        {
            "title": {"zh": "有误", "en": "Wrong"},
            "impact": "major",
            "mirrors": ["hk", "jp"],
            "started_at": "2026-11-29T02:00:00+00:00",
            "text": {"zh": "", "en": "Looking"},
        },
        {"title": {"zh": "断电", "en": ""}, "impact": "major"},
        {
            "mirrors": ["hk"],
            "starts_at": "2026-12-01T02:00:00+00:00",
            "for": 3600.0,
            "title": {"zh": "", "en": ""},
        },
        None,
    ]


def test_a_dry_run_shows_the_differences_and_reloads_nothing(
    capsys: pytest.CaptureFixture[str], running: Running
):
    setting = {
        "path": "limits.connections",
        "running": "10",
        "file": "20",
        "differs": True,
        "restart": False,
    }
    same = {**setting, "path": "limits.burst", "differs": False}
    answer = {"faults": [], "settings": [setting, same]}
    running.answers["GET /api/admin/configuration"] = (200, answer)
    code, out, _ = said(capsys, "reload", "--dry-run")
    assert (code, out) == (0, "limits.connections\n  - 10\n  + 20\n")
    running.answers["GET /api/admin/configuration"] = (200, {"faults": ["bad"], "settings": []})
    assert said(capsys, "reload", "--dry-run") == (2, "", "bad\n")
    assert [asked[0] for asked in running.asked] == ["GET", "GET"]


def test_the_last_requests_are_listed_with_their_attempts(
    capsys: pytest.CaptureFixture[str], running: Running
):
    tried = [{"mirror": "hk", "outcome": "connect"}, {"mirror": "jp", "outcome": "success"}]
    request = {
        "id": "mg_1",
        "began": "2026-11-21T09:00:00Z",
        "endpoint": "chat",
        "status": 200,
        "outcome": "success",
        "seconds": 1.5,
        "attempts": tried,
    }
    running.answers["GET /api/admin/explain"] = (200, {"requests": [request], "silent": []})
    code, out, _ = said(capsys, "explain", "--recent", "5")
    assert code == 0
    assert "hk connect → jp success" in out
    assert running.asked[0][1] == "/api/admin/explain?recent=5"
    assert said(capsys, "explain", "mg_1", "--recent", "5")[0] == 2


def test_the_past_of_a_mirror_is_listed(capsys: pytest.CaptureFixture[str], running: Running):
    change = {
        "at": "2026-11-21T09:00:00Z",
        "state": "down",
        "verdict": "dns_down",
        "detail": "no address\x1b[31m",
        "vantage": "sh-1",
    }
    target = "GET /api/admin/mirrors/hk/transitions"
    running.answers[target] = (200, {"transitions": [change]})
    code, out, _ = said(capsys, "status", "hk")
    assert code == 0
    assert "dns_down  sh-1" in out
    assert "\x1b" not in out
    running.answers[target] = (200, {"transitions": []})
    assert said(capsys, "status", "hk")[1] == "no change of its state has been recorded\n"


def test_the_commands_say_what_they_do(capsys: pytest.CaptureFixture[str]):
    for command in ("hash-password", "incidents plan"):
        with pytest.raises(SystemExit):
            main.parser().parse_args([*command.split(), "--help"])
        assert capsys.readouterr().out
