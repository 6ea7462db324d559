"""A client, a router that censors, and a server, each in a network namespace of its own.

    with Lab(directory, authority) as lab:
        lab.load(remember("blocked.mirror.test", 2.0))
        assert lab.ask("10.91.2.2", "blocked.mirror.test").failure == "connection_reset"

What a user-space relay cannot show happens here for real: SYNs that vanish, refusals, ICMP errors,
a residual block that hits connect(), packet loss, resets by a bystander. The namespaces belong to
a user namespace of the lab, so an ordinary user may run it where the kernel permits that; they
have no names and vanish with the processes that hold them, even if the tests are killed.

The rules are texts for nft(8) and arguments for iptables(8). nft cannot search a packet for a
string, so iptables marks the packets that name a blocked host, and an nft chain after it acts. One
packet is looked at by itself: a name cut in two passes.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from tests.testkit.certs import Authority
from tests.testkit.processes import python_environment
from tests.testkit.programs import require

MARK = 7
PORT = 443
TABLE = "table ip censor"
RESET, SILENCE = "reject with tcp reset", "drop"

CLIENT, SERVERS = "10.91.1.2", ("10.91.2.2", "10.91.2.3")
_GATE_CLIENT, _GATE_SERVER = "10.91.1.1", "10.91.2.1"
TO_CLIENT, TO_SERVER = "toclient", "toserver"
"""The router's two interfaces."""
STEP = 15.0
"""Seconds that a command or an answer may take."""
PATIENCE = 10.0
"""Seconds for a step that is expected to succeed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of a lab: an nft table, and the names that iptables marks."""

    nft: str
    names: tuple[str, ...] = ()


def drop_syn(address: str) -> Rules:
    """Connections to the address are never answered."""
    return _forward(f"ip daddr {address} tcp flags syn / syn,ack drop")


def refuse(address: str) -> Rules:
    """Connections to the address are reset, as by a closed port."""
    return _forward(f"ip daddr {address} meta l4proto tcp reject with tcp reset")


def prohibit(address: str) -> Rules:
    """The router says that it may not forward to the address."""
    return _forward(f"ip daddr {address} reject with icmp type admin-prohibited")


def lose(percent: int) -> Rules:
    """So many of a hundred packets vanish, in both directions, and are counted."""
    return _forward(f"numgen random mod 100 < {percent} counter drop")


def block(name: str, effect: str = RESET) -> Rules:
    """Packets that name the host are reset or dropped; nobody is remembered."""
    return _forward(f"tcp dport {PORT} meta mark {MARK} {effect}", names=(name,))


def remember(name: str, seconds: float, effect: str = RESET) -> Rules:
    """The same, and for a while everything from that source to that address and port."""
    ends = "ip saddr . ip daddr . tcp dport"
    kept = (
        "set residual { type ipv4_addr . ipv4_addr . inet_service; "
        f"flags dynamic,timeout; timeout {int(seconds * 1000)}ms; }}"
    )
    return _forward(
        f"tcp dport {PORT} meta mark {MARK} add @residual {{ {ends} }} counter {effect}",
        f"{ends} @residual counter {effect}",
        kept=kept,
        names=(name,),
    )


def police(name: str, kilobytes: int) -> Rules:
    """Connections that named the host get so many kilobytes a second; what is more is dropped."""
    return _forward(
        f"tcp dport {PORT} meta mark {MARK} ct mark set {MARK}",
        f"ct mark {MARK} limit rate over {kilobytes} kbytes/second burst 8 kbytes counter drop",
        names=(name,),
    )


def _forward(*statements: str, kept: str = "", names: tuple[str, ...] = ()) -> Rules:
    lines = ("type filter hook forward priority 10; policy accept;", *statements)
    chain = "\n  ".join(lines)
    return Rules(f"{TABLE} {{\n {kept}\n chain passing {{\n  {chain}\n }}\n}}\n", names)


def marking(name: str) -> list[str]:
    """Arguments by which iptables marks packets that hold this name."""
    match = ["-m", "string", "--string", name, "--algo", "bm"]
    target = ["-j", "MARK", "--set-mark", str(MARK)]
    return ["-t", "mangle", "-A", "FORWARD", "-p", "tcp", "--dport", str(PORT), *match, *target]


def require_namespaces() -> None:
    """Skip the test where it may not make network namespaces; programs are required as always."""
    for program in ("unshare", "nsenter", "ip", "ss", "nft", "iptables"):
        require(program)
    tried = subprocess.run(
        [require("unshare"), "-Urn", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"this machine permits no network namespaces: {tried.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class Met:
    """Observations of the client in the lab."""

    operation: str
    failure: str | None
    seconds: float
    """Of the step that ended it."""
    received: int
    body: int
    rate: float
    """Bytes of the body a second."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Diagnosis of a path by the client in the lab."""

    verdict: str
    level: str
    residual: bool
    confirmed_block: bool


class Talker:
    """A process that says one line when it is ready, and ends with its standard input."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=python_environment(),
                text=True,
            )
        self.pid = self._popen.pid
        self._log = log

    def __enter__(self) -> Self:
        try:
            self.hear()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        with suppress(BrokenPipeError):  # it has ended by itself
            self._popen.stdin.close()
        self._popen.stdout.close()
        try:
            self._popen.wait(STEP)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def hear(self) -> str:
        """Return the next line that it says."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._popen.args!r} ended:\n{self._log.read_text()}")
        return line

    def say(self, line: str) -> None:
        """Write a line to it."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()


class Lab:
    """Owns namespaces and processes; a context manager. Skips the test where it is not permitted.

    The server answers on both SERVERS, port 443, with a certificate for `names`, `delay` seconds
    late, as one far away would. A censor that only forges must be faster.
    """

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        names: Sequence[str] = ("*.mirror.test",),
        delay: float = 0.02,
    ) -> None:
        require_namespaces()
        self._log = directory / "lab.log"
        self._log.touch()
        self._leaf, self._ca_file = authority.issue(*names), authority.ca_file
        self._delay = delay
        self._stack = ExitStack()
        self._router: Talker
        self._client_end: Talker
        self._client: Talker

    def load(self, rules: Rules | None = None) -> None:
        """Censor by these rules from now on, by none without."""
        self._run(self._router, "iptables", "-t", "mangle", "-F")
        self._run(self._router, "nft", "-f", "-", text=f"{TABLE}\ndelete {TABLE}\n")
        for name in rules.names if rules else ():
            self._run(self._router, "iptables", *marking(name))
        if rules is not None:
            self._run(self._router, "nft", "-f", "-", text=rules.nft)

    def counted(self) -> int:
        """Return how many packets the rules have counted."""
        listed = json.loads(self._run(self._router, "nft", "-j", "list", *TABLE.split()))
        rules = [each["rule"]["expr"] for each in listed["nftables"] if "rule" in each]
        counters = [part["counter"] for rule in rules for part in rule if "counter" in part]
        return sum(counter["packets"] for counter in counters)

    def inject(self, name: str, *, residual: float = 0.0, style: str = "gfw") -> None:
        """Let a bystander reset connections to `name` until the lab ends (see `injector.py`)."""
        command = self._python("injector", TO_CLIENT, name, str(residual), style)
        self._stack.enter_context(self._talker(self._inside(self._router, command)))

    def ask(
        self,
        address: str,
        sni: str,
        *,
        connect: float = PATIENCE,
        handshake: float = PATIENCE,
        download: float = 0.0,
    ) -> Met:
        """Connect, shake hands, download if wished; so many seconds are waited for each step."""
        wish: dict[str, Any] = {"address": address, "port": PORT, "sni": sni}
        waits = {"connect": connect, "handshake": handshake, "download": download}
        self._client.say(json.dumps(wish | waits))
        return Met(**json.loads(self._client.hear()))

    def diagnose(self, address: str, sni: str, *, hold: float = 1.0, probes: int = 1) -> Diagnosis:
        """Watch the path until it is known what is wrong; `hold`: see `path_watcher.shortened`."""
        wish: dict[str, Any] = {"address": address, "port": PORT, "sni": sni}
        self._client.say(json.dumps(wish | {"hold": hold, "probes": probes}))
        return Diagnosis(**json.loads(self._client.hear()))

    def logs(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            holder = ["sh", "-c", "echo ready; exec cat"]
            self._router = self._talker(["unshare", "-Urn", *holder])
            stack.enter_context(self._router)
            ends = []
            for _ in range(2):
                end = self._talker(self._inside(self._router, ["unshare", "-n", *holder]))
                ends.append(stack.enter_context(end))
            self._client_end = ends[0]
            self._wire(*ends)
            files = (str(self._leaf.cert_file), str(self._leaf.key_file))
            server = self._python("netns_server", *files, str(self._delay), *SERVERS)
            stack.enter_context(self._talker(self._inside(ends[1], server)))
            client = self._python("netns_client", str(self._ca_file))
            self._client = stack.enter_context(self._talker(self._inside(ends[0], client)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)

    def _wire(self, client: Talker, server: Talker) -> None:
        """Lay the two cables and turn the router on."""
        for end, name, gate, addresses in (
            (client, TO_CLIENT, _GATE_CLIENT, (CLIENT,)),
            (server, TO_SERVER, _GATE_SERVER, SERVERS),
        ):
            peer = ["peer", "name", "eth0", "netns", str(end.pid)]
            self._ip(self._router, "link", "add", name, "type", "veth", *peer)
            self._ip(self._router, "addr", "add", f"{gate}/24", "dev", name)
            self._ip(self._router, "link", "set", name, "up")
            for address in addresses:
                self._ip(end, "addr", "add", f"{address}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                self._ip(end, "link", "set", link, "up")
            self._ip(end, "route", "add", "default", "via", gate)
        self._run(self._router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _ip(self, where: Talker, *arguments: str) -> None:
        self._run(where, "ip", *arguments)

    def sockets(self) -> list[str]:
        """Return the states of the client's TCP connections to the servers (ss(8))."""
        shown = self._run(self._client_end, "ss", "-Htan").splitlines()
        return [line.split()[0] for line in shown if any(server in line for server in SERVERS)]

    def _run(self, where: Talker, program: str, *arguments: str, text: str = "") -> str:
        command = self._inside(where, [program, *arguments])
        ran = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=STEP, check=False
        )
        if ran.returncode:
            raise RuntimeError(f"{command}: {ran.stderr}{ran.stdout}\n{text}")
        return ran.stdout

    def _talker(self, command: Sequence[str]) -> Talker:
        return Talker(command, self._log)

    @staticmethod
    def _python(module: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", f"tests.testkit.censor.{module}", *arguments]

    @staticmethod
    def _inside(where: Talker, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` in the namespaces of that process."""
        found = require(command[0]) if command[0] in ("ip", "ss", "nft", "iptables") else command[0]
        entering = ["nsenter", "-t", str(where.pid), "-U", "-n", "--preserve-credentials"]
        return [*entering, found, *command[1:]]
