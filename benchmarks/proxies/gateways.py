"""Other gateways for language models, from PyPI."""

import json
import os
from collections.abc import Mapping
from typing import ClassVar

from benchmarks import installs
from benchmarks.proxies.base import Proxy, Setting
from benchmarks.workloads import Workload
from tests.testkit.ports import free_port


class VllmRouter(Proxy):
    """https://github.com/vllm-project/router, in Rust."""

    name: ClassVar[str] = "vllm-router"

    def missing(self) -> str:
        return installs.install(self.name, "vllm-router")

    def version(self) -> str:
        return installs.version_of(self.name, "vllm-router")

    def serves(self, workload: Workload) -> bool:
        return workload.name != "upload"  # 0.1 takes every body for JSON

    def command(self, setting: Setting, port: int) -> list[str]:
        command = [str(installs.environment_of(self.name) / "vllm-router")]
        command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        command += ["--worker-urls", setting.upstream_url, "--policy", "round_robin"]
        command += ["--worker-startup-check-interval", "1", "--worker-startup-timeout-secs", "20"]
        command += ["--health-check-interval-secs", "3600"]
        return [*command, "--prometheus-port", str(free_port())]

    def environment(self, setting: Setting) -> Mapping[str, str]:
        trusted = {"SSL_CERT_FILE": str(setting.ca_file)} if setting.ca_file else {}
        return {**os.environ, **trusted}


class Litellm(Proxy):
    """https://github.com/BerriAI/litellm. It makes every answer anew: only JSON is compared."""

    name: ClassVar[str] = "litellm"
    start_timeout: ClassVar[float] = 120.0

    def missing(self) -> str:
        return installs.install(self.name, "litellm[proxy]")

    def version(self) -> str:
        return installs.version_of(self.name, "litellm")

    def serves(self, workload: Workload) -> bool:
        return workload.name in ("chat", "chat-single", "chat-many", "tail", "tail-many")

    def command(self, setting: Setting, port: int) -> list[str]:
        config = setting.directory / "litellm.yaml"
        config.write_text(json.dumps(self._config(setting)))  # JSON is YAML
        command = [str(installs.environment_of(self.name) / "litellm"), "--config", str(config)]
        return [*command, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]

    def environment(self, setting: Setting) -> Mapping[str, str]:
        return {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}

    def _config(self, setting: Setting) -> dict[str, object]:
        params = {
            "model": "openai/gpt-4o-mini",
            "api_base": f"{setting.upstream_url}/v1",
            "api_key": "sk-benchmark",
        }
        return {
            "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params}],
            "litellm_settings": {"telemetry": False},
            # It listens on the loopback address only; and without keys it has less to do.
            "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
        }
