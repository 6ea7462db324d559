"""Delays every packet that comes in over an interface: the round trip of a place far away.

`python -m tests.testkit.censor.delay INTERFACE SECONDS`. The kernels that tests run on lack netem,
so what comes in is routed into a TUN device (https://docs.kernel.org/networking/tuntap.html), kept
here, and handed back to the kernel, which routes it on as usual.
"""

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_DEVICE, _TABLE = "late0", "100"
_MOST = 4096
"""Packets on their way; more are lost, as in any queue."""


def device() -> int:
    """Return a TUN device that everything from the interface is routed into."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor


def route(interface: str) -> None:
    """Have packets from the interface routed into the device first, also those to this machine."""
    for arguments in (
        ["link", "set", _DEVICE, "up"],
        ["route", "add", "default", "dev", _DEVICE, "table", _TABLE],
        ["rule", "add", "pref", "10", "iif", interface, "lookup", _TABLE],
        ["rule", "add", "pref", "20", "lookup", "local"],
        ["rule", "del", "pref", "0"],
    ):
        subprocess.run(["ip", *arguments], check=True)


def run(descriptor: int, seconds: float) -> None:
    """Pass packets on, each so many seconds late, until standard input ends."""
    late: deque[tuple[float, bytes]] = deque()
    while True:
        wait = max(late[0][0] - time.monotonic(), 0.0) if late else None
        ready = select.select([descriptor, sys.stdin], [], [], wait)[0]
        if sys.stdin in ready:
            return
        if descriptor in ready and len(late) < _MOST:
            late.append((time.monotonic() + seconds, os.read(descriptor, 1 << 16)))
        while late and late[0][0] <= time.monotonic():
            os.write(descriptor, late.popleft()[1])


if __name__ == "__main__":
    tun = device()
    route(sys.argv[1])
    print("ready", flush=True)
    run(tun, float(sys.argv[2]))
