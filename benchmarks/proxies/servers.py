"""nginx and HAProxy, as an operator would set them up for this work."""

import os
from typing import ClassVar

from benchmarks.proxies.base import Proxy, Setting, first_line
from tests.testkit.programs import find

NGINX = """\
{user}worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    upstream mirror {{
        server 127.0.0.1:{upstream_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://mirror;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 1h;
            {tls}
        }}
    }}
}}
"""

NGINX_TLS = """\
proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {ca_file};
            proxy_ssl_server_name on;
            proxy_ssl_name localhost;
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
"""

HAPROXY = """\
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    http-reuse always
    option http-no-delay
frontend api
    bind 127.0.0.1:{port} backlog 4096
    default_backend mirrors
backend mirrors
    server mirror 127.0.0.1:{upstream_port} {tls}
"""

HAPROXY_TLS = "ssl verify required ca-file {ca_file} sni str(localhost) verifyhost localhost"


class NginxProxy(Proxy):
    """One worker, kept connections to the mirror, nothing buffered."""

    name: ClassVar[str] = "nginx"

    def missing(self) -> str:
        return "" if find("nginx") else "get it with: apt-get install -y nginx"

    def version(self) -> str:
        return first_line(find("nginx") or "nginx", "-v").removeprefix("nginx version: ")

    def command(self, setting: Setting, port: int) -> list[str]:
        config = setting.directory / "nginx.conf"
        config.write_text(
            NGINX.format(
                user="user root;\n" if os.geteuid() == 0 else "",
                port=port,
                upstream_port=setting.upstream_port,
                scheme="https" if setting.ca_file else "http",
                tls=NGINX_TLS.format(ca_file=setting.ca_file) if setting.ca_file else "",
            )
        )
        command = [find("nginx") or "nginx", "-p", str(setting.directory), "-c", str(config)]
        return [*command, "-e", "stderr", "-g", "daemon off;"]


class HaproxyProxy(Proxy):
    """One thread, kept connections to the mirror.

    Without `http-no-delay` it held events back by 100 ms and more, so as to send several at once.
    """

    name: ClassVar[str] = "haproxy"

    def missing(self) -> str:
        return "" if find("haproxy") else "get it with: apt-get install -y haproxy"

    def version(self) -> str:
        return " ".join(first_line(find("haproxy") or "haproxy", "-v").split()[:3])

    def command(self, setting: Setting, port: int) -> list[str]:
        config = setting.directory / "haproxy.cfg"
        tls = HAPROXY_TLS.format(ca_file=setting.ca_file) if setting.ca_file else ""
        config.write_text(HAPROXY.format(port=port, upstream_port=setting.upstream_port, tls=tls))
        return [find("haproxy") or "haproxy", "-db", "-f", str(config)]
