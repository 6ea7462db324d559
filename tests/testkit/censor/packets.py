"""TCP segments over IPv4, read from and written as bytes (RFC 791, RFC 9293). Pure."""

import ipaddress
import struct
from dataclasses import dataclass

FIN, SYN, RST, ACK = 1, 2, 4, 16
_TCP = 6


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; addresses as text."""

    source: str
    source_port: int
    target: str
    target_port: int
    seq: int
    ack: int
    flags: int
    payload: bytes = b""
    ttl: int = 64

    @property
    def next_seq(self) -> int:
        """The sender's next sequence number."""
        extra = bool(self.flags & SYN) + bool(self.flags & FIN)
        return (self.seq + len(self.payload) + extra) % (1 << 32)


def read_segment(packet: bytes) -> Segment | None:
    """Read an IPv4 packet; None if there is no whole TCP segment in it."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    header, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4])
    tcp = packet[header:total]
    if len(tcp) < 20:
        return None
    source_port, target_port, seq, ack, offset, flags = struct.unpack("!HHIIBB", tcp[:14])
    source, target = (str(ipaddress.IPv4Address(packet[a : a + 4])) for a in (12, 16))
    payload = tcp[(offset >> 4) * 4 :]
    return Segment(source, source_port, target, target_port, seq, ack, flags, payload, packet[8])


def packet_of(segment: Segment) -> bytes:
    """Write it as an IPv4 packet, with a correct TCP checksum; the kernel fills in that of IP."""
    source, target = (ipaddress.IPv4Address(a).packed for a in (segment.source, segment.target))
    ports = (segment.source_port, segment.target_port)
    numbers = (segment.seq % (1 << 32), segment.ack % (1 << 32))
    head = struct.pack("!HHIIBBHHH", *ports, *numbers, 5 << 4, segment.flags, 0, 0, 0)
    length = len(head) + len(segment.payload)
    pseudo = source + target + struct.pack("!BBH", 0, _TCP, length)
    check = checksum(pseudo + head + segment.payload)
    tcp = head[:16] + check.to_bytes(2) + head[18:] + segment.payload
    fragment = 0x4000  # don't
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, fragment, segment.ttl, _TCP, 0)
    return ip + source + target + tcp


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
