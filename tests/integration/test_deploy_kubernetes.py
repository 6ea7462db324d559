"""The manifests of `deploy/kubernetes`, held to the code and to the schemas of Kubernetes.

No cluster is needed, and none has run what is here.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import latest_version, validate

from grafana.build import PROMETHEUS_RULE, prometheus_rule
from monitor.common.settings import parse_duration
from router.control.document import DEFAULT_FILES, load
from router.control.instance_metrics import FAMILIES
from router.control.sections import Config
from tests.integration.test_deploy_files import (
    DEPLOY,
    FILE,
    PORTS,
    RUN,
    STOP_WITHIN,
    instructions,
    is_command,
    port,
)
from tests.testkit.processes import REPOSITORY
from tests.testkit.programs import require

FOLDER = DEPLOY / "kubernetes"
MONITORING = FOLDER / "monitoring"
SECRETS = "/run/secrets/mirrorgate"
OLDEST = "1.27"
"""Of the minor releases of Kubernetes that docs/operations.md names."""
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def built() -> dict[tuple[str, str], Manifest]:
    """The objects that `kubectl apply -k` sends, by kind and name."""
    text = subprocess.check_output([require("kubectl"), "kustomize", FOLDER], text=True, timeout=60)
    found: list[Manifest] = list(yaml.safe_load_all(text))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


@pytest.fixture(scope="module")
def pod(built: dict[tuple[str, str], Manifest]) -> Manifest:
    spec: Manifest = built["StatefulSet", "mirrorgate"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def config(built: dict[tuple[str, str], Manifest], tmp_path: Path) -> Config:
    """The configuration of a pod, with its secrets elsewhere."""
    text = built["ConfigMap", "mirrorgate"]["data"]["config.toml"]
    for key in keys_of_the_secret():
        (tmp_path / key).write_text(
            {"store": "postgresql://u:p@db/m", "valkey": "redis://v:6379/0"}.get(key, "a-token")
        )
    file = tmp_path / "config.toml"
    file.write_text(text.replace(SECRETS, str(tmp_path)))
    return load(file, {}).config


def keys_of_the_secret() -> set[str]:
    """Keys of the Secret that the first lines say how to make."""
    return set(re.findall(r"--from-literal=(\w+)=", (FOLDER / "kustomization.yaml").read_text()))


@pytest.mark.parametrize("version", [OLDEST, latest_version()])
def test_every_object_is_as_the_schemas_of_kubernetes_have_it(
    built: dict[tuple[str, str], Manifest], version: str
):
    for each in built.values():
        validate(each, version, strict=True)
    assert f"Kubernetes {OLDEST}" in (REPOSITORY / "docs/operations.md").read_text()


def test_every_file_is_part_of_what_is_applied(built: dict[tuple[str, str], Manifest]):
    for folder in (FOLDER, MONITORING):
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        there = {file.name for file in folder.glob("*.yaml")}
        assert set(listed) == there - {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert {each["metadata"]["namespace"] for each in built.values()} == {"mirrorgate"}


def test_the_pods_run_the_image_as_the_user_that_it_has(pod: Manifest):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = re.search(r'"\.\[(.+)\]"', (DEPLOY / "Dockerfile").read_text())
    assert extras is not None
    assert (
        {"cluster", "postgresql"}
        <= set(extras[1].split(","))
        <= {*project["optional-dependencies"]}
    )
    user = int(next(rest for word, rest in instructions() if word == "USER"))
    identity = pod["securityContext"]
    assert identity["runAsNonRoot"] is True
    assert {identity[each] for each in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    for each in (*pod["initContainers"], *pod["containers"]):
        assert each["image"].endswith(f"/mirrorgate:{project['version']}")
        assert is_command(each["args"])
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ports_and_paths_are_those_of_the_configuration(
    built: dict[tuple[str, str], Manifest], pod: Manifest, config: Config
):
    (main,) = pod["containers"]
    ports = {each["name"]: str(each["containerPort"]) for each in main["ports"]}
    listens = (config.router.listen, config.dashboard.listen, config.admin.listen)
    assert [*ports.values()] == [port(listen) for listen in listens] == PORTS
    assert all(listen.startswith("0.0.0.0:") for listen in listens)
    services = [each for (kind, _), each in built.items() if kind == "Service"]
    labels = built["StatefulSet", "mirrorgate"]["spec"]["template"]["metadata"]["labels"]
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
    offered = [each["targetPort"] for service in services for each in service["spec"]["ports"]]
    assert sorted(offered) == sorted(ports)
    assert ("Service", built["StatefulSet", "mirrorgate"]["spec"]["serviceName"]) in built
    mounts = {each["mountPath"]: each["name"] for each in main["volumeMounts"]}
    assert mounts == {str(Path(FILE).parent): "config", RUN: "run", SECRETS: "secrets"}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == "mirrorgate"
    assert ("ConfigMap", "mirrorgate") in built
    assert Path(FILE) in DEFAULT_FILES
    assert config.admin.socket == f"{RUN}/mirrorgate.sock"


def test_the_secret_has_every_key_that_is_asked_for(built: dict[tuple[str, str], Manifest]):
    text = built["ConfigMap", "mirrorgate"]["data"]["config.toml"]
    asked = set(re.findall(rf"file:{SECRETS}/(\w+)", text))
    monitor = yaml.safe_load((MONITORING / "servicemonitor.yaml").read_text())
    token = monitor["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert asked == keys_of_the_secret()
    assert token["key"] in asked
    secret = built["StatefulSet", "mirrorgate"]["spec"]["template"]["spec"]["volumes"][1]["secret"]
    assert token["name"] == secret["secretName"] == "mirrorgate"


def test_pods_act_as_one_and_have_the_cores_that_they_ask_for(
    built: dict[tuple[str, str], Manifest], pod: Manifest, config: Config
):
    scaler = built["HorizontalPodAutoscaler", "mirrorgate"]["spec"]
    assert config.cluster.url
    assert config.cluster.hosts == scaler["minReplicas"]
    assert config.monitor.vantage == ""  # the host name, which is the pod's
    assert str(config.router.workers) == pod["containers"][0]["resources"]["requests"]["cpu"]


def test_probes_ask_for_what_is_answered_and_a_pod_may_drain(pod: Manifest, config: Config):
    (main,) = pod["containers"]
    asked = {name: main[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz"}
    assert main["readinessProbe"]["httpGet"]["path"] == "/readyz"
    endpoints = (REPOSITORY / "router/process/endpoints.py").read_text()
    for path in ("/healthz", "/readyz"):
        assert f'add_get("{path}"' in endpoints
    program, seconds = main["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    grace = pod["terminationGracePeriodSeconds"]
    assert grace > int(seconds) + STOP_WITHIN
    assert config.router.timeouts.drain == parse_duration("5m")


def test_every_selector_matches_the_pods(built: dict[tuple[str, str], Manifest]):
    (kind, name), budget = next(item for item in built.items() if item[0][0].endswith("Budget"))
    labels = built["StatefulSet", "mirrorgate"]["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items(), (kind, name)
    policy = built["NetworkPolicy", "mirrorgate"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    everywhere, prometheus = policy["ingress"]
    assert "from" not in everywhere
    assert [each["port"] for each in everywhere["ports"]] == ["api", "page"]
    assert [each["port"] for each in prometheus["ports"]] == ["admin"]
    target = built["HorizontalPodAutoscaler", "mirrorgate"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in built


def test_the_autoscaler_asks_for_a_number_that_there_is(
    built: dict[tuple[str, str], Manifest], tmp_path: Path
):
    pods, _ = built["HorizontalPodAutoscaler", "mirrorgate"]["spec"]["metrics"]
    name = pods["pods"]["metric"]["name"]
    (family,) = [each for each in FAMILIES if each.name == name]
    assert family.type == "gauge"
    adapter = yaml.safe_load((MONITORING / "prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    assert rule["seriesQuery"].partition("{")[0] == name
    assert [*rule["resources"]["overrides"]] == ["namespace", "pod"]
    query = rule["metricsQuery"].replace("<<.Series>>", name).replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.LabelMatchers>>", 'namespace="mirrorgate",pod=~"mirrorgate-0"')
    groups = [{"name": "a", "rules": [{"record": "a", "expr": query}]}]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    subprocess.run([require("promtool"), "check", "rules", file], check=True, timeout=60)


def test_prometheus_finds_the_pods_and_has_the_rules(built: dict[tuple[str, str], Manifest]):
    assert PROMETHEUS_RULE.read_text("utf-8") == prometheus_rule(), "python -m grafana.build"
    groups = yaml.safe_load(PROMETHEUS_RULE.read_text("utf-8"))["spec"]["groups"]
    files = sorted((REPOSITORY / "grafana/rules").glob("*.yaml"))
    assert groups == [g for each in files for g in yaml.safe_load(each.read_text())["groups"]]
    monitor = yaml.safe_load((MONITORING / "servicemonitor.yaml").read_text())["spec"]
    service = built["Service", "mirrorgate-pods"]
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    job = labels[monitor["jobLabel"]]
    example = yaml.safe_load((REPOSITORY / "grafana/provisioning/prometheus.yml").read_text())
    assert job == example["scrape_configs"][0]["job_name"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {each["name"] for each in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
