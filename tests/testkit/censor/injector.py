"""A bystander that reads every packet, drops none, and forges resets (AF_PACKET, packet(7)).

`python -m tests.testkit.censor.injector INTERFACE NAME RESIDUAL STYLE`, where INTERFACE is the
one to the client, and RESIDUAL is in seconds. Two styles, after Wu et al., IEEE S&P 2025:

gfw    puts TCP segments together; three RST+ACK to both ends; remembers source, address and port
henan  looks at single segments; one RST+ACK with ten bytes in it to the client; forgets
"""

import ipaddress
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.testkit.censor.rules import Hello, HelloReader, Residual, ResidualTable, Unread

FIN, SYN, RST, ACK = 1, 2, 4, 16
_TCP = 6

OFFSETS = (0, 1460, 4380)
"""Guesses at how much the other end has sent meanwhile."""
HENAN_PAYLOAD, HENAN_TTL = bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0]), 58
MOST_FLOWS = 4096
_ETH_P_IP, _ETHERNET = 0x0800, 14
Flow = tuple[str, int, str, int]


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


class Injector:
    """Decides, from the client's segments alone, what to forge. Pure."""

    def __init__(self, name: str, residual: float, style: str) -> None:
        self._name, self._residual, self._gfw = name, residual, style == "gfw"
        self._remembered = ResidualTable()
        self._flows: dict[Flow, HelloReader] = {}

    def forge(self, segment: Segment, now: float) -> list[Segment]:
        """Return the segments to send after `segment` of the client."""
        if segment.flags & RST:
            return []
        ends = (segment.source, segment.target, segment.target_port)
        if self._remembered.meet(ends, now):
            return list(self._resets(segment))
        flow = (segment.source, segment.source_port, segment.target, segment.target_port)
        if segment.flags & SYN:
            while len(self._flows) >= MOST_FLOWS:
                self._flows.pop(next(iter(self._flows)))
            self._flows[flow] = HelloReader(reassemble_tcp=self._gfw, reassemble_records=False)
        elif segment.payload and flow in self._flows:
            return self._look(flow, segment, now)
        return []

    def _look(self, flow: Flow, segment: Segment, now: float) -> list[Segment]:
        read = self._flows[flow].feed(segment.payload)
        if isinstance(read, Hello) or (self._gfw and read is Unread.not_tls):
            del self._flows[flow]
        if not isinstance(read, Hello) or read.sni != self._name:
            return []
        ends = (segment.source, segment.target, segment.target_port)
        self._remembered.arm(ends, Residual(self._residual), now)
        return list(self._resets(segment))

    def _resets(self, segment: Segment) -> Iterator[Segment]:
        to_client = Segment(
            segment.target,
            segment.target_port,
            segment.source,
            segment.source_port,
            segment.ack,
            segment.next_seq,
            RST | ACK,
        )
        if not self._gfw:
            yield replace(to_client, payload=HENAN_PAYLOAD, ttl=HENAN_TTL)
            return
        to_server = replace(
            segment, seq=segment.next_seq, flags=RST | ACK, payload=b"", ack=segment.ack
        )
        for offset in OFFSETS:
            yield replace(to_client, seq=to_client.seq + offset)
        for offset in OFFSETS:
            yield replace(to_server, seq=to_server.seq + offset)


def run(interface: str, injector: Injector) -> None:
    """Watch until standard input ends."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_IP)) as tap,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as forge,
    ):
        tap.bind((interface, _ETH_P_IP))
        print("ready", flush=True)
        while sys.stdin not in (ready := select.select([tap, sys.stdin], [], [])[0]):
            assert ready == [tap]
            frame, _ = tap.recvfrom(1 << 17)
            segment = read_segment(frame[_ETHERNET:])
            if segment is None:
                continue
            for forged in injector.forge(segment, time.monotonic()):
                forge.sendto(packet_of(forged), (forged.target, 0))


if __name__ == "__main__":
    run(sys.argv[1], Injector(sys.argv[2], float(sys.argv[3]), sys.argv[4]))
