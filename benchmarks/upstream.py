"""The pretend mirror of a workload, running on the core of the load."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cores import Cores
from benchmarks.proxies.base import Setting, listens, wait_until_it_answers
from benchmarks.requests import MODELS, reply
from benchmarks.workloads import Workload
from tests.testkit.certs import Authority, Leaf
from tests.testkit.ports import free_port
from tests.testkit.processes import Process, python_environment
from tests.testkit.programs import find

START_TIMEOUT = 20.0

STATIC = """\
{user}worker_processes 1;
worker_rlimit_nofile 16384;
pid mirror.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    client_header_buffer_size 16k;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port}{tls} backlog=4096;
        {certificate}
        location /v1/chat/completions {{ return 200 '{answer}'; }}
        location / {{ return 200 '{models}'; }}
    }}
}}
"""


@contextlib.contextmanager
def setting_for(workload: Workload, cores: Cores) -> Iterator[Setting]:
    """Start the mirror, and give what a proxy needs; all of it ends on leaving."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        directory = Path(name)
        authority = Authority(directory) if workload.tls else None
        leaf = authority.issue() if authority else None
        with _mirror(workload, directory, leaf) as port:
            yield Setting(directory, cores, port, authority.ca_file if authority else None)


@contextlib.contextmanager
def _mirror(workload: Workload, directory: Path, leaf: Leaf | None) -> Iterator[int]:
    directory = directory / "mirror"
    directory.mkdir()
    port = free_port()
    command = _static if workload.mirror == "static" else _own
    arguments = command(workload, directory, port, leaf)
    process = Process(arguments, directory / "mirror.log", env=python_environment())
    try:
        wait_until_it_answers(process, port, "the mirror", START_TIMEOUT, listens)
        yield port
    finally:
        process.kill()


def _static(workload: Workload, directory: Path, port: int, leaf: Leaf | None) -> list[str]:
    config = directory / "mirror.conf"
    certificate = ""
    if leaf:
        certificate = f"ssl_certificate {leaf.cert_file}; ssl_certificate_key {leaf.key_file};"
    config.write_text(
        STATIC.format(
            user="user root;\n" if os.geteuid() == 0 else "",
            port=port,
            tls=" ssl" if leaf else "",
            certificate=certificate,
            answer=reply(workload.reply_bytes).decode(),
            models=MODELS.decode(),
        )
    )
    command = [find("nginx") or "nginx", "-p", str(directory), "-c", str(config)]
    return [*command, "-e", "stderr", "-g", "daemon off;"]


def _own(workload: Workload, directory: Path, port: int, leaf: Leaf | None) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.mirror", f"--mode={workload.mirror}"]
    command += [f"--port={port}", f"--reply-bytes={workload.reply_bytes}"]
    return [*command, f"--cert={leaf.cert_file}", f"--key={leaf.key_file}"] if leaf else command
