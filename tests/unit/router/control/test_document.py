"""The configuration file: found, read, resolved, checked, compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from monitor.common.settings import SettingsError
from router.control.configuration import fingerprint
from router.control.document import (
    Changes,
    Config,
    Document,
    differences,
    find,
    from_raw,
    load,
    socket_path,
)
from router.forwarding.config import RouterConfig

MIRROR = '[[mirrors]]\nid = "a"\nurl = "https://a.example"\n'
SECRET = "s3cret-value"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Document:
    return load(written(folder, text), environ or {})


def faults_of(
    folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(written(folder, text), environ or {})
    return [str(fault) for fault in caught.value.faults]


def test_one_mirror_is_a_configuration(tmp_path: Path):
    document = loaded(tmp_path, MIRROR)
    assert document.config.mirrors[0].url == "https://a.example"
    assert document.config.router.listen == "127.0.0.1:8080"
    assert document.path == tmp_path / "config.toml"


@pytest.mark.parametrize("text", ["", "mirrors = []", "[router]\nworkers = 1"])
def test_without_a_mirror_there_is_nothing_to_do(tmp_path: Path, text: str):
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith("mirrors: at least one mirror is needed")


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path):
    text = """
        [[mirrors]]
        id = "a"
        url = "https://a.example"
        api_key = "env:NOPE"
        [[mirrors]]
        id = "a"
        url = "htp:/x"
        [routr]
        [router]
        listn = "x"
        workers = "many"
        [store]
        url = 5
    """
    assert faults_of(tmp_path, text) == [
        "mirrors[0].api_key: the environment variable NOPE is not set",
        'routr: unknown setting, did you mean "router"?',
        'mirrors[1].url: expected an http(s) URL, got "htp:/x"',
        'router.listn: unknown setting, did you mean "listen"?',
        'router.workers: expected a whole number, got "many"',
        "store.url: expected a string",
        'mirrors[1].id: "a" is taken by mirrors[0]',
    ]


def test_labels_too_long_for_the_pages_are_refused(tmp_path: Path):
    long = "长" * 101
    text = f"""
        [[mirrors]]
        id = "a"
        url = "https://a.example"
        name = "{long}"
        region = "{long}"
        [monitor]
        vantage = "{long}"
        [dashboard]
        title = "{long}"
        contact = "{long * 3}"
        notice = {{ zh = "{long}", en = "{long * 20}" }}
        entrances = [{{ url = "https://a.example/v1", region = "{long}" }}]
        links = [{{ title = "{long}", url = "https://a.example/" }}]
    """
    told = "expected at most 100 characters, got 101"
    assert sorted(faults_of(tmp_path, text)) == [
        "dashboard.contact: expected at most 300 characters, got 303",
        f"dashboard.entrances[0].region: {told}",
        f"dashboard.links[0].title: {told}",
        "dashboard.notice: en: expected at most 2000 characters, got 2020",
        f"dashboard.title: {told}",
        f"mirrors[0].name: {told}",
        f"mirrors[0].region: {told}",
        f"monitor.vantage: {told}",
    ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('[router\nlisten = "x"', ":1: ", "expected ']'"),
        (MIRROR + "[router]\nworkers = \n", ":5: ", "invalid value"),
        ('a = "x', ":1: ", "unterminated string"),
        (MIRROR + MIRROR.replace("[[mirrors]]", "[mirrors]"), ":4: ", "cannot"),
        (b'a = 1\nb = "\xff"', ":2: ", "not UTF-8"),
        ("a = " + "[" * 5000, " ", "is not TOML"),
        ("a = 1" + "0" * 5000, " ", "is not TOML"),
    ],
)
def test_a_syntax_error_is_named_with_file_and_line(
    tmp_path: Path, text: str | bytes, where: str, what: str
):
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith(f"{tmp_path / 'config.toml'}{where}")
    assert what in fault


def test_a_byte_order_mark_of_an_editor_does_no_harm(tmp_path: Path):
    assert load(written(tmp_path, "\ufeff" + MIRROR), {}).config.mirrors


def test_a_missing_file_and_a_folder_are_said_to_be_that(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"nope\.toml does not exist: write it with"):
        load(tmp_path / "nope.toml", {})
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


def test_strings_may_be_kept_in_the_environment_and_in_files_beside_the_configuration(
    tmp_path: Path,
):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text(f"{SECRET}\n")
    text = (
        MIRROR
        + 'api_key = "file:secrets/key"\nclient_keys = ["env:PATTERN"]\n'
        + '[router.timeouts]\nconnect = "env:CONNECT"\n'
    )
    config = loaded(tmp_path, text, {"PATTERN": "sk-*", "CONNECT": "7s"}).config
    assert config.mirrors[0].api_key == SECRET
    assert config.mirrors[0].client_keys == ("sk-*",)
    assert config.router.timeouts.connect == 7.0


def test_a_reference_is_not_followed_twice(tmp_path: Path):
    document = loaded(tmp_path, MIRROR + 'name = "env:ONE"', {"ONE": "env:TWO", "TWO": "x"})
    assert document.config.mirrors[0].name == "env:TWO"


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("env:MISSING", "the environment variable MISSING is not set"),
        ("env:EMPTY", "the environment variable EMPTY is empty"),
        ("env:", 'expected "env:NAME"'),
        ("env:A B", 'expected "env:NAME"'),
        ("file:", 'expected "file:PATH"'),
        ("file:missing", "missing: No such file or directory"),
        ("file:.", "is not a file"),
        ("file:/dev/zero", "is not a file"),
        ("file:empty", "is empty"),
        ("file:large", "is larger than 64 KiB"),
        ("file:binary", "is not UTF-8 text"),
    ],
)
def test_a_broken_reference_is_named_with_its_path(tmp_path: Path, reference: str, what: str):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    text = MIRROR + f'hostnames = ["b.example", "{reference}"]\napi_key = "{reference}"'
    faults = faults_of(tmp_path, text, {"EMPTY": "\n"})
    assert [fault.partition(": ")[0] for fault in faults] == [
        "mirrors[0].hostnames[1]",
        "mirrors[0].api_key",
    ]
    assert all(what in fault for fault in faults)


@pytest.mark.parametrize(
    "line",
    [
        'url = "env:SECRET"',
        'hostnames = ["b.example", "env:SECRET"]',
        'weight = "env:SECRET"',
        'client_keys = "env:SECRET"',
        'cdn = "file:secret"',
        'api_key = "file:secret"',
        'paths = ["file:secret"]',
    ],
)
def test_faults_never_quote_the_value_of_a_reference(tmp_path: Path, line: str):
    secret = f"{SECRET} {SECRET}"
    (tmp_path / "secret").write_text(secret)
    url = "" if line.startswith("url") else 'url = "https://a.example"\n'
    faults = faults_of(tmp_path, f'[[mirrors]]\nid = "a"\n{url}{line}', {"SECRET": secret})
    assert len(faults) == 1
    assert SECRET not in faults[0]


def test_a_long_secret_is_not_shown_in_part_either(tmp_path: Path):
    (fault,) = faults_of(tmp_path, MIRROR + 'weight = "env:S"', {"S": "abcdefgh" * 50})
    assert fault == "mirrors[0].weight: expected a number"


def test_a_referenced_value_is_not_named_by_another_settings_fault_either(tmp_path: Path):
    text = MIRROR.replace('"a"', '"env:ID"') + MIRROR.replace('"a"', '"env:ID"')
    (fault,) = faults_of(tmp_path, text, {"ID": "hidden"})
    assert fault == 'mirrors[1].id: "env:ID" is taken by mirrors[0]'


def test_files_are_relative_to_the_configuration_and_absolute_after_loading(tmp_path: Path):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair = ca.issue_cert("localhost")
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    text = MIRROR + (
        'ca_file = "ca.pem"\n[router]\ntls_cert = "cert.pem"\ntls_key = "key.pem"\n'
        '[log]\naccess = "access.log"\n'
    )
    config = loaded(tmp_path, text).config
    assert config.mirrors[0].ca_file == str(tmp_path / "ca.pem")
    assert config.router.tls_cert == str(tmp_path / "cert.pem")
    assert config.router.tls_key == str(tmp_path / "key.pem")
    assert config.admin.socket == str(tmp_path / "mirrorgate.sock")
    assert config.store.url == f"sqlite:///{tmp_path / 'mirrorgate.db'}"
    assert config.log.access == str(tmp_path / "access.log")


def test_absolute_paths_and_values_that_are_no_files_stay(tmp_path: Path):
    text = MIRROR + (
        '[admin]\nsocket = "/run/mg.sock"\n[store]\nurl = "postgresql://db/mg"\n'
        '[log]\naccess = "-"\n'
    )
    config = loaded(tmp_path, text).config
    assert config.admin.socket == "/run/mg.sock"
    assert config.store.url == "postgresql://db/mg"
    assert config.log.access == "-"
    assert config.mirrors[0].ca_file == ""


def test_certificates_that_cannot_be_used_are_faults(tmp_path: Path):
    ca = trustme.CA()
    one, other = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    other.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = '[router]\ntls_cert = "cert.pem"\ntls_key = "{}"\n'
    assert (
        "tls_cert: not a certificate with its"
        in faults_of(tmp_path, MIRROR + tls.format("key.pem"))[0]
    )
    assert "router.tls_key: cannot read" in faults_of(tmp_path, MIRROR + tls.format("nope.pem"))[0]
    places = '[dashboard]\nlocation_database = "no.mmdb"\n'
    assert "dashboard.location_database: cannot read" in faults_of(tmp_path, MIRROR + places)[0]
    assert "holds no certificate" in faults_of(tmp_path, MIRROR + 'ca_file = "config.toml"')[0]
    assert (
        "mirrors[0].ca_file: cannot read" in faults_of(tmp_path, MIRROR + 'ca_file = "no.pem"')[0]
    )


def test_a_socket_path_too_long_for_the_system_is_a_fault(tmp_path: Path):
    folder = tmp_path / ("d" * 100)
    folder.mkdir()
    (fault,) = faults_of(folder, MIRROR)
    assert fault.startswith("admin.socket: its whole path has")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[dashboard]\nlisten = "127.0.0.1:8080"',
            "dashboard.listen: the port is taken by router.listen (127.0.0.1:8080)",
        ),
        (
            '[admin]\nlisten = "0.0.0.0:8081"',
            "admin.listen: the port is taken by dashboard.listen (127.0.0.1:8081)",
        ),
    ],
)
def test_two_listeners_on_one_port_are_a_fault(tmp_path: Path, text: str, fault: str):
    assert faults_of(tmp_path, MIRROR + text) == [fault]


def test_listeners_that_are_off_on_any_port_or_on_other_addresses_do_not_meet(tmp_path: Path):
    text = (
        '[router]\nlisten = "127.0.0.1:0"\n[dashboard]\nlisten = "127.0.0.1:0"\n'
        '[admin]\nlisten = ""'
    )
    assert loaded(tmp_path, MIRROR + text)
    assert loaded(tmp_path, MIRROR + '[dashboard]\nlisten = "127.0.0.2:8080"')


def test_another_process_gets_the_same_configuration_from_the_resolved_document(tmp_path: Path):
    document = loaded(tmp_path, MIRROR + 'api_key = "env:KEY"', {"KEY": SECRET})
    passed_on = json.loads(json.dumps(document.raw))
    assert from_raw(passed_on, document.path) == document
    with pytest.raises(SettingsError):
        from_raw({}, document.path)


def test_differences_between_configurations_are_found(tmp_path: Path):
    def mirror(name: str, extra: str = "") -> str:
        return f'[[mirrors]]\nid = "{name}"\nurl = "https://{name}.example"\n{extra}\n'

    old = loaded(tmp_path, mirror("a") + mirror("b") + mirror("c")).config
    new = loaded(
        tmp_path,
        mirror("d")
        + mirror("c", "weight = 2")
        + mirror("a")
        + '[router]\nlisten = "127.0.0.1:9000"\n[monitor]\ninterval = "5s"\n'
        + '[prices.x]\ninput = 1\n[dashboard]\nnotice = { en = "hello" }\n',
    ).config
    assert differences(old, new) == Changes(
        added=("d",),
        removed=("b",),
        changed=("c",),
        settings=("monitor.interval", "dashboard.notice", "prices"),
        restart=("router.listen",),
    )
    assert differences(new, new) == Changes()


def test_the_order_of_mirrors_alone_is_no_change(tmp_path: Path):
    one, two = MIRROR, MIRROR.replace("a", "b").replace("bpi", "api")
    first, second = loaded(tmp_path, one + two).config, loaded(tmp_path, two + one).config
    assert differences(first, second) == Changes()


def test_the_file_is_the_one_named_or_from_the_environment_or_the_first_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert find("x.toml", {"MIRRORGATE_CONFIG": "y.toml"}) == Path("x.toml")
    assert find(None, {"MIRRORGATE_CONFIG": "y.toml"}) == Path("y.toml")
    with pytest.raises(SettingsError, match="there is no configuration file"):
        find(None, {"MIRRORGATE_CONFIG": ""})
    written(tmp_path, "")
    assert find(None, {}) == Path("config.toml")


def test_commands_find_the_socket_whatever_else_is_wrong_with_the_file(tmp_path: Path):
    default = tmp_path / "mirrorgate.sock"
    assert (
        socket_path(written(tmp_path, 'routr = 1\n[admin]\nmetrics_token = "env:NO"'), {})
        == default
    )
    named = written(tmp_path, '[admin]\nsocket = "run/x.sock"\n[[mirrors]]\nurl = 5')
    assert socket_path(named, {}) == tmp_path / "run/x.sock"
    broken = written(tmp_path, "[")
    with pytest.raises(SettingsError):
        socket_path(broken, {})
    default.touch()
    assert socket_path(broken, {}) == default


def test_a_certificate_changes_on_reload_but_tls_as_such_only_on_a_restart():
    plain, one, other = (
        Config(router=RouterConfig(tls_cert=cert, tls_key=cert)) for cert in ("", "a.pem", "b.pem")
    )
    assert differences(one, other).settings == ("router.tls_cert", "router.tls_key")
    assert differences(plain, one).restart == ("router.tls_cert", "router.tls_key")
    assert not differences(plain, one).settings


@pytest.mark.parametrize("name", ["fifo", "/dev/zero"])
def test_a_pipe_or_device_is_refused_as_configuration_and_never_waited_for(
    tmp_path: Path, name: str
):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SettingsError, match="cannot be read: it is no regular file"):
        load(tmp_path / name, {})
    assert fingerprint(tmp_path / name) == ""


def test_a_pipe_is_refused_where_the_configuration_names_a_file(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (fault,) = faults_of(tmp_path, f'{MIRROR}ca_file = "fifo"\n')
    assert fault.endswith(f"cannot read {tmp_path / 'fifo'}: it is no regular file")


def test_check_reads_a_configuration_from_the_standard_input():
    command = [sys.executable, "-m", "router", "check", "--config", "/dev/stdin"]
    ran = subprocess.run(
        command, input=MIRROR.encode(), capture_output=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
