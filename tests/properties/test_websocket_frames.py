"""WebSocket frames in any pieces are what they are whole, told with another encoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame
from websockets.frames import Opcode as Theirs

from router.wire.websocket import (
    CLOSE,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    BadFrame,
    FrameReader,
    Message,
    close_frame,
    frame,
    masked,
)

MOST = 100_000
sizes = st.one_of(st.integers(0, 130), st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000]))


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[int, bytes, int]]:
    """Opcode, payload and number of fragments of some messages and control frames."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            size, seed = draw(sizes), draw(st.binary(min_size=1, max_size=9))
            payload = (seed * (size // len(seed) + 1))[:size]
            found.append((draw(st.sampled_from([1, 2])), payload, draw(st.integers(1, 4))))
        else:
            opcode = draw(st.sampled_from([8, 9, 10]))
            payload = draw(st.binary(max_size=123))
            found.append((opcode, b"\x03\xe8" + payload if opcode == 8 else payload, 1))
    return found


def encoded(found: list[tuple[int, bytes, int]], mask: bool) -> tuple[bytes, list[Message]]:
    """Their bytes by another encoder, with a ping between fragments, and what must be read."""
    data, wanted = b"", []
    for opcode, payload, count in found:
        step = len(payload) // count
        raw = b""
        for at in range(count):
            last = at == count - 1
            part = payload[at * step :] if last else payload[at * step : (at + 1) * step]
            kind = Theirs(opcode) if at == 0 else Theirs.CONT
            piece = Frame(kind, part, fin=last).serialize(mask=mask)
            data += piece
            raw += piece
            if not last:
                ping = Frame(Theirs.PING, b"between").serialize(mask=mask)
                data += ping
                wanted.append(Message(9, b"between", ping))
        wanted.append(Message(opcode, payload, raw))
    return data, wanted


@given(messages(), st.booleans(), st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_frames_in_pieces_are_what_they_are_whole(
    found: list[tuple[int, bytes, int]], mask: bool, cuts: list[int]
) -> None:
    data, wanted = encoded(found, mask)
    assert list(FrameReader(mask, MOST).feed(data)) == wanted
    reader, got, at = FrameReader(mask, MOST), [], 0
    while at < len(data):
        size = cuts[at % len(cuts)]
        got += list(reader.feed(data[at : at + size]))
        at += size
        assert reader.held <= 2 * MOST + 200_000
    assert got == wanted
    assert reader.held == 0


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, mask: bool) -> None:
    outcomes = []
    for size in (1, 7, len(data) or 1):
        reader, got, code = FrameReader(mask, 64), [], 0
        try:
            for at in range(0, len(data), size):
                for message in reader.feed(data[at : at + size]):
                    got.append(message)  # noqa: PERF402 — what came before an error counts
        except BadFrame as error:
            code = error.code
        outcomes.append((got, code))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@given(st.binary(max_size=70_000), st.sampled_from([b"", b"abcd"]))
def test_another_decoder_reads_our_frames(payload: bytes, key: bytes) -> None:
    ours = frame(TEXT, payload, key)
    (message,) = FrameReader(bool(key), MOST).feed(ours)
    assert (message.opcode, message.payload, message.raw) == (TEXT, payload, ours)
    if not key:
        assert ours == Frame(Theirs.TEXT, payload).serialize(mask=False)
    assert masked(masked(payload, b"1234"), b"1234") == payload


@pytest.mark.parametrize("reason", ["", "why", "长" * 100])
def test_a_close_frame_is_one_to_others(reason: str) -> None:
    (message,) = FrameReader(False, 10).feed(close_frame(1008, reason))
    assert message.opcode == CLOSE
    told = Close.parse(message.payload)
    assert told.code == 1008
    assert reason.startswith(told.reason)
    assert len(message.payload) <= 125


BAD = {
    "a reserved bit": (b"\xc1\x00", PROTOCOL_ERROR),
    "an unknown opcode": (b"\x83\x00", PROTOCOL_ERROR),
    "a masked one": (b"\x81\x80abcd", PROTOCOL_ERROR),
    "a long ping": (b"\x89\x7e\x00\x7e", PROTOCOL_ERROR),
    "a fragmented ping": (b"\x09\x00", PROTOCOL_ERROR),
    "a fragment of nothing": (b"\x80\x00", PROTOCOL_ERROR),
    "a message within a message": (b"\x01\x00\x81\x00", PROTOCOL_ERROR),
    "a length that could be shorter": (b"\x81\x7e\x00\x7d", PROTOCOL_ERROR),
    "a length of 64 bits that could be shorter": (b"\x81\x7f" + bytes(6) + b"\xff\xff",
                                                  PROTOCOL_ERROR),
    "a length of 2^63": (b"\x81\x7f\x80" + bytes(7), PROTOCOL_ERROR),
    "half a close code": (b"\x88\x01\x03", PROTOCOL_ERROR),
    "a gigabyte": (b"\x82\x7f" + (1 << 30).to_bytes(8, "big"), TOO_BIG),
    "2^63 - 1 bytes": (b"\x82\x7f\x7f" + b"\xff" * 7, TOO_BIG),
    "fragments that grow too long": (b"\x01\x7e\xff\xff" + bytes(65535)
                                     + b"\x00\x7e\xff\xff" + bytes(65535), TOO_BIG),
    "fragments without end": (b"\x01\x00" + b"\x00\x00" * 40_000, TOO_BIG),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_invalid_frames_are_refused_before_they_are_buffered(case: tuple[bytes, int]) -> None:
    data, code = case
    reader = FrameReader(False, MOST)
    with pytest.raises(BadFrame) as caught:
        list(reader.feed(data))
    assert caught.value.code == code
