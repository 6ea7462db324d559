"""The handle on a running mirrorgate, tried on a stand-in that is not mirrorgate at all."""

import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.testkit.instance import Instance
from tests.testkit.processes import DidNotStop, python_environment, runs
from tests.testkit.wait import wait_until

STAND_IN = """
import http.server, json, os, signal, subprocess, sys, tomllib
mode = os.environ["MODE"]
if sys.argv[1] == "reload":
    print(json.dumps({"arguments": sys.argv[1:]}))
    sys.exit(0)
print("mode", mode, flush=True)
if mode == "broken":
    sys.exit(3)
for module in ("router.process.worker", "router.process.worker", "router.control.control"):
    subprocess.Popen([sys.executable, "-m", module])
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if mode == "unready" else 200)
        self.end_headers()
host, port = tomllib.load(open("config.toml", "rb"))["router"]["listen"].split(":")
http.server.HTTPServer((host, int(port)), Answer).serve_forever()
"""
KILLED_TESTS = """
import os, signal, sys
from pathlib import Path
from tests.testkit.processes import Process
from tests.testkit.wait import wait_until
pid = Process(["sleep", "600"], Path(sys.argv[1])).pid
wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\\n")
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
SLEEPER = "import time\ntime.sleep(600)\n"


def _instance(directory: Path, mode: str, config: Mapping[str, object] | str = "") -> Instance:
    """Return an instance that finds the stand-in first: `-m` looks in the current folder."""
    package = directory / "instance" / "router"
    for room in ("process", "control"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    (package / "process" / "worker.py").write_text(SLEEPER)
    (package / "control" / "control.py").write_text(SLEEPER)
    return Instance(config, directory / "instance", env={"MODE": mode})


def test_it_is_ready_when_entered_and_its_children_are_told_apart(tmp_path: Path):
    with _instance(tmp_path, "good") as instance:
        assert [child.role for child in instance.children()] == ["worker", "worker", "control"]
        assert len(instance.workers()) == 2
        assert instance.control().role == "control"
        assert "mode good" in instance.logs()
        assert instance.stop() == 0


def test_nothing_is_left_after_it(tmp_path: Path):
    with _instance(tmp_path, "good") as instance:
        pids = [instance.pid, *(child.pid for child in instance.children())]
    assert not [pid for pid in pids if runs(pid)]


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path):
    command = [sys.executable, "-c", KILLED_TESTS, str(tmp_path / "log")]
    tests = subprocess.run(
        command, env=python_environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert tests.returncode == -signal.SIGKILL, tests.stderr
    wait_until(lambda: not runs(int(tests.stdout)), what="the process to be gone")


def test_one_that_ends_at_once_is_reported_with_its_log(tmp_path: Path):
    with pytest.raises(AssertionError, match=r"ended with 3\n(.|\n)*mode broken"):
        _instance(tmp_path, "broken").__enter__()


def test_one_that_never_gets_ready_is_reported_and_killed(tmp_path: Path):
    instance = _instance(tmp_path, "unready")
    instance.launch()
    try:
        with pytest.raises(AssertionError, match="readyz to answer 200"):
            instance.wait_ready(timeout=1)
    finally:
        instance.close()
    assert instance.exit_code() is not None


def test_one_that_ignores_sigterm_is_killed_and_that_is_a_failure(tmp_path: Path):
    with _instance(tmp_path, "deaf") as instance:
        with pytest.raises(DidNotStop):
            instance.stop(timeout=0.3)
        assert instance.exit_code() is not None


def test_missing_settings_are_filled_in_and_given_ones_stay(tmp_path: Path):
    given = '[router]\nworkers = 3\n[monitor]\ninterval = "1s"\n[[mirrors]]\nid = "a"\n'
    instance = _instance(tmp_path, "good", given)
    written = tomllib.loads(instance.config_file.read_text())
    instance.close()
    assert written["router"]["workers"] == 3
    assert written["router"]["listen"].startswith("127.0.0.1:")
    assert written["monitor"] == {"anchors": [], "sni": {"control": []}, "interval": "1s"}
    assert written["mirrors"] == [{"id": "a"}]
    assert len(written["admin"]["socket"]) < 100


def test_commands_run_with_its_configuration(tmp_path: Path):
    instance = _instance(tmp_path, "good")
    told = instance.reload({"router": {"workers": 5}})
    assert told["arguments"] == ["reload", "--json", "--config", str(instance.config_file)]
    assert tomllib.loads(instance.config_file.read_text())["router"]["workers"] == 5
    instance.close()
