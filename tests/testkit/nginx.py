"""A real nginx that ends TLS in front of a pretend mirror: the usual shape of a mirror."""

import os
import socket
from pathlib import Path
from typing import Self

from tests.testkit.certs import Leaf
from tests.testkit.ports import HOST, free_port
from tests.testkit.processes import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until

START_TIMEOUT = 90.0
BIND_ATTEMPTS = 3

CONFIG = """\
{user}worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    keepalive_timeout {keepalive}s;
    keepalive_requests 100000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream mirror {{ server {host}:{upstream_port}; keepalive 64; }}
    server {{
        listen {host}:{port} ssl;
        server_name {names};
        ssl_certificate {cert_file};
        ssl_certificate_key {key_file};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://mirror;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_next_upstream off;
            proxy_read_timeout 3600s;
        }}
    }}
}}
"""


class Nginx:
    """nginx on a free port, in a folder of its own; a context manager. Needs nginx."""

    def __init__(
        self, directory: Path, upstream_port: int, leaf: Leaf, *, keepalive: int = 75
    ) -> None:
        self._program = require("nginx")
        self._directory, self._leaf = directory, leaf
        self._upstream_port, self._keepalive = upstream_port, keepalive
        self._process: Process | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        """Where it is, under a name for which its certificate holds, without /v1."""
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        """Start it, on the port that it had before if it ran before."""
        self._directory.mkdir(parents=True, exist_ok=True)
        attempts = 1 if self.port else BIND_ATTEMPTS
        for left in reversed(range(attempts)):
            self._launch(self.port or free_port())
            if self._listens():
                return
            if not (left and "Address already in use" in self.logs()):
                raise RuntimeError(f"nginx did not start:\n{self.logs()}")
            self.port = 0

    def stop(self) -> None:
        """SIGTERM: open connections are cut."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Kill -9, master and workers."""
        if self._process is not None:
            self._process.kill()

    def logs(self) -> str:
        """Return its error log."""
        return self._process.logs() if self._process else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.exit_code() is None:
            self.stop()

    def _launch(self, port: int) -> None:
        self.port = port
        config = self._directory / "nginx.conf"
        config.write_text(
            CONFIG.format(
                user="user root;\n" if os.geteuid() == 0 else "",
                host=HOST,
                port=port,
                upstream_port=self._upstream_port,
                names=" ".join(self._leaf.names),
                cert_file=self._leaf.cert_file,
                key_file=self._leaf.key_file,
                keepalive=self._keepalive,
            )
        )
        command = [self._program, "-p", str(self._directory), "-c", str(config)]
        command += ["-e", "stderr", "-g", "daemon off;"]
        self._process = Process(command, self._directory / "nginx.log")

    def _listens(self) -> bool:
        try:
            return wait_until(self._settled, START_TIMEOUT, "nginx to listen") == "listens"
        except BaseException:
            self.kill()
            raise

    def _settled(self) -> str | None:
        """Say what became of the start: "listens", "ended", or None while nobody knows."""
        assert self._process is not None
        if self._process.exit_code() is not None:
            return "ended"
        with socket.socket() as probe:
            return "listens" if probe.connect_ex((HOST, self.port)) == 0 else None
