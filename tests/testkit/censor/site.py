"""A place in the network, with programs of others on the way: for the process that lives there.

    command = [*at_a_site(), sys.executable, "-m", "my.trial"]   # that process is the client

    with Site(directory, authority) as site:
        site.mirrors()
        site.iptables("-A FORWARD -p tcp --dport 443 -m string --string NAME --algo bm -j DROP")

The process is in a network namespace of its own, and so is all that it starts. Behind it stands a
router, on which iptables and HAProxy censor; behind that, one round trip away, are servers: nginx
as mirrors, HAProxy as load balancer, dnsmasq as resolver. A third namespace behind the router holds
whatever lies. Nothing that censors, resolves or serves here is of this project, apart from the
delay. Addresses are public ones, as those of real mirrors are; nothing leaves the machine.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from tests.testkit.censor.netns import Talker, require_namespaces
from tests.testkit.certs import Authority, Leaf
from tests.testkit.processes import Process
from tests.testkit.programs import require
from tests.testkit.wait import wait_until

ROUND_TRIP = 0.04
"""Seconds."""
CLIENT, FIRST, SECOND, OTHER = "11.91.1.2", "11.91.2.2", "11.91.2.3", "11.91.2.4"
RESOLVER, ANCHOR, LIAR = "11.91.2.53", "11.91.2.8", "11.91.3.2"
SERVERS = (FIRST, SECOND, OTHER, ANCHOR, RESOLVER)
BLOCKED, ALTERNATE, ELSEWHERE = "blocked.mirror.test", "alternate.mirror.test", "other.mirror.test"
CONTROL = "control.names.test"
BULK = 200_000
"""Bytes of `/bulk`."""
LIFETIME = timedelta(days=90)
"""Of certificates, as of those of Let's Encrypt."""
STEP = 20.0

NGINX = """\
{user}daemon off; master_process off; pid {directory}/{name}.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off; default_type application/json; root {directory}; {paths}
    ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key};
    keepalive_timeout {keepalive}s;
    server {{ {listen}
        location = /bulk {{ alias {directory}/bulk.bin; }}
        location /v1/chat/ {{ {completion} }}
        location / {{ {answer} }}
    }}
}}
"""
_PATHS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
OPENAI = """return 401 '{"error":{"message":"Missing bearer authentication in header",\
"type":"invalid_request_error","param":null,"code":null}}';"""

COMPLETION = """return 200 '{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini",\
"created":1,"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant",\
"content":"yes"}}]}';"""

HAPROXY = """\
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
{sections}
"""


def at_a_site() -> list[str]:
    """Prefix of the command of a process that is to live at a site."""
    return [require("unshare"), "-Urn"]


def require_site() -> None:
    """Skip the test where a site cannot be made; programs are required as always."""
    require_namespaces()
    for program in ("nginx", "haproxy", "dnsmasq", "faketime"):
        require(program)


class Site:
    """Owns the namespaces and the programs in them; a context manager."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._directory = directory
        self._log = directory / "site.log"
        self._log.touch()
        self.authority = authority
        self._stack = ExitStack()
        self.router: Talker
        self.far: Talker
        self.liar: Talker

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            holder = ["unshare", "-n", "sh", "-c", "echo ready; exec cat"]
            self.router, self.far, self.liar = (
                stack.enter_context(Talker(holder, self._log)) for _ in range(3)
            )
            self._wire()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)

    # Programs

    def iptables(self, rule: str) -> None:
        """Add a rule to the router's firewall."""
        self.run(self.router, require("iptables"), "-w", *shlex.split(rule))

    def unblock(self) -> None:
        """Remove all rules of the router."""
        for table in ("filter", "mangle", "nat"):
            self.iptables(f"-t {table} -F")

    def nginx(
        self,
        *listen: str,
        where: Talker | None = None,
        leaf: Leaf | None = None,
        answer: str = OPENAI,
        keepalive: int = 75,
    ) -> Process:
        """Start a mirror on these `ADDRESS:PORT ssl`."""
        name = f"nginx-{time.monotonic_ns()}"
        ends = datetime.now(UTC) + LIFETIME
        leaf = leaf or self.authority.issue("*.mirror.test", local=False, not_after=ends)
        folders = [f"{each}_temp_path {self._directory}/{name}-{each};" for each in _PATHS]
        config = self._directory / f"{name}.conf"
        config.write_text(
            NGINX.format(
                user="user root; " if os.geteuid() == 0 else "",
                directory=self._directory,
                name=name,
                paths=" ".join(folders),
                cert=leaf.cert_file,
                key=leaf.key_file,
                keepalive=keepalive,
                listen=" ".join(f"listen {each};" for each in listen),
                answer=answer,
                completion=COMPLETION if answer == OPENAI else answer,
            )
        )
        command = [require("nginx"), "-p", str(self._directory), "-c", str(config), "-e", "stderr"]
        return self.start(where or self.far, command, *(each.split()[0] for each in listen))

    def haproxy(self, sections: str, *listen: str, where: Talker | None = None) -> Process:
        """Start HAProxy with these sections, beside `defaults`; it listens on `listen`."""
        config = self._directory / f"haproxy-{time.monotonic_ns()}.cfg"
        config.write_text(HAPROXY.format(sections=sections))
        return self.start(
            where or self.far, [require("haproxy"), "-db", "-f", str(config)], *listen
        )

    def dnsmasq(self, *records: str, where: Talker | None = None, listen: str = RESOLVER) -> None:
        """Start a resolver that knows these `NAME/ADDRESS`, and nothing else."""
        options = ["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]
        options += ["--bind-interfaces", "--log-facility=-"]
        options += [f"--listen-address={listen}", *(f"--address=/{each}" for each in records)]
        self.start(where or self.far, [require("dnsmasq"), *options], f"{listen}:53")

    def inject(self, interface: str, name: str, residual: str, style: str) -> None:
        """Let a bystander on the router forge resets (`injector.py`, which is of this project)."""
        command = [sys.executable, "-m", "tests.testkit.censor.injector"]
        command += [interface, name, residual, style]
        self._stack.enter_context(Talker([*self._inside(self.router), *command], self._log))

    def python(self, where: Talker, program: str, *listen: str) -> Process:
        """Start a program of one line there."""
        return self.start(where, [sys.executable, "-c", program], *listen)

    def start(self, where: Talker, command: Sequence[str], *listen: str) -> Process:
        """Start a program there, and wait until it listens."""
        process = Process([*self._inside(where), *command], self._log)
        self._stack.callback(process.kill)
        for address in listen:
            try:
                wait_until(partial(self._listens, where, address), STEP, f"{command} on {address}")
            except AssertionError as late:
                raise AssertionError(f"{late}\n{self.logs()}") from None
        return process

    def _listens(self, where: Talker, address: str) -> bool:
        shown = self.run(where, require("ss"), "-Hltn").splitlines()
        return any(line.split()[3] == address for line in shown)

    def run(self, where: Talker | None, *command: str) -> str:
        """Run a command there, here without."""
        inside = self._inside(where) if where else []
        ran = subprocess.run(
            [*inside, *command], capture_output=True, text=True, timeout=STEP, check=False
        )
        if ran.returncode:
            raise RuntimeError(f"{command}: {ran.stderr}{ran.stdout}")
        return ran.stdout

    def logs(self) -> str:
        """Return what the programs said."""
        return self._log.read_text()

    @staticmethod
    def freeze(process: Process, *, thaw: bool = False) -> None:
        """Stop a program that goes on listening, or let it go on."""
        process.send(signal.SIGCONT if thaw else signal.SIGSTOP)

    # The network

    def _wire(self) -> None:
        ip = require("ip")
        self.run(None, ip, "link", "set", "lo", "up")
        places = (
            (None, "toclient", "11.91.1.1", (CLIENT,)),
            (self.far, "tofar", "11.91.2.1", SERVERS),
            (self.liar, "toliar", "11.91.3.1", (LIAR,)),
        )
        for end, name, gate, addresses in places:
            pid = end.pid if end else os.getpid()
            peer = ["peer", "name", "eth0", "netns", str(pid)]
            self.run(self.router, ip, "link", "add", name, "type", "veth", *peer)
            self.run(self.router, ip, "addr", "add", f"{gate}/24", "dev", name)
            self.run(self.router, ip, "link", "set", name, "up")
            for address in addresses:
                self.run(end, ip, "addr", "add", f"{address}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                self.run(end, ip, "link", "set", link, "up")
            self.run(end, ip, "route", "add", "default", "via", gate)
        self.run(self.router, ip, "link", "set", "lo", "up")
        self.run(self.liar, ip, "addr", "add", f"{RESOLVER}/32", "dev", "lo")
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        loose = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done"
        # Else packets of known connections would not be routed, and not be late.
        routed = "echo 0 > /proc/sys/net/ipv4/ip_early_demux"
        for where in (self.router, self.far):
            self.run(where, "sh", "-c", f"{forward}; {loose}; {routed}")
        shown = json.loads(self.run(self.far, ip, "-json", "link", "show", "eth0"))
        for address in SERVERS:  # nobody answers for them who routes all that comes in
            known = ["lladdr", shown[0]["address"], "dev", "tofar", "nud", "permanent"]
            self.run(self.router, ip, "neigh", "replace", address, *known)
        delay = ["-m", "tests.testkit.censor.delay", "eth0", str(ROUND_TRIP)]
        self._stack.enter_context(
            Talker([*self._inside(self.far), sys.executable, *delay], self._log)
        )

    @staticmethod
    def _inside(where: Talker) -> list[str]:
        return [require("nsenter"), "-t", str(where.pid), "-n"]
