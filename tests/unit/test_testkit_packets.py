"""The forged segments of the test injector must be what the sender of the hello would accept."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.testkit.censor.injector import (
    ACK,
    RST,
    SYN,
    Injector,
    Segment,
    checksum,
    packet_of,
    read_segment,
)
from tests.unit.test_testkit_hello import HELLO, NAME

CLIENT = Segment("10.91.1.2", 40000, "10.91.2.2", 443, 1000, 0, SYN)
SAYS = replace(CLIENT, seq=1001, ack=5001, flags=ACK, payload=HELLO)


@given(
    st.integers(0, (1 << 32) - 1),
    st.integers(0, (1 << 32) - 1),
    st.binary(max_size=100),
)
def test_a_segment_is_read_back_as_it_was_written(seq: int, ack: int, payload: bytes):
    segment = replace(SAYS, seq=seq, ack=ack, payload=payload)
    assert read_segment(packet_of(segment)) == segment


def test_the_checksum_holds():
    packet = packet_of(SAYS)
    pseudo = packet[12:20] + bytes([0, 6]) + (len(packet) - 20).to_bytes(2)
    assert checksum(pseudo + packet[20:]) == 0


def test_packets_that_are_not_tcp_are_ignored():
    packet = packet_of(SAYS)
    assert read_segment(packet[:39]) is None
    assert read_segment(b"\x60" + packet[1:]) is None
    assert read_segment(packet[:9] + b"\x11" + packet[10:]) is None


def test_both_ends_are_reset_where_they_expect_the_next_byte():
    injector = Injector(NAME, 0.0, "gfw")
    assert injector.forge(CLIENT, 0.0) == []
    forged = injector.forge(SAYS, 0.0)
    assert {segment.flags for segment in forged} == {RST | ACK}
    to_client = [s for s in forged if s.target == CLIENT.source]
    to_server = [s for s in forged if s.target == CLIENT.target]
    assert [s.seq for s in to_client] == [5001, 6461, 9381]
    assert [s.seq for s in to_server] == [SAYS.next_seq + offset for offset in (0, 1460, 4380)]
    assert {s.ack for s in to_client} == {SAYS.next_seq}


def test_a_hello_in_pieces_is_read_by_one_and_missed_by_the_other():
    first, second = replace(SAYS, payload=HELLO[:50]), replace(SAYS, payload=HELLO[50:])
    for style, expected in (("gfw", 6), ("henan", 0)):
        injector = Injector(NAME, 0.0, style)
        injector.forge(CLIENT, 0.0)
        assert injector.forge(first, 0.0) == []
        assert len(injector.forge(second, 0.0)) == expected


def test_a_new_connection_is_refused_while_the_ends_are_remembered():
    injector = Injector(NAME, 180.0, "gfw")
    injector.forge(CLIENT, 0.0)
    injector.forge(SAYS, 0.0)
    again = replace(CLIENT, source_port=40001)
    refusal = injector.forge(again, 179.0)[0]
    assert (refusal.ack, refusal.target_port) == (1001, 40001)
    assert injector.forge(replace(again, target="10.91.2.3"), 179.0) == []
    assert injector.forge(again, 180.0) == []


def test_a_connection_that_did_not_begin_under_its_eyes_is_left_alone():
    assert Injector(NAME, 0.0, "gfw").forge(SAYS, 0.0) == []
