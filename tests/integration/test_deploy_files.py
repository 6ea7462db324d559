"""Paths, ports, variables and commands of `deploy/`, held to the code and to linters.

No container engine is needed, and none has built or started what is here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from monitor.common.settings import parse_duration
from router.cli.main import command_names, parser
from router.control.document import DEFAULT_FILES, load
from router.control.sections import Config
from router.process.supervisor import GRACE
from tests.testkit.processes import REPOSITORY
from tests.testkit.programs import require

DEPLOY = REPOSITORY / "deploy"
UNIT = DEPLOY / "systemd/mirrorgate.service"
COMPOSE_FOLDER = DEPLOY / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((COMPOSE_FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DEFAULTS = Config()
STOP_WITHIN = DEFAULTS.router.timeouts.drain + GRACE
NOTIFY_RELOAD_SINCE = 253
MOST_EXPOSED = 1.6
"""Of `systemd-analyze security`, as docs/operations.md says."""
STATE, RUN, FILE = "/var/lib/mirrorgate", "/run/mirrorgate", "/etc/mirrorgate/config.toml"


def port(listen: str) -> str:
    return listen.rpartition(":")[2]


PORTS = [port(getattr(DEFAULTS, name).listen) for name in ("router", "dashboard", "admin")]


def settings_of(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def is_command(words: list[str]) -> bool:
    """True if these are arguments that the command line takes."""
    return bool(words) and words[0] in command_names() and bool(parser().parse_args(words))


# systemd


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as it stands on a machine: with a program that is there."""
    program = shutil.which("mirrorgate", path=str(Path(sys.executable).parent))
    assert program is not None
    text = UNIT.read_text().replace("/opt/mirrorgate/bin/mirrorgate", program)
    told = subprocess.check_output([require("systemd-analyze"), "--version"], text=True)
    if int(told.split()[1]) < NOTIFY_RELOAD_SINCE:
        text = text.replace("Type=notify-reload", "Type=notify")
    file = tmp_path / "mirrorgate.service"
    file.write_text(text)
    return file


def test_systemd_finds_nothing_wrong_with_the_unit(installed: Path):
    command = [require("systemd-analyze"), "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "mirrorgate" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_unit_is_as_confined_as_the_documentation_says(installed: Path):
    command = [require("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, f"--threshold={MOST_EXPOSED * 10:.0f}", str(installed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:]
    documented = (REPOSITORY / "docs/operations.md").read_text()
    assert f"exposure {MOST_EXPOSED}" in documented


def test_the_unit_names_what_there_is():
    unit = settings_of(UNIT.read_text())
    assert unit["Type"] == ["notify-reload"]
    assert unit["Environment"] == [f"MIRRORGATE_CONFIG={FILE}"]
    assert Path(FILE) in DEFAULT_FILES
    for name in ("ExecStartPre", "ExecStart"):
        program, *words = unit[name][0].split()
        assert program == "/opt/mirrorgate/bin/mirrorgate"
        assert is_command(words)
    folders = ("ConfigurationDirectory", "RuntimeDirectory", "StateDirectory")
    assert {unit[name][0] for name in folders} == {"mirrorgate"}
    assert parse_duration(unit["TimeoutStopSec"][0]) > STOP_WITHIN
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert parse_duration(unit["WatchdogSec"][0]) >= 10


# The image


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_hadolint_finds_nothing_in_the_dockerfile():
    program = Path(sys.executable).parent / "hadolint"
    if not program.exists():
        pytest.skip("there is no hadolint for this platform")
    done = subprocess.run(
        [program, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_what_the_program_needs_and_is_not_root():
    found = instructions()
    last = {word: rest for word, rest in found}
    copied = {rest.split()[0] for word, rest in found if word == "COPY" and "--from" not in rest}
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert set(wheel["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied
    assert "pyproject.toml" in copied
    assert any(word == "RUN" and "MIRRORGATE_COMPILE=1" in rest for word, rest in found)
    assert all((REPOSITORY / name).exists() for name in copied)
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    named = [rest.split()[:-1] for word, rest in found if word == "COPY" and "--from" not in rest]
    assert {f"!{name}" for names in named for name in names} <= set(ignored)
    assert int(last["USER"]) > 0
    assert last["EXPOSE"].split() == PORTS
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(last["VOLUME"]) == [STATE]
    assert json.loads(last["ENTRYPOINT"]) == ["mirrorgate"]
    assert is_command(json.loads(last["CMD"]))
    assert f"MIRRORGATE_CONFIG={FILE}" in last["ENV"]
    assert f"http://127.0.0.1:{PORTS[0]}/healthz" in last["HEALTHCHECK"]


def test_a_wheel_can_be_built_of_what_the_image_copies(tmp_path: Path):
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            for name in sources:
                copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
                copy(REPOSITORY / name, tmp_path / target)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# The compose file


def test_the_compose_file_is_one_and_has_no_grave_fault_for_its_linter():
    PyCompose.from_yaml((COMPOSE_FOLDER / "compose.yaml").read_text()).validate()
    program = Path(sys.executable).parent / "compose-lint"
    done = subprocess.run(
        [program, COMPOSE_FOLDER / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_images_are_pinned_and_mounted_files_are_there():
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"]), name
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (COMPOSE_FOLDER / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]
        for secret in service.get("secrets", ()):
            assert secret in COMPOSE["secrets"]
        assert all(each.startswith("127.0.0.1:") for each in service["ports"])
    build = SERVICES["mirrorgate"]["build"]
    assert (COMPOSE_FOLDER / build["context"] / build["dockerfile"]).exists()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert SERVICES["mirrorgate"]["image"] == f"mirrorgate:{project['version']}"


def test_mirrorgate_in_the_compose_file_is_what_its_configuration_says(tmp_path: Path):
    service = SERVICES["mirrorgate"]
    secret = tmp_path / "metrics_token"
    secret.write_text("a-token\n")
    text = (COMPOSE_FOLDER / "mirrorgate.toml").read_text()
    file = tmp_path / "config.toml"
    file.write_text(text.replace("/run/secrets/metrics_token", str(secret)))
    config = load(file, {}).config
    listens = (config.router.listen, config.dashboard.listen, config.admin.listen)
    assert [port(listen) for listen in listens] == PORTS
    assert {each.rpartition(":")[2] for each in service["ports"]} == set(PORTS[:2])
    targets = {volume.split(":")[1] for volume in service["volumes"]}
    assert targets == {FILE, STATE}
    assert config.store.url == f"sqlite:///{STATE}/mirrorgate.db"
    assert config.admin.socket == f"{RUN}/mirrorgate.sock"
    assert service["read_only"] is True
    user = next(rest for word, rest in instructions() if word == "USER")
    assert service["tmpfs"] == [f"{RUN}:uid={user},gid={user},mode=0750"]
    assert config.admin.metrics_token == "a-token"
    assert parse_duration(service["stop_grace_period"]) > STOP_WITHIN


def test_prometheus_and_grafana_of_the_compose_file_find_each_other(tmp_path: Path):
    text = (COMPOSE_FOLDER / "prometheus.yml").read_text()
    scrape: dict[str, Any] = yaml.safe_load(text)
    example = yaml.safe_load((REPOSITORY / "grafana/provisioning/prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["job_name"] == example["scrape_configs"][0]["job_name"]
    assert job["static_configs"] == [{"targets": [f"mirrorgate:{PORTS[2]}"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert "metrics_token" in SERVICES["prometheus"]["secrets"]
    (alerting,) = scrape["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    mounted = dict(v.split(":")[:2] for v in SERVICES["prometheus"]["volumes"])
    (rules,) = scrape["rule_files"]
    assert mounted["../../grafana/rules"] == str(Path(rules).parent)
    written = tmp_path / "prometheus.yml"
    secret = tmp_path / "token"
    secret.write_text("x")
    checked = text.replace("/etc/prometheus/mirrorgate", str(REPOSITORY / "grafana/rules"))
    written.write_text(checked.replace("/run/secrets/metrics_token", str(secret)))
    subprocess.run([require("promtool"), "check", "config", str(written)], check=True)
    ours = yaml.safe_load((COMPOSE_FOLDER / "grafana-datasource.yml").read_text())
    theirs = yaml.safe_load(
        (REPOSITORY / "grafana/provisioning/datasources/mirrorgate.yml").read_text()
    )
    theirs["datasources"][0]["url"] = "http://prometheus:9090"
    assert ours == theirs
    dashboards = yaml.safe_load(
        (REPOSITORY / "grafana/provisioning/dashboards/mirrorgate.yml").read_text()
    )
    targets = {v.split(":")[1] for v in SERVICES["grafana"]["volumes"]}
    assert dashboards["providers"][0]["options"]["path"] in targets


# The proxies


@pytest.mark.parametrize("name", ["nginx/mirrorgate.conf", "caddy/Caddyfile"])
def test_the_examples_of_proxies_name_ports_and_settings_that_there_are(name: str, tmp_path: Path):
    text = (DEPLOY / name).read_text()
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == set(PORTS[:2])
    sections = re.findall(r"#\s+\[(\w+)\]\s+(.+)", text)
    settings = "".join(f"[{section}]\n{line}\n" for section, line in sections)
    file = tmp_path / "config.toml"
    file.write_text(f'{settings}[[mirrors]]\nid = "a"\nurl = "https://a.example"\n')
    config = load(file, {}).config
    assert config.router.trusted_proxies == ("127.0.0.1",)
    assert config.dashboard.public_url == "https://api.example.com/"
