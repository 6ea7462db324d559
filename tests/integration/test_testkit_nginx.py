"""nginx in front of a pretend mirror: TLS, streams as they come, and a sudden death."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testkit.certs import Authority
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.nginx import Nginx

AUTH = {"Authorization": f"Bearer {TEST_KEY}"}
CHAT = {"model": "gpt-4", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def front(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    directory = tmp_path_factory.mktemp("front")
    leaf = authority.issue("alpha.mirror.test")
    with (
        MirrorProcess("alpha", directory) as mirror,
        Nginx(directory / "nginx", mirror.port, leaf) as nginx,
    ):
        yield nginx


@pytest.mark.parametrize("name", ["alpha.mirror.test", "localhost", "127.0.0.1"])
def test_its_certificate_holds_for_its_names(front: Nginx, authority: Authority, name: str):
    assert _shake_hands(front.port, authority, name)


def test_its_certificate_holds_for_no_other_name(front: Nginx, authority: Authority):
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(front.port, authority, "beta.mirror.test")


def _shake_hands(port: int, authority: Authority, name: str) -> bool:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        authority.client_context().wrap_socket(plain, server_hostname=name) as secured,
    ):
        return secured.version() is not None


def test_a_stream_is_not_held_back(front: Nginx, authority: Authority):
    headers = AUTH | {"x-test-behaviour": '{"stall_after": 1}'}
    context = authority.client_context()
    connection = http.client.HTTPSConnection("localhost", front.port, timeout=10, context=context)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), headers)
        with connection.getresponse() as answer:
            lines = [answer.readline() for _ in range(3)]
    finally:
        connection.close()
    assert b'"content": "hi"' in lines[2]


def test_killed_it_is_gone_at_once_and_can_come_back_on_its_port(
    front: Nginx, authority: Authority, tmp_path: Path
):
    with Nginx(tmp_path / "nginx", front.port, authority.issue()) as nginx:
        port = nginx.port
        nginx.kill()
        with pytest.raises(ConnectionRefusedError), _connected(port):
            pass
        nginx.start()
        assert nginx.port == port
        with _connected(port):
            pass


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)
