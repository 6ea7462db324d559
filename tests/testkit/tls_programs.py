"""Real nginx and HAProxy that answer by themselves as OpenAI does to a request without a key."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.testkit.certs import Leaf
from tests.testkit.ports import HOST, free_port
from tests.testkit.process import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until

ANSWER = '{"error": {"message": "no key", "type": "invalid_request_error", "code": null}}'
START_TIMEOUT = 90.0

NGINX = """\
{user}worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {host}:{port}{tls};
        default_type application/json;
        location / {{ return 401 '{answer}'; }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    timeout client 10s
frontend mirror
    bind {host}:{port}{tls}
    http-request return status 401 content-type application/json string '{answer}'
"""

Program = Callable[[Path, Leaf | None, int], list[str]]
"""Writes the configuration into a folder; returns the command."""


def nginx(directory: Path, leaf: Leaf | None, port: int) -> list[str]:
    """Without a certificate it speaks plain HTTP."""
    tls = ""
    if leaf:
        tls = f" ssl; ssl_certificate {leaf.cert_file}; ssl_certificate_key {leaf.key_file}"
    text = NGINX.format(
        user="user root;\n" if os.geteuid() == 0 else "",
        host=HOST,
        port=port,
        tls=tls,
        answer=ANSWER,
    )
    (directory / "nginx.conf").write_text(text)
    return [require("nginx"), "-p", str(directory), "-c", "nginx.conf"]


def haproxy(directory: Path, leaf: Leaf | None, port: int) -> list[str]:
    """Without a certificate it speaks plain HTTP."""
    both = directory / "both.pem"
    if leaf:
        both.write_bytes(leaf.cert_file.read_bytes() + leaf.key_file.read_bytes())
    text = HAPROXY.format(
        host=HOST, port=port, tls=f" ssl crt {both}" if leaf else "", answer=ANSWER
    )
    (directory / "haproxy.cfg").write_text(text)
    return [require("haproxy"), "-f", str(directory / "haproxy.cfg"), "-db"]


PROGRAMS: dict[str, Program] = {"nginx": nginx, "haproxy": haproxy}


@contextmanager
def serving(program: Program, directory: Path, leaf: Leaf | None) -> Iterator[int]:
    """Run one on a free port, which is given; it is ended afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(program(directory, leaf, port), directory / "log", cwd=directory)
    try:
        wait_until(lambda: _listens(port) or process.exit_code() is not None, START_TIMEOUT)
        assert process.exit_code() is None, process.logs()
        yield port
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose queue is full: the kernel drops what knocks, as a firewall would."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((HOST, 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port: int = listener.getsockname()[1]
        yield port


def self_signed(directory: Path, name: str) -> Leaf:
    """A certificate for `name` that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    leaf = Leaf(directory / "self.pem", directory / "self.key", (name,))
    leaf.cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    leaf.key_file.write_bytes(private)
    return leaf
