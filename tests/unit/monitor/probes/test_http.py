"""The request of a probe, and how its response is read."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from monitor.common.config import MirrorConfig
from monitor.probes.http import MAX_BODY, MAX_HEAD, NotHttp, ResponseReader, request_head


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


def bare_deflate(body: bytes) -> bytes:
    """Without the header that RFC 9110 section 8.4.1.2 asks for: some servers leave it out."""
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(body) + engine.flush()


@pytest.mark.parametrize(
    ("coding", "code"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:])),
        ("deflate", zlib.compress),
        ("deflate", bare_deflate),
        ("gzip", bytes),
        ("br", bytes),
    ],
    ids=["gzip", "two members", "deflate", "without header", "not compressed", "unknown"],
)
def test_a_body_is_decoded_though_no_coding_was_asked_for(
    coding: str, code: Callable[[bytes], bytes]
):
    plain = b'{"error": {}}'
    coded = code(plain)
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
def test_malformed_and_unbounded_responses_are_refused(data):
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
