"""Hosts in network namespaces on one bridge, and this process on it.

    with Hosts(directory, 3) as hosts:
        Instance(config, folder, inside=hosts.inside(0))   # listens on hosts.address(0)

While it is entered, the calling thread and all threads and processes that it starts live in the
bridge's namespace, so that any helper of the testkit works there as it does elsewhere; what it
serves on 127.0.0.1 the hosts reach as HUB. This needs root: only the superuser may bring a running
process into a namespace and back. The namespaces vanish with the processes that hold them.
"""

import ctypes
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.testkit.censor.netns import Talker, require_namespaces
from tests.testkit.programs import require

HUB = "10.92.0.254"
_NETWORK = "10.92.0"
_BRIDGE = "hub0"
_CLONE_NEWNET = 0x40000000
_HOLDER = ["unshare", "-n", "sh", "-c", "echo ready; exec cat"]
_SERVED = f"""
table ip served {{
 chain cut {{ type filter hook prerouting priority -300; policy accept; }}
 chain to {{
  type nat hook prerouting priority -100; policy accept;
  iifname "{_BRIDGE}" ip daddr {HUB} dnat to 127.0.0.1
 }}
}}
"""


def require_hosts() -> None:
    """Skip the test where the network cannot be made."""
    require_namespaces()
    if os.geteuid() != 0:
        pytest.skip("only root may enter network namespaces and leave them again")


class Hosts:
    """Owns the namespaces; a context manager."""

    def __init__(self, directory: Path, count: int) -> None:
        require_hosts()
        self._log = directory / "hosts.log"
        self._count = count
        self._stack = ExitStack()
        self._hub: Talker
        self._ends: list[Talker] = []

    @staticmethod
    def address(host: int) -> str:
        return f"{_NETWORK}.{host + 1}"

    def inside(self, host: int) -> list[str]:
        """Return the prefix of a command that runs it on that host."""
        return self._inside(self._ends[host])

    def plug(self, host: int, how: str = "up") -> None:
        """Pull ("down") or put back the cable of a host."""
        self._run(self._hub, "ip", "link", "set", f"host{host}", how)

    def cut(self, port: int) -> None:
        """Drop all that the hosts send to a port of this process, until `mend`."""
        rule = f"add rule ip served cut iifname {_BRIDGE} tcp dport {port} drop"
        self._run(self._hub, "nft", *rule.split())

    def mend(self) -> None:
        """Drop nothing any more."""
        self._run(self._hub, "nft", *["flush", "chain", "ip", "served", "cut"])

    def block(self, host: int, name: str, port: int) -> None:
        """Reset connections of a host that name this name, until `unblock`."""
        match = ["-p", "tcp", "--dport", str(port), "-m", "string", "--string", name]
        reject = ["--algo", "bm", "-j", "REJECT", "--reject-with", "tcp-reset"]
        self._run(self._ends[host], "iptables", "-A", "OUTPUT", *match, *reject)

    def unblock(self, host: int) -> None:
        """Reset nothing any more."""
        self._run(self._ends[host], "iptables", "-F", "OUTPUT")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            self._hub = stack.enter_context(Talker(_HOLDER, self._log))
            self._run(self._hub, "ip", "link", "set", "lo", "up")
            self._run(self._hub, "ip", "link", "add", _BRIDGE, "type", "bridge")
            self._run(self._hub, "ip", "addr", "add", f"{HUB}/24", "dev", _BRIDGE)
            self._run(self._hub, "ip", "link", "set", _BRIDGE, "up")
            for setting in (f"{_BRIDGE}/route_localnet", "all/route_localnet"):
                file = f"/proc/sys/net/ipv4/conf/{setting}"
                self._run(self._hub, "sh", "-c", f"echo 1 > {file}")
            self._run(self._hub, "nft", "-f", "-", text=_SERVED)
            for number in range(self._count):
                self._ends.append(stack.enter_context(Talker(_HOLDER, self._log)))
                self._wire(number)
            self._join(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def _wire(self, number: int) -> None:
        end, name = self._ends[number], f"host{number}"
        peer = ["peer", "name", "eth0", "netns", str(end.pid)]
        self._run(self._hub, "ip", "link", "add", name, "type", "veth", *peer)
        self._run(self._hub, "ip", "link", "set", name, "master", _BRIDGE, "up")
        self._run(end, "ip", "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            self._run(end, "ip", "link", "set", link, "up")

    def _join(self, stack: ExitStack) -> None:
        """Bring this thread into the bridge's namespace, and back when the stack is closed."""
        mine = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        stack.callback(os.close, mine)
        hub = os.open(f"/proc/{self._hub.pid}/ns/net", os.O_RDONLY)
        stack.callback(os.close, hub)
        _enter(hub)
        stack.callback(_enter, mine)

    def _run(self, where: Talker, program: str, *arguments: str, text: str = "") -> None:
        found = program if program == "sh" else require(program)
        command = [*self._inside(where), found, *arguments]
        ran = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=15, check=False
        )
        if ran.returncode:
            raise RuntimeError(f"{command}: {ran.stderr}{ran.stdout}")

    @staticmethod
    def _inside(where: Talker) -> list[str]:
        return ["nsenter", "-t", str(where.pid), "-n", "--"]


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
