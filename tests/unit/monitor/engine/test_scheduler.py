"""The parts of probes that need no network."""

import asyncio
import errno
import gzip
import random
import socket
import ssl
import subprocess
import sys
import threading
import zlib

import pytest

from monitor.common.config import MirrorConfig
from monitor.diagnosis.timing import NORMAL
from monitor.engine.anchors import Anchors
from monitor.engine.scheduler import Next, pause_before_next, share_of_interval
from monitor.probes.connect import MAX_ADDRESSES, resolve_host, usable
from monitor.probes.failures import failure_of
from monitor.probes.http import MAX_BODY, MAX_HEAD, NotHttp, ResponseReader, request_head
from monitor.probes.results import TIMED_OUT, ProbeFailure
from monitor.probes.system_resolver import Busy, SystemResolver
from monitor.probes.tls import alert_in


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::1",
    ],
)
def test_a_name_must_not_lead_into_a_private_network(address):
    with pytest.raises(ProbeFailure) as caught:
        usable([address], allow_private=False)
    assert caught.value.failure == "dns_bogon_error"
    assert usable([address], allow_private=True)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
@pytest.mark.parametrize("allow_private", [False, True])
def test_an_address_of_no_host_is_none(address, allow_private):
    with pytest.raises(ProbeFailure) as caught:
        usable([address], allow_private)
    assert caught.value.failure == "dns_no_answer"
    assert usable([address, "1.1.1.1"], allow_private) == ("1.1.1.1",)


@pytest.mark.parametrize(
    ("answers", "kept"),
    [
        (["1.1.1.1", "10.0.0.1", "1.1.1.1"], ("1.1.1.1",)),
        (["::ffff:1.1.1.1", "1.1.1.1"], ("1.1.1.1",)),
        (["2606:4700::1111", "1.1.1.1"], ("2606:4700::1111", "1.1.1.1")),
        (["64:ff9b::1.1.1.1"], ("64:ff9b::101:101",)),
    ],
)
def test_public_answers_are_kept_once_and_in_order(answers, kept):
    assert usable(answers, allow_private=False) == kept


def test_a_flood_of_answers_is_cut():
    assert len(usable([f"1.1.1.{n}" for n in range(99)], False)) == MAX_ADDRESSES


def test_no_answer_is_not_a_private_answer():
    with pytest.raises(ProbeFailure, match="dns_no_answer"):
        usable([], allow_private=False)


async def test_an_address_written_by_the_operator_is_used_as_it_is():
    assert await resolve_host("127.0.0.1", False, 1.0, SystemResolver()) == ("127.0.0.1",)
    assert await resolve_host("::1", False, 1.0, SystemResolver()) == ("::1",)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(errno.ECONNREFUSED, ""), "connection_refused"),
        (OSError(errno.ENETUNREACH, ""), "network_unreachable"),
        (OSError(errno.ETIMEDOUT, ""), "timed_out"),
        (TimeoutError(), "generic_timeout_error"),
        (EOFError(), "eof_error"),
        (socket.gaierror(socket.EAI_NONAME, ""), "dns_nxdomain_error"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "dns_temporary_failure"),
        (ssl.SSLError(1, "x"), "ssl_failed_handshake"),
        (OSError(errno.EIO, ""), "unknown_failure"),
        (ValueError(), "unknown_failure"),
    ],
)
def test_failures_carry_their_common_names(error, failure):
    assert failure_of(error) == failure


def test_an_alert_is_read_from_its_record():
    assert alert_in(bytes.fromhex("15030300020270")) == 112
    assert alert_in(bytes.fromhex("16030300020270")) is None
    assert alert_in(b"\x15") is None


def test_the_request_keeps_the_path_of_the_mirror_and_carries_no_key():
    mirror = MirrorConfig("hk", "https://api.example.com:8443/openai/", api_key="sk-secret")
    head = request_head(mirror, mirror.host, "mirrorgate/1")
    assert head.startswith(b"GET /openai/v1/models HTTP/1.1\r\nHost: api.example.com:8443\r\n")
    assert b"sk-secret" not in head
    assert b"authorization" not in head.lower()


def reader_of(data: bytes) -> ResponseReader:
    reader = ResponseReader()
    for start in range(0, len(data), 1000):
        if not reader.done:
            reader.feed(data[start : start + 1000])
    return reader


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_body_is_decoded_though_no_coding_was_asked_for(coding: str):
    plain = b'{"error": {}}'
    coded = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain)}.get(coding, plain)
    head = f"HTTP/1.1 401 No\r\nContent-Encoding: {coding}\r\nContent-Length: {len(coded)}\r\n\r\n"
    assert reader_of(head.encode() + coded).answer().body == plain


@pytest.mark.parametrize("size", [MAX_BODY - 2, MAX_BODY])
def test_a_body_that_is_longer_once_decoded_is_not_taken_for_the_whole(size: int):
    coded = gzip.compress(b'"%s"' % (b"x" * size))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(coded)}\r\n\r\n"
    answer = reader_of(head.encode() + coded).answer()
    assert len(answer.body) == MAX_BODY
    assert answer.complete == (size < MAX_BODY)


def test_an_interim_response_is_skipped():
    reader = reader_of(
        b"HTTP/1.1 103 Early\r\na: 1\r\n\r\nHTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\n{}"
    )
    assert reader.done
    assert reader.answer().status == 401
    assert reader.answer().body == b"{}"
    assert "a" not in reader.answer().headers


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\na: " + b"b" * MAX_HEAD * 2,
        b"HTTP/1.1 103 Early\r\n\r\n" * MAX_HEAD,
    ],
)
def test_what_is_not_a_bounded_http_response_is_refused(data):
    with pytest.raises(NotHttp):
        reader_of(data)


def test_a_body_is_read_up_to_a_limit():
    reader = reader_of(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * MAX_BODY * 2)
    assert reader.done
    assert len(reader.answer().body) == MAX_BODY
    assert not reader.answer().complete


def test_the_end_of_the_stream_ends_only_a_response_without_a_length():
    reader_of(b"HTTP/1.1 200 OK\r\n\r\nhello").end()
    for cut in (b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"):
        with pytest.raises(EOFError):
            reader_of(cut).end()


def test_a_doubtful_result_is_checked_again_soon():
    assert pause_before_next(15.0, Next.soon, share=1.2) == 3.0
    assert pause_before_next(60.0, Next.soon, share=1.2) == 3.0
    assert pause_before_next(1.0, Next.soon, share=1.2) == 0.2
    assert pause_before_next(15.0, Next.usual, share=1.2) == 18.0
    assert pause_before_next(15.0, Next.returning, share=1.2) == 1.0
    assert pause_before_next(1.0, Next.returning, share=1.2) == 0.2


def test_probes_are_jittered_and_spread_after_the_start():
    rng = random.Random(1)
    later = [share_of_interval(False, rng) for _ in range(500)]
    assert 0.8 <= min(later) < 0.85
    assert 1.15 < max(later) <= 1.2
    first = [share_of_interval(True, rng) for _ in range(500)]
    assert min(first) < 0.25
    assert 0.95 < max(first) <= 1.0


async def _host() -> None:
    with pytest.raises(ProbeFailure, match=TIMED_OUT):
        await resolve_host("slow.test", False, 0.01, SystemResolver())


async def _anchor() -> None:
    anchors = Anchors(NORMAL, lambda: 100.0)
    anchors.configure(["slow.test:53"])
    assert not await anchors.ask()


@pytest.mark.parametrize("ask", [_host, _anchor])
def test_a_resolver_that_hangs_keeps_no_process_from_ending(ask, monkeypatch):
    release, asked = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        release.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr("monitor.engine.anchors.TIMEOUT", 0.01)
    try:
        asyncio.run(asyncio.wait_for(ask(), 30))  # also waits for the loop's own threads
        assert asked.is_set()
        hanging = [t for t in threading.enumerate() if t.name == "resolve slow.test"]
        assert hanging
        assert hanging[0].daemon
    finally:
        release.set()


async def test_a_lookup_that_no_thread_could_be_started_for_is_not_waited_for(monkeypatch):
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    system = SystemResolver(lambda hostname: ["192.0.2.1"])
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(Busy):
            await system.addresses("api.test", 1.0)
    assert await system.addresses("api.test", 10.0) == ["192.0.2.1"]


def test_resolving_for_workers_loads_neither_database_nor_dns_library():
    code = (
        "import sys; from monitor.probes.connect import resolve_host;"
        "sys.exit(any(m in sys.modules for m in ('sqlmodel', 'sqlalchemy', 'dns', 'aiohttp')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
