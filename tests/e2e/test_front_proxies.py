"""The nginx and Caddy examples of `deploy/`, as they are written but for ports and certificates.

One name for API and page, TLS, server-sent events, WebSocket, uploads, the client's address.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.testkit.certs import Authority, Leaf
from tests.testkit.instance import Instance
from tests.testkit.mirror.process import MirrorProcess
from tests.testkit.mirror.server import TEST_KEY
from tests.testkit.ports import HOST, free_ports
from tests.testkit.processes import REPOSITORY, Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until, wait_until_async

pytestmark = pytest.mark.e2e

DEPLOY = REPOSITORY / "deploy"
NAME = "api.example.com"
CLIENT = "127.0.0.7"
FORGED = "203.0.113.9"
UPLOAD = 100 << 20
PIECE = bytes(1 << 20)
PATIENCE = aiohttp.ClientTimeout(120)


def swap(text: str, pairs: dict[str, str]) -> str:
    """The example with what a test has to change; each must be there."""
    for old, new in pairs.items():
        assert old in text, f"the example has no {old}"
        text = text.replace(old, new)
    return text


class Front:
    """A proxy in front of mirrorgate."""

    def __init__(self, process: Process, plain: int, port: int) -> None:
        self.process = process
        self.plain = f"http://{NAME}:{plain}"
        self.url = f"https://{NAME}:{port}"


def nginx(folder: Path, instance: Instance, leaf: Leaf, plain: int, port: int) -> Process:
    example = swap(
        (DEPLOY / "nginx/mirrorgate.conf").read_text(),
        {
            "listen 80;": f"listen {HOST}:{plain};",
            "listen 443 ": f"listen {HOST}:{port} ",
            "127.0.0.1:8080": instance.config["router"]["listen"],
            "127.0.0.1:8081": instance.config["dashboard"]["listen"],
            "/etc/letsencrypt/live/api.example.com/fullchain.pem": str(leaf.cert_file),
            "/etc/letsencrypt/live/api.example.com/privkey.pem": str(leaf.key_file),
        },
    )
    (folder / "mirrorgate.conf").write_text(example)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}\npid nginx.pid;\nerror_log stderr warn;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}include {folder}/mirrorgate.conf;\n}}\n"
    )
    command = [require("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return Process([*command, "-e", "stderr", "-g", "daemon off;"], folder / "front.log")


def caddy(folder: Path, instance: Instance, leaf: Leaf, plain: int, port: int) -> Process:
    example = swap(
        (DEPLOY / "caddy/Caddyfile").read_text(),
        {
            f"\n{NAME} {{\n": f"\n{NAME} {{\n\tbind {HOST}\n"
            f"\ttls {leaf.cert_file} {leaf.key_file}\n",
            "127.0.0.1:8080": instance.config["router"]["listen"],
            "127.0.0.1:8081": instance.config["dashboard"]["listen"],
        },
    )
    ports = f"{{\nadmin off\nhttp_port {plain}\nhttps_port {port}\nskip_install_trust\n}}\n"
    (folder / "Caddyfile").write_text(ports + example)
    command = [require("caddy"), "run", "--config", str(folder / "Caddyfile")]
    env = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    env["XDG_CONFIG_HOME"] = str(folder)
    return Process([*command, "--adapter", "caddyfile"], folder / "front.log", env=env)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MirrorProcess]:
    with MirrorProcess("alpha", tmp_path_factory.mktemp("mirror"), keys=[TEST_KEY]) as mirror:
        yield mirror


@pytest.fixture(scope="module")
def instance(mirror: MirrorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    config = {
        "router": {"workers": 1, "trusted_proxies": ["127.0.0.1"]},
        "dashboard": {"public_url": f"https://{NAME}/"},
        "log": {"access": "-"},
        "mirrors": [{"id": "alpha", "url": mirror.base_url, "allow_private": True}],
    }
    with Instance(config, tmp_path_factory.mktemp("instance")) as instance:
        yield instance


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def front(
    request: pytest.FixtureRequest,
    instance: Instance,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    plain, port = free_ports(2)
    folder = tmp_path_factory.mktemp("front")
    process = request.param(folder, instance, authority.issue(NAME), plain, port)
    try:
        wait_until(lambda: listens(plain) and listens(port), 60, "the proxy to listen")
        yield Front(process, plain, port)
    finally:
        process.kill()


class ThisMachine(AbstractResolver):
    """Every name is here."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=HOST, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def client(authority: Authority) -> AsyncIterator[aiohttp.ClientSession]:
    made: list[socket.socket] = []

    def of_client(address: tuple[Any, ...]) -> socket.socket:
        made.append(socket.socket(address[0], address[1]))
        made[-1].bind((CLIENT, 0))
        made[-1].setblocking(False)
        return made[-1]

    connector = aiohttp.TCPConnector(
        ssl=authority.client_context(), resolver=ThisMachine(), socket_factory=of_client
    )
    headers = {"Authorization": f"Bearer {TEST_KEY}", "X-Forwarded-For": FORGED}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session
    # Farewells of TLS go on after that.
    await wait_until_async(lambda: all(sock.fileno() < 0 for sock in made), 30, "ends")


def leave(answer: aiohttp.ClientResponse) -> None:
    """Break off a stream without end, and do not wait for the farewell of TLS."""
    assert answer.connection is not None
    assert answer.connection.transport is not None
    answer.connection.transport.abort()


CHAT = {"model": "gpt-4o", "stream": True, "messages": []}


async def test_the_first_event_of_a_stream_comes_while_the_mirror_is_silent(
    front: Front, client: aiohttp.ClientSession
):
    silent = {"x-test-behaviour": json.dumps({"stall_after": 2})}
    url = f"{front.url}/v1/chat/completions"
    async with client.post(url, json=CHAT, headers=silent, timeout=PATIENCE) as answer:
        assert answer.status == 200
        async with asyncio.timeout(60):
            seen = b""
            while b'"content"' not in seen:
                seen += await answer.content.readany()
        leave(answer)


async def test_a_websocket_passes_both_ways(front: Front, client: aiohttp.ClientSession):
    url = f"{front.url}/v1/realtime?model=gpt-realtime"
    async with asyncio.timeout(60), client.ws_connect(url) as wire:
        assert (await wire.receive_json())["type"] == "session.created"
        await wire.send_bytes(b"\0ping")
        assert await wire.receive_bytes() == b"\0ping"


async def test_a_hundred_megabytes_arrive_whole(
    front: Front, client: aiohttp.ClientSession, mirror: MirrorProcess
):
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(UPLOAD // len(PIECE)):
            yield PIECE

    form = aiohttp.FormData()
    form.add_field("purpose", "batch")
    form.add_field("file", pieces(), filename="large.jsonl")
    async with client.post(f"{front.url}/v1/files", data=form, timeout=PATIENCE) as answer:
        told: dict[str, Any] = await answer.json()
    assert (answer.status, told["bytes"]) == (200, UPLOAD)


async def test_the_client_is_who_the_proxy_sees_and_not_who_it_says_it_is(
    front: Front, client: aiohttp.ClientSession, instance: Instance
):
    async with client.get(f"{front.url}/v1/models", timeout=PATIENCE) as answer:
        its_id = answer.headers["x-mirrorgate-request-id"]

    def line() -> str:
        return next((line for line in instance.logs().splitlines() if its_id in line), "")

    written = await wait_until_async(line, 30, "the request in the access log")
    assert f"client={CLIENT} " in written


async def test_the_page_its_events_and_the_api_have_one_name(
    front: Front, client: aiohttp.ClientSession
):
    async with client.get(f"{front.url}/", timeout=PATIENCE) as page:
        assert (page.status, page.content_type) == (200, "text/html")
    async with client.get(f"{front.url}/events", timeout=PATIENCE) as events:
        assert events.content_type == "text/event-stream"
        async with asyncio.timeout(60):
            assert await events.content.readany()
        leave(events)
    for path in ("/healthz", "/readyz", "/v1/models", "/api/v1/health"):
        async with client.get(f"{front.url}{path}", timeout=PATIENCE) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
    async with client.get(f"{front.url}/v1/nowhere/x", timeout=PATIENCE) as unknown:
        assert "error" in await unknown.json()


async def test_without_tls_one_is_sent_to_it(front: Front, client: aiohttp.ClientSession):
    async with client.get(f"{front.plain}/docs?x=1", allow_redirects=False) as answer:
        assert answer.status in (301, 308)
        assert answer.headers["location"].startswith(f"https://{NAME}")
        assert answer.headers["location"].endswith("/docs?x=1")
