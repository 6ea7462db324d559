"""Probes against real sockets that behave well, badly and not at all."""

import asyncio
import contextlib
import datetime
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor.common.config import MirrorConfig, MonitorConfig, MonitorTimeouts
from monitor.engine.diagnose import ProbeReport, probe_once
from monitor.probes import http
from monitor.probes.connect import connect
from monitor.probes.results import Operation, Way
from monitor.probes.tls import Shake, TlsContexts, control_passes
from tests.testkit import listener
from tests.testkit.certs import Authority, Leaf
from tests.testkit.ports import free_port

UNAUTHORIZED = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nCF-Ray: 1-HKG\r\n"
    b'Content-Length: 46\r\n\r\n{"error":{"message":"m","code":"no_api_key" }}'
)
CONFIG = MonitorConfig(timeouts=MonitorTimeouts(connect=5, handshake=5, request=5))
HASTY = MonitorConfig(timeouts=MonitorTimeouts(connect=5, handshake=0.3, request=5))

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server with this handler; returns its port."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            handler: Handler, tls: Leaf | None = None, host="127.0.0.1", port=None
        ) -> int:
            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await handler(reader, writer)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

            context = tls.server_context() if tls else None
            # A port that no outgoing connection takes, so that it is free at another host as well.
            bound: int = free_port() if port is None else port
            server = await asyncio.start_server(handle, host, bound, ssl=context)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            return bound

        yield start


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(UNAUTHORIZED)
    await writer.drain()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    listener.reset(writer.transport)


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(65536)


def saying(data: bytes, then_reset: bool = False) -> Handler:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(data)
        await writer.drain()
        if then_reset:
            listener.reset(writer.transport)
        else:
            await reader.read()

    return say


async def probe(url: str, config: MonitorConfig = CONFIG, **options) -> ProbeReport:
    options = {"allow_private": True, **options}
    return await probe_once(MirrorConfig("m", url, **options), config)


def last(report: ProbeReport):
    return report.probe.paths[-1].last


async def test_a_good_mirror_is_good_and_shows_its_facts(serve, authority: Authority):
    port = await serve(answer, authority.issue("mirror.test"))
    report = await probe(
        f"https://mirror.test:{port}", addresses=("127.0.0.1",), ca_file=str(authority.ca_file)
    )
    assert (report.verdict, report.ok, report.cdn) == ("ok", True, "cloudflare")
    shaken = report.probe.paths[0].step(Operation.tls_handshake)
    assert shaken is not None
    assert shaken.tls is not None
    assert (shaken.tls.not_after or 0) > time.time()
    assert shaken.tls.issuer.startswith("trustme")
    assert shaken.tls.version.startswith("TLSv1")
    assert 0 < last(report).first_byte < 5
    assert report.lines()[-1] == "verdict: ok"


OTHER_JSON = b'{"status":404,"error":"Not Found"}'
PAGE_404 = b"<html><head><title>404 Not Found</title></head></html>"


@pytest.mark.parametrize(
    ("body", "completions", "verdict"),
    [
        (OTHER_JSON, "404 Not Found", "not_openai_api"),
        (OTHER_JSON, "401 Unauthorized", "ok"),
        (PAGE_404, "404 Not Found", "http_diff"),
        (PAGE_404, "401 Unauthorized", "ok"),
    ],
)
async def test_a_mirror_without_a_list_is_asked_about_completions(
    serve, body, completions, verdict
):
    asked = []

    async def other_api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" HTTP/")[0])
        status = completions if head.startswith(b"POST") else "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    report = await probe(f"http://127.0.0.1:{await serve(other_api)}/base")
    assert report.verdict == verdict
    assert asked == [b"GET /base/v1/models", b"POST /base/v1/chat/completions"]


@dataclass
class Mute:
    """A connection on which nothing comes back."""

    on_its_way: int

    async def write(self, data: bytes) -> None:
        pass

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    def unacknowledged(self) -> int:
        return self.on_its_way


@pytest.mark.parametrize("on_its_way", [0, 1])
async def test_a_request_is_lost_if_nobody_acknowledges_it(monkeypatch, on_its_way: int):
    monkeypatch.setattr(http, "LOST_AFTER", 0.01)
    timeout = 60.0 if on_its_way else 0.05
    mirror, way = MirrorConfig("m", "https://mirror.test"), Way("mirror.test", "192.0.2.1")
    step = await http.request(Mute(on_its_way), mirror, way, "agent", timeout)
    assert (step.failure, step.lost) == ("generic_timeout_error", bool(on_its_way))


async def test_the_goodbye_of_a_control_arrives_at_a_server_that_lives(serve, authority):
    port = await serve(silence, authority.issue("mirror.test"))
    connection, _ = await connect("127.0.0.1", port, 10.0)
    assert connection is not None
    with connection:
        shake = Shake("127.0.0.1", "mirror.test", "control.test")
        assert await control_passes(connection, TlsContexts().for_control(), shake, 10.0)


async def test_a_mirror_at_an_address_is_verified_for_that_address(serve, authority: Authority):
    port = await serve(answer, authority.issue())
    report = await probe(f"https://127.0.0.1:{port}", ca_file=str(authority.ca_file))
    assert report.verdict == "ok"


async def test_plain_http_mirrors_are_probed_too(serve):
    port = await serve(answer)
    assert (await probe(f"http://127.0.0.1:{port}")).verdict == "ok"


async def test_a_closed_port_refuses():
    report = await probe(f"https://127.0.0.1:{free_port()}")
    assert (report.verdict, last(report).failure) == ("connection_refused", "connection_refused")


@pytest.mark.parametrize(
    ("handler", "verdict", "failure"),
    [
        (reset, "tls_reset", "connection_reset"),
        (close, "tls_eof", "eof_error"),
        (silence, "tls_timeout", "generic_timeout_error"),
        (saying(bytes.fromhex("15030300020270")), "tls_alert", "ssl_failed_handshake"),
        (saying(b"HTTP/1.1 302 Found\r\n\r\n"), "block_page", "ssl_failed_handshake"),
        (saying(b"SSH-2.0-x\r\n"), "tls_failed", "ssl_failed_handshake"),
        (saying(b"\x16\x03\x03\x10\x00", then_reset=True), "tls_reset_late", "connection_reset"),
    ],
    ids=["reset", "close", "silence", "alert", "plain-http", "ssh", "late-reset"],
)
async def test_endings_of_a_handshake_are_classified(serve, handler, verdict, failure):
    port = await serve(handler)
    config = HASTY if handler is silence else CONFIG
    report = await probe(f"https://localhost:{port}", config, addresses=("127.0.0.1",))
    step = last(report)
    assert (report.verdict, step.failure) == (verdict, failure)
    assert step.operation is Operation.tls_handshake
    assert step.tls.since_hello is not None
    assert (step.tls.received == 0) == (handler in (reset, close, silence))


async def test_a_certificate_for_another_name_is_refused(serve, authority: Authority):
    port = await serve(answer, authority.issue("other.test", local=False))
    report = await probe(f"https://127.0.0.1:{port}", ca_file=str(authority.ca_file))
    assert (report.verdict, last(report).tls.verify_code) == ("ssl_invalid_hostname", 64)
    named = await probe(
        f"https://mirror.test:{port}", addresses=("127.0.0.1",), ca_file=str(authority.ca_file)
    )
    assert (named.verdict, last(named).tls.verify_code) == ("ssl_invalid_hostname", 62)


async def test_an_expired_certificate_is_refused(serve, authority: Authority):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    port = await serve(answer, authority.issue(not_after=yesterday))
    report = await probe(f"https://127.0.0.1:{port}", ca_file=str(authority.ca_file))
    assert report.verdict == "cert_expired"


async def test_a_certificate_of_a_stranger_is_refused(serve, authority: Authority, tmp_path: Path):
    port = await serve(answer, authority.issue())
    stranger = Authority(tmp_path)
    report = await probe(f"https://127.0.0.1:{port}", ca_file=str(stranger.ca_file))
    assert report.verdict == "ssl_unknown_authority"
    assert (await probe(f"https://127.0.0.1:{port}")).verdict == "ssl_unknown_authority"


async def test_a_missing_ca_file_is_said(serve, authority: Authority):
    port = await serve(answer, authority.issue())
    report = await probe(f"https://127.0.0.1:{port}", ca_file="/nonexistent/ca.pem")
    assert (report.verdict, report.ok) == ("tls_failed", False)
    assert "ca_file" in report.sentence


async def test_nothing_is_sent_before_the_certificate_is_verified_and_never_a_key(
    serve, authority: Authority
):
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(UNAUTHORIZED)

    port = await serve(listen, authority.issue("other.test", local=False))
    url, ca_file = f"https://127.0.0.1:{port}", str(authority.ca_file)
    assert not (await probe(url, ca_file=ca_file, api_key="sk-secret")).ok
    assert not received

    port = await serve(listen, authority.issue())
    report = await probe(f"https://127.0.0.1:{port}", ca_file=ca_file, api_key="sk-secret")
    assert report.ok
    assert received.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"User-Agent: mirrorgate" in received
    assert b"sk-secret" not in received


@pytest.mark.parametrize(
    ("handler", "verdict"),
    [
        (reset, "http_reset"),
        (close, "http_eof"),
        (silence, "http_timeout"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), "http_timeout"),
        (saying(b"SSH-2.0-x\r\n"), "http_malformed"),
        (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), "http_diff"),
        (saying(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"), "upstream_overloaded"),
    ],
    ids=["reset", "close", "silence", "stall", "ssh", "html", "502"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_endings_of_a_request_are_classified(
    serve, authority: Authority, scheme, handler, verdict
):
    port = await serve(handler, authority.issue() if scheme == "https" else None)
    timeouts = MonitorTimeouts(connect=5, handshake=5, request=0.3)
    config = MonitorConfig(timeouts=timeouts) if "timeout" in verdict else CONFIG
    report = await probe(f"{scheme}://127.0.0.1:{port}", config, ca_file=str(authority.ca_file))
    assert (report.verdict, report.ok) == (verdict, False)
    assert last(report).operation is Operation.http_round_trip


NO_CERTIFICATE = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 43\r\n\r\n"
    b"<html>No required SSL certificate was sent."
)


@dataclass(frozen=True)
class Asking(Leaf):
    """Asks clients for a certificate."""

    latest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    mode: ssl.VerifyMode = ssl.CERT_REQUIRED

    def server_context(self) -> ssl.SSLContext:
        context = super().server_context()
        context.maximum_version, context.verify_mode = self.latest, self.mode
        return context


@pytest.mark.parametrize(
    ("handler", "asks", "verdict"),
    [
        (answer, {"latest": ssl.TLSVersion.TLSv1_2}, "tls_failed"),
        (answer, {}, "tls_failed"),
        (close, {}, "tls_failed"),
        (saying(NO_CERTIFICATE), {"mode": ssl.CERT_OPTIONAL}, "tls_failed"),
        (close, {"mode": ssl.CERT_OPTIONAL}, "tls_failed"),
        (answer, {"mode": ssl.CERT_OPTIONAL}, "ok"),
        (close, {"mode": ssl.CERT_NONE}, "http_eof"),
    ],
)
async def test_a_server_that_wants_a_client_certificate_is_told_in_one_way(
    serve, authority: Authority, handler, asks, verdict
):
    leaf = authority.issue()
    asking = Asking(leaf.cert_file, leaf.key_file, leaf.names, **asks)
    url = f"https://localhost:{await serve(handler, tls=asking)}"
    mirror = MirrorConfig("m", url, allow_private=True, ca_file=str(authority.ca_file))
    report = await probe_once(mirror, CONFIG)
    assert report.verdict == verdict
    wants = report.sentence == "the server asks for a client certificate"
    assert wants is (verdict == "tls_failed")


async def test_an_endless_body_ends_the_probe_not_the_memory(serve):
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"data": [')
        while True:
            writer.write(b'{"id": "x"},' * 1000)
            await writer.drain()

    port = await serve(endless)
    report = await probe(f"http://127.0.0.1:{port}")
    assert report.verdict == "ok"
    assert not last(report).http.complete


async def test_a_dead_address_does_not_hide_one_that_works(serve, authority: Authority):
    port = await serve(answer, authority.issue("mirror.test"), host="127.0.0.2")
    report = await probe(
        f"https://mirror.test:{port}",
        addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3"),
        ca_file=str(authority.ca_file),
    )
    assert report.verdict == "ok"
    assert [path.address for path in report.probe.paths] == ["127.0.0.1", "127.0.0.2"]
    assert report.probe.best is not None
    assert report.probe.best.address == "127.0.0.2"


async def test_a_silent_address_does_not_hide_one_that_works(serve, authority: Authority):
    patient = MonitorConfig(timeouts=MonitorTimeouts(handshake=50))
    port = await serve(silence)
    await serve(answer, authority.issue("mirror.test"), host="127.0.0.2", port=port)
    report = await probe(
        f"https://mirror.test:{port}",
        patient,
        addresses=("127.0.0.1", "127.0.0.2"),
        ca_file=str(authority.ca_file),
    )
    assert report.verdict == "ok"
    assert report.probe.best is not None
    assert report.probe.best.address == "127.0.0.2"


async def test_at_most_three_addresses_are_tried():
    addresses = tuple(f"127.0.0.{n}" for n in range(1, 9))
    report = await probe(f"http://mirror.test:{free_port()}", addresses=addresses)
    assert len(report.probe.paths) == 3


async def test_a_name_for_the_loopback_is_refused_unless_allowed(serve):
    port = await serve(answer)
    report = await probe(f"http://localhost:{port}", allow_private=False)
    assert (report.verdict, report.probe.paths) == ("dns_bogon", ())
    assert (await probe(f"http://localhost:{port}", allow_private=True)).verdict == "ok"


async def test_a_broken_off_probe_leaves_no_socket_behind(serve):
    arrived = asyncio.Event()
    gone = asyncio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        gone.set()

    port = await serve(watch)
    task = asyncio.create_task(probe(f"http://127.0.0.1:{port}"))
    async with asyncio.timeout(5):
        await arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await gone.wait()
