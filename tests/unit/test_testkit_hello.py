"""The censor's reader must find the name however a hello is cut, and never take junk for one."""

import ssl
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testkit.censor.rules import (
    MAX_HELLO,
    Hello,
    HelloReader,
    Read,
    Unread,
    parse_client_hello,
)

NAME = "blocked.mirror.test"
SPLITS = [(1,), (1, 1, 1), (4,), (3, 2, 50), (100, 20, 7)]
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
VERSIONS = st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
NAMES = st.lists(LABELS, min_size=1, max_size=6).map(lambda labels: ".".join([*labels, "test"]))


def client_hello(name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """A real one, by OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    context.set_alpn_protocols(["http/1.1"])
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


HELLO = client_hello(NAME)


def in_records(hello: bytes, sizes: tuple[int, ...]) -> bytes:
    """The same message in records of these sizes and one with the rest."""
    header, message = hello[:3], hello[5:]
    cuts = [0, *(end for end in accumulate(sizes) if end < len(message)), len(message)]
    parts = [message[a:b] for a, b in pairwise(cuts)]
    return b"".join(header + len(part).to_bytes(2) + part for part in parts)


def feed(reader: HelloReader, data: bytes, cuts: list[int]) -> Read:
    """Final result of the reader for these bytes in these segments."""
    read: Read = Unread.more
    for begin, end in pairwise([0, *sorted(cuts), len(data)]):
        if read is Unread.more and begin != end:
            read = reader.feed(data[begin:end])
    return read


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_in_a_real_hello_is_found(version: ssl.TLSVersion):
    assert parse_client_hello(client_hello(NAME, version)) == Hello(NAME)


def test_capitals_and_what_follows_the_hello_do_not_matter():
    shouted = HELLO.replace(NAME.encode(), NAME.upper().encode())
    assert shouted != HELLO
    assert parse_client_hello(shouted + b"\x14\x03\x03\x00\x01\x01") == Hello(NAME)


@pytest.mark.parametrize("name", [None, "192.0.2.7"])
def test_a_hello_to_nobody_or_to_an_address_names_nobody(name: str | None):
    assert parse_client_hello(client_hello(name)) == Hello(None)


@pytest.mark.parametrize("split", [(), *SPLITS])
def test_every_prefix_needs_more_and_the_whole_has_the_name(split: tuple[int, ...]):
    hello = in_records(HELLO, split)
    assert {parse_client_hello(hello[:end]) for end in range(len(hello))} == {Unread.more}
    assert parse_client_hello(hello) == Hello(NAME)


@pytest.mark.parametrize("split", SPLITS)
def test_a_censor_without_records_does_not_see_a_split_hello(split: tuple[int, ...]):
    hello = in_records(HELLO, split)
    assert parse_client_hello(hello, reassemble_records=False) is Unread.not_tls
    assert parse_client_hello(HELLO, reassemble_records=False) == Hello(NAME)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x03\x00\x06\x01\x00\x00\x02\x03\x03",
        HELLO[:5] + b"\x02" + HELLO[6:],
    ],
)
def test_junk_is_not_tls(junk: bytes):
    assert parse_client_hello(junk) is Unread.not_tls


def test_a_hello_that_never_ends_is_given_up():
    endless = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"a" * ((1 << 14) - 4)
    record = b"\x16\x03\x01\x40\x00" + b"a" * (1 << 14)
    assert parse_client_hello(endless + record) is Unread.more
    assert parse_client_hello(endless + record * (MAX_HELLO >> 14)) is Unread.not_tls


@given(NAMES, VERSIONS, st.lists(st.integers(1, 600), max_size=8), st.data())
def test_any_name_is_found_in_any_records_and_segments(
    name: str, version: ssl.TLSVersion, sizes: list[int], data: st.DataObject
):
    hello = in_records(client_hello(name, version), tuple(sizes))
    cuts = data.draw(st.lists(st.integers(0, len(hello)), max_size=10))
    assert feed(HelloReader(), hello, cuts) == Hello(name)


@given(st.lists(st.integers(1, len(HELLO) - 1), min_size=1, max_size=5))
def test_a_censor_without_tcp_misses_a_hello_in_pieces(cuts: list[int]):
    assert feed(HelloReader(reassemble_tcp=False), HELLO, cuts) is Unread.not_tls
    assert feed(HelloReader(reassemble_tcp=False), HELLO, []) == Hello(NAME)


@given(st.binary(max_size=2000))
def test_anything_can_be_read(data: bytes):
    assert parse_client_hello(data) in (Unread.more, Unread.not_tls)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_a_hello_with_a_wrong_byte_is_read_without_an_error(place: int, value: int):
    parse_client_hello(HELLO[:place] + bytes([value]) + HELLO[place + 1 :])
