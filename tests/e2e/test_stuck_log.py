"""An instance whose stdout and stderr are a pipe that nobody reads."""

import http.client
import os
import re
import time
from pathlib import Path

from tests.testkit.instance import Instance
from tests.testkit.instance_processes import kill_worker
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.wait import wait_until

LONG = "/v1/models/" + "x" * 480
"""Some 2000 lines with this path are more than a process keeps."""
ACCESS = re.compile(r"\S+Z info worker-0: client=\S+ method=(GET|POST) .* request_id=\S+")
OTHER = re.compile(
    r"\S+Z (debug|info|warning|error|critical) [\w-]+: .+|mirrorgate \S+ is starting with .+"
    r"|mirrorgate is ready|  .+"
)
DROPPED = re.compile(r"worker-0: (\d+) lines of the log were dropped")


class Unread(Instance):
    """Writes its log to a pipe, which is read only when the test asks for it."""

    reader: int

    def launch(self) -> None:
        fifo = self.directory / "instance.log"
        os.mkfifo(fifo)
        self.reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        self.read = b""
        super().launch()

    def logs(self) -> str:
        """Return all that was read until now, the pipe's content included."""
        try:
            while True:
                self.read += os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return self.read.decode()


def _asked(instance: Instance, path: str, count: int) -> set[int]:
    """Return the statuses of so many requests on one connection."""
    host = instance.config["router"]["listen"]
    connection = http.client.HTTPConnection(host, timeout=30)
    statuses = set()
    for _ in range(count):
        connection.request("GET", path, headers={"authorization": f"Bearer {TEST_KEY}"})
        answer = connection.getresponse()
        answer.read()
        statuses.add(answer.status)
    connection.close()
    return statuses


def _dropped_by_metric(instance: Instance) -> float:
    connection = http.client.HTTPConnection(instance.config["admin"]["listen"], timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r'mirrorgate_log_lines_dropped_total\{process="worker"\} (\S+)', text)
    return float(found[1]) if found else 0.0


def _whole(line: str) -> bool:
    return bool((ACCESS if "client=" in line else OTHER).fullmatch(line))


def test_an_instance_whose_log_nobody_reads_serves_reloads_restarts_workers_and_stops(
    tmp_path: Path,
) -> None:
    with MirrorProcess("a", tmp_path) as mirror:
        config = {
            "router": {"workers": 1, "timeouts": {"drain": 1}},
            "log": {"access": "-", "level": "debug"},
            "mirrors": [{"id": "a", "url": mirror.base_url}],
        }
        with Unread(config, tmp_path / "instance") as instance:
            assert len(_asked(instance, LONG, 2500)) == 1
            assert instance.reload({**config, "dashboard": {"title": "new"}})
            kill_worker(instance, instance.workers()[0].pid)
            assert _asked(instance, "/v1/models", 1) == {200}
            assert len(_asked(instance, LONG, 2500)) == 1
            wait_until(lambda: _dropped_by_metric(instance), 10, "the metric of dropped lines")
            wait_until(lambda: DROPPED.search(instance.logs()), 10, "how many lines were dropped")
            assert len(_asked(instance, LONG, 500)) == 1
            began = time.monotonic()
            assert instance.stop() == 0
            assert time.monotonic() - began < 8  # seconds: 1 to drain, 1 for each kind of process
            text = instance.logs()
            os.close(instance.reader)
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if not _whole(line)] == []
