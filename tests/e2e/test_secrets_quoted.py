"""The key of a mirror that quotes it in all its errors is nowhere that anybody could read."""

from pathlib import Path

import pytest

from tests.testkit.http_client import chat
from tests.testkit.instance import Instance
from tests.testkit.instance_output import nodes, traces
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.wait import wait_until

pytestmark = pytest.mark.e2e

KEY = "sk-CanaryOfTheMirror0123456789"
TOKEN = "CanaryOfTheMetricsToken0123456789"


def config_for(mirror: MirrorProcess, secret: Path) -> dict[str, object]:
    table = {"id": "a", "url": mirror.base_url, "addresses": ["127.0.0.1"]}
    return {
        "router": {"workers": 1, "callers": ["own", "anonymous"], "cors_origins": []},
        "monitor": {"interval": 1},
        "admin": {"metrics_token": TOKEN},
        "log": {"level": "debug"},
        "mirrors": [table | {"api_key": f"file:{secret}"}],
    }


def test_neither_pages_nor_logs_nor_commands_show_what_a_mirror_says_of_its_key(tmp_path: Path):
    secret = tmp_path / "kept" / "key"
    secret.parent.mkdir()
    secret.write_text(KEY)
    with MirrorProcess("a", tmp_path, keys=["*"]) as mirror:
        mirror.behave(status=500, error_code=f"echo {KEY}", models=[KEY])
        with Instance(config_for(mirror, secret), tmp_path / "instance") as instance:
            verdict = "upstream_overloaded"
            wait_until(lambda: nodes(instance)["a"]["verdict"] == verdict, 20, "a verdict")
            answers = []
            for status in (500, 401, 403, 429, 400):
                mirror.behave(status=status)
                answers.append(chat(instance.base_url, key=""))
            assert not any(KEY in repr((each.headers, each.body)) for each in answers)
            ids = [each.headers["x-mirrorgate-request-id"] for each in answers[:2]]
            found = [where for where, content in traces(instance, TOKEN) if KEY.encode() in content]
            for words in (("probe", "a", "--markdown"), *(("explain", each) for each in ids)):
                ran = instance.command(*words)
                assert ran.stdout, (words, ran.stderr)
                if KEY in ran.stdout + ran.stderr:
                    found.append(" ".join(words))
            assert found == []
            assert KEY not in instance.logs()
