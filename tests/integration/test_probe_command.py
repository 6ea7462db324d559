"""`mirrorgate probe` says of real servers what a network engineer would say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from monitor.common.config import MirrorConfig, MonitorConfig, SniConfig
from monitor.diagnosis.evidence import Code, Evidence
from monitor.diagnosis.finding import Level
from monitor.diagnosis.timing import DiagnosisTiming
from monitor.engine.diagnose import Untried, inspector
from monitor.probes.trigger_file import TriggerFile
from router.cli import main
from router.cli.client import Client
from router.cli.probe_report import hints, text_of
from router.cli.progress import Progress
from tests.testkit.censor.relay import Censor
from tests.testkit.censor.rules import DROP, FIN, RST, Residual, Rule, exactly
from tests.testkit.certs import Authority, Leaf
from tests.testkit.listener import unanswered_port
from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until, wait_until_async

ANSWER = '{"error": {"message": "no key", "type": "invalid_request_error", "code": null}}'
START_TIMEOUT = 90.0

NGINX = """\
{user}worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {host}:{port}{tls};
        default_type application/json;
        location / {{ return 401 '{answer}'; }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    timeout client 10s
frontend mirror
    bind {host}:{port}{tls}
    http-request return status 401 content-type application/json string '{answer}'
"""

Program = Callable[[Path, Leaf | None, int], list[str]]
"""Writes the configuration into a folder; returns the command."""


def nginx(directory: Path, leaf: Leaf | None, port: int) -> list[str]:
    """Without a certificate it speaks plain HTTP."""
    tls = ""
    if leaf:
        tls = f" ssl; ssl_certificate {leaf.cert_file}; ssl_certificate_key {leaf.key_file}"
    text = NGINX.format(
        user="user root;\n" if os.geteuid() == 0 else "",
        host=HOST,
        port=port,
        tls=tls,
        answer=ANSWER,
    )
    (directory / "nginx.conf").write_text(text)
    return [require("nginx"), "-p", str(directory), "-c", "nginx.conf"]


def haproxy(directory: Path, leaf: Leaf | None, port: int) -> list[str]:
    """Without a certificate it speaks plain HTTP."""
    both = directory / "both.pem"
    if leaf:
        both.write_bytes(leaf.cert_file.read_bytes() + leaf.key_file.read_bytes())
    text = HAPROXY.format(
        host=HOST, port=port, tls=f" ssl crt {both}" if leaf else "", answer=ANSWER
    )
    (directory / "haproxy.cfg").write_text(text)
    return [require("haproxy"), "-f", str(directory / "haproxy.cfg"), "-db"]


PROGRAMS: dict[str, Program] = {"nginx": nginx, "haproxy": haproxy}


@contextmanager
def serving(program: Program, directory: Path, leaf: Leaf | None) -> Iterator[int]:
    """Run one on a free port, which is given; it is ended afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(program(directory, leaf, port), directory / "log", cwd=directory)
    try:
        wait_until(lambda: _listens(port) or process.exit_code() is not None, START_TIMEOUT)
        assert process.exit_code() is None, process.logs()
        yield port
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def self_signed(directory: Path, name: str) -> Leaf:
    """A certificate for `name` that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    leaf = Leaf(directory / "self.pem", directory / "self.key", (name,))
    leaf.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    leaf.key_file.write_bytes(private)
    return leaf


NAME = "mirror.test"
Server = tuple[str, int]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MIRRORGATE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def arguments(port: int, authority: Authority, *more: str) -> list[str]:
    fixed = ["--address", "127.0.0.1", "--ca-file", str(authority.ca_file)]
    return ["probe", f"https://{NAME}:{port}", *fixed, *more]


def said(capsys: pytest.CaptureFixture[str], argv: list[str]) -> tuple[int, str]:
    code = main.main(argv)
    return code, capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], argv: list[str]) -> dict[str, Any]:
    code, out = said(capsys, [*argv, "--json"])
    (mirror,) = json.loads(out)["mirrors"]
    assert code == (0 if mirror["ok"] else 1)
    return dict(mirror)


def test_a_good_mirror_is_good_step_by_step(program, authority, tmp_path, capsys):
    with serving(PROGRAMS[program], tmp_path / "server", authority.issue(NAME)) as port:
        code, out = said(capsys, arguments(port, authority))
    assert code == 0
    assert re.search(r"connect +127\.0\.0\.1:\d+ +(< 1|\d+) ms +TCP connection opened", out)
    assert re.search(r"handshake .*TLSv1\.[23], certificate issued by [Tt]rustme.*days left", out)
    assert re.search(r"request .*status 401, as expected .*: works", out)
    assert out.splitlines()[2].startswith("  Works: it can be reached and the API answers (")


def test_an_expired_certificate_is_to_be_renewed(program, authority, tmp_path, capsys):
    leaf = authority.issue(NAME, not_after=datetime.now(UTC) - timedelta(days=3))
    with serving(PROGRAMS[program], tmp_path / "server", leaf) as port:
        mirror = data(capsys, arguments(port, authority))
    assert (mirror["verdict"], mirror["level"]) == ("cert_expired", "confirmed")
    assert "renew the certificate" in mirror["told"]["en"]["todo"]
    assert re.search(r"expired on \d{4}-\d\d-\d\d", mirror["evidence"][0])


def test_a_certificate_for_another_name_is_shown_with_its_names(
    program, authority, tmp_path, capsys
):
    leaf = authority.issue("other.test", local=False)
    with serving(PROGRAMS[program], tmp_path / "server", leaf) as port:
        mirror = data(capsys, arguments(port, authority))
    assert mirror["verdict"] == "ssl_invalid_hostname"
    assert "other.test" in mirror["evidence"][0]
    assert NAME in mirror["evidence"][0]


def test_a_self_signed_certificate_is_from_nobody_that_we_trust(
    program, authority, tmp_path, capsys
):
    leaf = self_signed(tmp_path, NAME)
    with serving(PROGRAMS[program], tmp_path / "server", leaf) as port:
        mirror = data(capsys, arguments(port, authority))
    assert mirror["verdict"] == "ssl_unknown_authority"
    assert "ca_file" in mirror["told"]["en"]["todo"]


def test_plain_http_on_the_tls_port_is_a_wrong_port(program, authority, tmp_path, capsys):
    with serving(PROGRAMS[program], tmp_path / "server", None) as port:
        mirror = data(capsys, arguments(port, authority))
    assert mirror["verdict"] == "block_page"
    assert "wrong port" in mirror["may_mean"]


def test_a_closed_port_is_refused(authority, capsys):
    mirror = data(capsys, arguments(free_port(), authority))
    assert mirror["verdict"] == "connection_refused"
    assert mirror["steps"][-1]["failure"] == "connection_refused"
    assert mirror["reaction"]["hold"] == 30


def test_a_dropped_port_may_be_dead_or_blocked_and_nobody_can_tell(authority, capsys):
    with unanswered_port() as port:
        code, out = said(capsys, arguments(port, authority))
    assert code == 1
    assert "ip_unreachable" in out
    assert re.search(r"connect +127\.0\.0\.1:\d+ +4\.\d s +no reply .*<- the problem", out)
    assert "from one network these look alike" in " ".join(out.split())


@pytest.fixture
def good_server(authority: Authority, tmp_path: Path) -> Iterator[Server]:
    leaf = authority.issue(NAME, "example.org")
    with serving(PROGRAMS["nginx"], tmp_path / "server", leaf) as port:
        yield "127.0.0.1", port


@pytest.mark.parametrize(
    ("action", "verdict"),
    [(RST, "sni_block_rst"), (FIN, "sni_block_fin"), (DROP, "sni_block_drop")],
)
async def test_a_name_that_is_cut_off_is_compared_with_a_control(
    good_server, authority, capsys, tmp_path, action, verdict
):
    (tmp_path / "config.toml").write_text(
        f'[[mirrors]]\nid = "m"\nurl = "https://{NAME}:1"\n[monitor.timeouts]\nhandshake = "1s"\n'
    )
    async with Censor((Rule(exactly(NAME), action),)) as censor:
        port = await censor.listen(("127.0.0.1",), good_server)
        mirror = await asyncio.to_thread(data, capsys, arguments(port, authority))
        names = [handshake.sni for handshake in censor.log]
    assert mirror["verdict"] == verdict
    assert mirror["level"] == "suspected"
    assert names == [NAME, *2 * ["example.org", NAME], "example.org"]
    assert any("example.org" in text for text in mirror["evidence"])
    assert mirror["hints"] == [], "nothing has to be waited for"
    assert mirror["reaction"]["change_hostname"]


@pytest.mark.parametrize("anyway", [False, True])
async def test_a_name_that_the_running_instance_leaves_alone_is_shown_to_nobody(
    good_server, authority, capsys, tmp_path, monkeypatch, anyway
):
    path = {
        "hostname": NAME,
        "address": "127.0.0.1",
        "verdict": "sni_block_rst",
        "usable": False,
        "evidence": ["The name is reset."],
    }
    status = {"nodes": [{"id": "m", "host": NAME, "paths": [path]}]}
    monkeypatch.setattr(Client, "call", lambda self, method, target: status)
    async with Censor() as censor:
        port = await censor.listen(("127.0.0.1",), good_server)
        (tmp_path / "config.toml").write_text(
            f'[[mirrors]]\nid = "m"\nurl = "https://{NAME}:{port}"\naddresses = ["127.0.0.1"]\n'
            f'allow_private = true\nca_file = "{authority.ca_file}"\n'
        )
        argv = ["probe", "m", *(["--anyway"] if anyway else [])]
        code = await asyncio.to_thread(main.main, argv)
        shown = len(censor.handshakes(NAME))
    told = capsys.readouterr().err
    assert (code, shown) == ((0, 1) if anyway else (1, 0))
    assert ("The name is reset." in told) is not anyway


async def test_with_patience_the_after_effect_is_seen_and_the_block_confirmed(
    good_server, authority
):
    rule = Rule(exactly(NAME), RST, residual=Residual(0.8, RST))
    told: list[Evidence] = []
    pace = DiagnosisTiming().shortened(1.0)
    async with (
        Censor((rule,)) as censor,
        inspector(MonitorConfig(), pace, told.append, patient=True) as by,
    ):
        port = await censor.listen(("127.0.0.1",), good_server)
        url = f"https://{NAME}:{port}"
        seen = await by.inspect(
            MirrorConfig("m", url, addresses=("127.0.0.1",), ca_file=str(authority.ca_file))
        )
    finding = seen.finding
    assert (finding.verdict, finding.level) == ("sni_block_rst", Level.confirmed)
    assert finding.residual
    assert hints(seen) == []
    assert told[-1] == Code.comparing(name=NAME, address="127.0.0.1")


async def test_another_name_is_not_tried_where_one_was_cut_off(good_server, authority):
    mirror = MirrorConfig(
        "m", "https://placeholder", addresses=("127.0.0.1",), ca_file=str(authority.ca_file)
    )
    config = replace(MonitorConfig(), sni=SniConfig(control=()))
    async with (
        Censor((Rule(exactly(NAME), RST),)) as censor,
        inspector(config, DiagnosisTiming(), lambda text: None) as by,
    ):
        port = await censor.listen(("127.0.0.1",), good_server)
        seen = await by.inspect(
            replace(mirror, url=f"https://{NAME}:{port}", hostnames=("example.org",))
        )
        names = [handshake.sni for handshake in censor.log]
    assert names == [NAME]
    assert [(way.hostname, why) for way, why in seen.untried] == [("example.org", Untried.cut_off)]
    assert seen.finding.verdict == "tls_reset"
    assert "without a control name" in hints(seen)[0]


async def test_markdown_is_a_table_and_a_list(good_server, authority, capsys):
    async with Censor((Rule(exactly(NAME), RST),)) as censor:
        port = await censor.listen(("127.0.0.1",), good_server)
        argv = [*arguments(port, authority), "--markdown"]
        _, out = await asyncio.to_thread(said, capsys, argv)
    lines = out.splitlines()
    assert lines[0].startswith("### ")
    assert "| step | target | time | result |" in lines
    assert "|---|---|---|---|" in lines
    assert any(line.startswith("- **verdict**: sni\\_block\\_rst") for line in lines)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line[:1] == "|"} == {5}


def test_all_mirrors_of_a_configuration_or_the_one_that_is_named(tmp_path, capsys):
    ports = [free_port(), free_port()]
    tables = "".join(
        f'[[mirrors]]\nid = "m{n}"\nurl = "http://127.0.0.1:{port}"\nallow_private = true\n'
        for n, port in enumerate(ports)
    )
    (tmp_path / "config.toml").write_text(tables)
    assert main.main(["probe", "--json"]) == 1
    both = json.loads(capsys.readouterr().out)["mirrors"]
    assert [mirror["id"] for mirror in both] == ["m0", "m1"]
    assert data(capsys, ["probe", "m1"])["url"].endswith(str(ports[1]))
    assert main.main(["probe", "m2"]) == 2
    assert 'no mirror "m2": it has m0, m1' in capsys.readouterr().err


def test_a_url_needs_no_configuration_even_where_there_is_a_broken_one(tmp_path, capsys):
    (tmp_path / "config.toml").write_text("nonsense = 1")
    assert data(capsys, ["probe", f"http://127.0.0.1:{free_port()}"])["verdict"] == (
        "connection_refused"
    )
    assert main.main(["probe"]) == 2
    assert main.main(["probe", "m"]) == 2


def test_a_name_that_does_not_exist_is_told_with_the_resolvers_that_were_asked(capsys):
    mirror = data(capsys, ["probe", "https://mirror.invalid"])
    assert mirror["verdict"] == "dns_down"
    assert mirror["steps"][0]["way"] == "system resolver"
    assert mirror["names"][0]["hostname"] == "mirror.invalid"


def test_private_addresses_are_refused_until_they_are_allowed(capsys):
    url = f"http://localhost:{free_port()}"
    mirror = data(capsys, ["probe", url])
    assert mirror["verdict"] == "dns_bogon"
    assert "--allow-private" in mirror["told"]["en"]["todo"]
    assert data(capsys, ["probe", url, "--allow-private"])["verdict"] == "connection_refused"


def test_two_formats_at_once_are_refused(capsys):
    assert main.main(["probe", "http://127.0.0.1:1", "--json", "--markdown"]) == 2
    assert "exclude each other" in capsys.readouterr().err


async def test_progress_is_told_only_after_a_while_and_then_at_once():
    told: list[str] = []
    quiet = Progress(told.append, patience=60.0)
    quiet.say(Code.resolving(name="one"))
    assert told == []
    loud = Progress(told.append, patience=0.0)
    loud.say(Code.resolving(name="two"))
    loud.say(Code.resolving(name="two"))
    assert told == ["… two: resolving"]


async def test_a_wait_says_how_long_it_lasts_and_is_redrawn_on_a_terminal():
    told: list[str] = []
    shown = Progress(told.append, "zh", redraw=told.append, patience=0.01)
    shown.say(Code.comparing(name=NAME, address="127.0.0.1"))
    await shown.sleep(1.2)
    first, second, last = told
    assert "与对照域名比较" in first
    assert ("0:01，" in first, "0:00，" in second) == (True, True)
    assert last == ""


TRIGGERS = Path("triggers.json")


def triggers() -> TriggerFile:
    return TriggerFile(TRIGGERS, 60.0)


@pytest.mark.parametrize("patient", [False, True])
async def test_a_probe_remembers_what_the_one_before_it_has_shut(good_server, authority, patient):
    residual = 1.5
    rule = Rule(exactly(NAME), RST, residual=Residual(residual, RST))
    pace = replace(DiagnosisTiming().shortened(residual + 0.3), rtt_floor=1.0)
    config = MonitorConfig()
    async with Censor((rule,)) as censor:
        port = await censor.listen(("127.0.0.1",), good_server)
        mirror = MirrorConfig(
            "m", f"https://{NAME}:{port}", addresses=("127.0.0.1",), ca_file=str(authority.ca_file)
        )
        async with inspector(config, pace, lambda text: None, triggers=triggers()) as by:
            first = await by.inspect(mirror)
        shown = len(censor.handshakes(NAME))
        async with inspector(
            config, pace, lambda text: None, patient=patient, triggers=triggers()
        ) as by:
            second = await by.inspect(mirror)
        names = censor.handshakes(NAME)
    assert first.finding.verdict in ("sni_block_rst", "tls_reset", "residual_block")
    if not patient:
        assert len(names) == shown
        assert second.finding.verdict == "residual_block"
        assert "by a probe before this one" in str(second.held[0])
        return
    assert (second.finding.verdict, second.finding.level) == ("sni_block_rst", Level.confirmed)
    assert not any(handshake.residual for handshake in names[shown:])


async def test_a_fixed_mirror_is_probed_again_at_once(good_server, authority):
    async with Censor((Rule(exactly(NAME), RST),)) as censor:
        port = await censor.listen(("127.0.0.1",), good_server)
        mirror = MirrorConfig(
            "m", f"https://{NAME}:{port}", addresses=("127.0.0.1",), ca_file=str(authority.ca_file)
        )
        memory = triggers()
        memory.cut(f"127.0.0.1:{port}")
        censor.rules = ()
        async with inspector(
            MonitorConfig(), DiagnosisTiming(), lambda text: None, triggers=memory
        ) as by:
            assert (await by.inspect(mirror)).finding.verdict == "ok"
    assert memory.ago(f"127.0.0.1:{port}") is None


async def test_an_impatient_operator_gets_the_findings_so_far(good_server, authority):
    stop = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds > 60:
            stop.set()
            await asyncio.Event().wait()
        await asyncio.sleep(seconds)

    rule = Rule(exactly(NAME), RST, residual=Residual(60.0, RST))
    async with (
        Censor((rule,)) as censor,
        inspector(
            MonitorConfig(),
            DiagnosisTiming(),
            lambda text: None,
            patient=True,
            sleep=sleep,
            stop=stop,
        ) as by,
    ):
        port = await censor.listen(("127.0.0.1",), good_server)
        url = f"https://{NAME}:{port}"
        seen = await by.inspect(
            MirrorConfig("m", url, addresses=("127.0.0.1",), ca_file=str(authority.ca_file))
        )
    assert seen.interrupted
    assert seen.finding.verdict == "tls_reset"
    assert "Interrupted" in "".join(text_of(seen, 0.0, "en"))


async def test_ctrl_c_ends_a_patient_probe_with_a_partial_answer(good_server, authority, tmp_path):
    rule = Rule(exactly(NAME), RST, residual=Residual(60.0, RST))
    async with Censor((rule,)) as censor:
        port = await censor.listen(("127.0.0.1",), good_server)
        argv = [sys.executable, "-m", "router", *arguments(port, authority, "--patient")]
        process = Process(argv, tmp_path / "log")
        try:
            await wait_until_async(
                lambda: "Ctrl-C" in process.logs() or process.exit_code() is not None, 60.0
            )
            process.send(signal.SIGINT)
            await wait_until_async(lambda: process.exit_code() is not None, 30.0)
        finally:
            process.stop()
    assert process.exit_code() == 1, process.logs()
    assert "Interrupted: this is what is known so far." in process.logs()
    assert "The TLS handshake was reset" in process.logs()
