"""Censors and troubles of programs that are not ours, with what is true of each.

A mirror with the name BLOCKED on FIRST is watched by an instance whose waits are shortened: a
censor that remembers does so for REMEMBERED seconds, and the instance believes in RESIDUAL. A
second mirror on another address, and an anchor, are always well.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.testkit.censor.site import (
    ALTERNATE,
    ANCHOR,
    BLOCKED,
    CONTROL,
    ELSEWHERE,
    FIRST,
    LIAR,
    OTHER,
    RESOLVER,
    SECOND,
    Site,
)
from tests.testkit.processes import Process

MAIN = "alpha"
RESIDUAL = float(os.environ.get("MIRRORGATE_FOREIGN_RESIDUAL", "10"))
REMEMBERED = int(RESIDUAL * 0.97)
SURE = 2 * RESIDUAL + 60
"""Seconds within which a deterministic block should be confirmed."""
NOTICED = 90.0
"""Seconds within which a block must be noticed though other paths work."""
QUIET = 75.0
"""Seconds for which innocent troubles are watched."""
UNSURE = ("tls_reset", "tls_eof", "tls_timeout", "residual_block")
"""What is honestly said before anything was compared."""
DOWN = ("connection_refused", "connection_reset", "ip_unreachable", "http_timeout", "http_eof")

_TO = f"-i toclient -p tcp --dport 443 -d {FIRST}"
_NAMED = f"-m string --string {BLOCKED} --algo bm"
_RESET = "-j REJECT --reject-with tcp-reset"


@dataclass(slots=True)
class Stage:
    """The programs that run at a site in one trial."""

    site: Site
    mirror: Process | None = None
    """The server of the mirror in question."""
    balancer: Process | None = None
    base_url: str = ""
    """Of the instance."""
    asked: int = 0
    """Requests of a client."""
    failed: list[str] = field(default_factory=list)
    """Those that were not answered, and what they got."""
    state: dict[str, Any] = field(default_factory=dict)

    def ask(self) -> None:
        """Ask for a completion as a client does."""
        self.asked += 1
        url = f"{self.base_url}/v1/chat/completions"
        body = json.dumps({"model": "gpt-4o-mini", "messages": []}).encode()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-client"}
        try:
            with urlopen(Request(url, body, headers), timeout=30) as answer:
                answer.read()
        except HTTPError as refusal:
            self.failed.append(f"{refusal.code} {refusal.read()[:200]!r}")
        except OSError as error:
            self.failed.append(repr(error))

    def forward(self, *rules: str) -> None:
        """Add rules to what the router does with packets on their way."""
        for rule in rules:
            self.site.iptables(f"-A FORWARD {rule}")

    def replace_mirror(self, answer: str) -> None:
        """Have another server in the place of the mirror."""
        assert self.mirror is not None
        self.mirror.kill()
        self.mirror = self.site.nginx(*_listening(FIRST, SECOND), answer=answer)


def _listening(*addresses: str) -> list[str]:
    return [f"{address}:443 ssl" for address in addresses]


def _nothing(stage: Stage) -> None:
    pass


def _nothing_meanwhile(stage: Stage, now: float) -> None:
    pass


def plain_servers(stage: Stage) -> None:
    """A mirror on two addresses, another one, an anchor and a resolver."""
    stage.mirror = stage.site.nginx(*_listening(FIRST, SECOND))
    others(stage)


def others(stage: Stage) -> None:
    """Start the other mirror and the anchor."""
    stage.site.nginx(*_listening(OTHER, ANCHOR))


def behind_a_balancer(*conditions: str) -> Callable[[Stage], None]:
    """The mirror stands behind a load balancer that passes TLS on."""

    def servers(stage: Stage) -> None:
        stage.mirror = stage.site.nginx("127.0.0.1:8443 ssl")
        _balance(stage, *conditions)
        others(stage)

    return servers


def _balance(stage: Stage, *conditions: str) -> None:
    if stage.balancer is not None:
        stage.balancer.kill()
    rules = "".join(f"\n    {each}" for each in conditions)
    waiting = "\n    tcp-request inspect-delay 5s" if conditions else ""
    stage.balancer = stage.site.haproxy(
        f"listen mirror\n    bind {FIRST}:443\n    bind {SECOND}:443{waiting}{rules}\n"
        "    server one 127.0.0.1:8443 check inter 500 fall 1 rise 1\n",
        f"{FIRST}:443",
        f"{SECOND}:443",
    )


def resolved(stage: Stage) -> None:
    """The servers, and an honest resolver."""
    plain_servers(stage)
    stage.site.dnsmasq(f"{BLOCKED}/{FIRST}", f"{CONTROL}/{OTHER}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the matrix."""

    name: str
    truth: tuple[str, ...]
    """Verdicts that name the right cause."""
    trouble: Callable[[Stage], None]
    unsure: tuple[str, ...] = ()
    """Verdicts that are honest in leaving it open, where the cause cannot always be told."""
    servers: Callable[[Stage], None] = plain_servers
    alternates: tuple[str, ...] = ()
    addresses: tuple[str, ...] = (FIRST,)
    hostname: str = BLOCKED
    address: str = FIRST
    about: str = "path"
    """"path", "mirror" or "dns": whose verdict is looked at."""
    block: bool = False
    """True if something interferes: only then a block may be called more than suspected."""
    seconds: float = QUIET
    from_start: bool = False
    """The trouble is there before the instance is."""
    inside: tuple[str, ...] = ()
    meanwhile: Callable[[Stage, float], None] = _nothing_meanwhile
    """Called again and again during the trial, with the seconds since it began."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the mirror."""
    monitor: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the monitor."""

    def configuration(self, stage: Stage) -> dict[str, Any]:
        """The configuration of the instance."""
        ca_file = str(stage.site.authority.ca_file)
        pinned = {"addresses": list(self.addresses)} if self.addresses else {}
        main = {"id": MAIN, "url": f"https://{self.hostname}", "ca_file": ca_file, **pinned}
        main |= {"hostnames": list(self.alternates), **self.extra}
        beta = {"id": "beta", "url": f"https://{ELSEWHERE}", "addresses": [OTHER], **self.extra}
        return {
            "router": {"workers": 1},
            "monitor": {
                "interval": 2.0,
                "residual": RESIDUAL,
                "anchors": [f"{ANCHOR}:443"],
                "sni": {"control": [CONTROL]},
                **self.monitor,
            },
            "mirrors": [main, {**beta, "ca_file": ca_file}],
        }


# Blocks


def _named(effect: str) -> Callable[[Stage], None]:
    return lambda stage: stage.forward(f"{_TO} {_NAMED} {effect}")


def _remembered(effect: str) -> Callable[[Stage], None]:
    recent = "-m recent --name residual --rdest"
    return lambda stage: stage.forward(
        f"{_TO} {_NAMED} {recent} --set {effect}",
        f"{_TO} {recent} --rcheck --seconds {REMEMBERED} {effect}",
    )


def _both(one: Callable[[Stage], None], two: Callable[[Stage], None]) -> Callable[[Stage], None]:
    def trouble(stage: Stage) -> None:
        one(stage)
        two(stage)

    return trouble


def _injector(style: str) -> Callable[[Stage], None]:
    def trouble(stage: Stage) -> None:
        remembered = str(REMEMBERED) if style == "gfw" else "0"
        stage.site.inject("toclient", BLOCKED, remembered, style)

    return trouble


def _haproxy_censor(action: str) -> Callable[[Stage], None]:
    def trouble(stage: Stage) -> None:
        site = stage.site
        site.haproxy(
            "listen censor\n    bind 11.91.1.1:9443\n    tcp-request inspect-delay 5s\n"
            f"    tcp-request content {action} if {{ req_ssl_sni -i {BLOCKED} }}\n"
            "    tcp-request content accept if { req_ssl_hello_type 1 }\n"
            f"    server one {FIRST}:443\n",
            "11.91.1.1:9443",
            where=site.router,
        )
        site.iptables(f"-t nat -A PREROUTING {_TO} -j REDIRECT --to-ports 9443")

    return trouble


def _flow(stage: Stage) -> None:
    """A flow that has named the host is dropped whole, both ways, and other flows pass (the censor
    that Bock et al., "Come as You Are", SIGCOMM 2020, found to drop instead of injecting)."""
    stage.site.iptables(f"-t mangle -A PREROUTING {_TO} {_NAMED} -j CONNMARK --set-mark 9")
    stage.forward("-p tcp -m connmark --mark 9 -j DROP")


def _block_page(stage: Stage) -> None:
    """A connection that names the host is taken over and answered with a page (the one of the same
    paper that hijacks connections)."""
    site = stage.site
    page = "default_type text/html; return 403 '<html>this site is not available</html>';"
    site.nginx("11.91.1.1:9080", where=site.router, answer=page)
    site.haproxy(
        "listen censor\n    bind 11.91.1.1:9443\n    tcp-request inspect-delay 5s\n"
        "    tcp-request content accept if { req_ssl_hello_type 1 }\n"
        f"    use-server page if {{ req_ssl_sni -i {BLOCKED} }}\n"
        f"    server one {FIRST}:443\n    server page 11.91.1.1:9080 weight 0\n",
        "11.91.1.1:9443",
        where=site.router,
    )
    site.iptables(f"-t nat -A PREROUTING {_TO} -j REDIRECT --to-ports 9443")


def _contents(stage: Stage) -> None:
    """Connections that named the host pass the handshake, then nothing of theirs passes."""
    mark = "-t mangle -A PREROUTING"
    stage.site.iptables(f"{mark} {_TO} {_NAMED} -j CONNMARK --set-mark 9")
    past = "-m connbytes --connbytes 6: --connbytes-dir original --connbytes-mode packets"
    stage.forward(f"{_TO} -m connmark --mark 9 {past} -j DROP")


def _hijacked(*records: str) -> Callable[[Stage], None]:
    """Queries are answered by somebody else instead, who answers as the resolver."""

    def trouble(stage: Stage) -> None:
        stage.site.dnsmasq(*records, where=stage.site.liar)
        stage.site.run(stage.site.router, "ip", "route", "replace", RESOLVER, "via", LIAR)

    return trouble


def _injected(*records: str) -> Callable[[Stage], None]:
    """Queries are answered by somebody else too, who is nearer."""

    def trouble(stage: Stage) -> None:
        stage.site.dnsmasq(*records, where=stage.site.liar)
        stage.site.iptables(
            f"-t mangle -A PREROUTING -i toclient -p udp --dport 53 -j TEE --gateway {LIAR}"
        )

    return trouble


_SNI: dict[str, Any] = {"block": True, "seconds": SURE, "unsure": UNSURE}
_NAMES: dict[str, Any] = {"servers": resolved, "addresses": (), "about": "dns"}
_DNS = {"dns": {"resolvers": [f"udp://{RESOLVER}:53"]}}
_TWO_RESOLVERS = {"dns": {"resolvers": [f"udp://{RESOLVER}:53", f"tcp://{RESOLVER}:53"]}}

BLOCKS_ = (
    Row("name reset (iptables)", ("sni_block_rst",), _named(_RESET), **_SNI),
    Row("name reset, remembered", ("sni_block_rst",), _remembered(_RESET), **_SNI),
    Row("name dropped (iptables)", ("sni_block_drop",), _named("-j DROP"), **_SNI),
    Row("name dropped, remembered", ("sni_block_drop",), _remembered("-j DROP"), **_SNI),
    Row(
        "name dropped on all addresses, alternate well",
        ("sni_block_drop",),
        lambda stage: stage.forward(f"-i toclient -p tcp --dport 443 {_NAMED} -j DROP"),
        alternates=(ALTERNATE,),
        addresses=(FIRST, SECOND),
        **_SNI,
    ),
    Row(
        "name dropped on one address of two",
        ("sni_block_drop",),
        _named("-j DROP"),
        addresses=(FIRST, SECOND),
        **_SNI,
    ),
    Row(
        "name dropped on one of four paths",
        ("sni_block_drop",),
        _named("-j DROP"),
        alternates=(ALTERNATE,),
        addresses=(FIRST, SECOND),
        **{**_SNI, "seconds": NOTICED},
    ),
    Row("name reset by injector", ("sni_block_rst",), _injector("gfw"), **_SNI),
    Row("name reset by injector, forgets", ("sni_block_rst",), _injector("henan"), **_SNI),
    Row("flow dropped after the name", ("sni_block_drop",), _flow, **_SNI),
    Row("page in answer to the name", ("block_page",), _block_page, block=True),
    Row(
        "name rejected (HAProxy)",
        ("sni_block_rst", "sni_block_fin"),
        _haproxy_censor("reject"),
        **_SNI,
    ),
    Row(
        "name silently dropped (HAProxy)",
        ("sni_block_drop",),
        _haproxy_censor("silent-drop"),
        **_SNI,
    ),
    Row(
        "name reset before a server that resets unknown ones",
        ("sni_block_rst",),
        _named(_RESET),
        servers=behind_a_balancer(
            f"tcp-request content reject unless {{ req_ssl_sni -i {BLOCKED} {ALTERNATE} }}"
        ),
        alternates=(ALTERNATE,),
        **_SNI,
    ),
    Row(
        "dropped after the handshake",
        ("content_block",),
        _contents,
        block=True,
        seconds=SURE,
        unsure=("http_timeout", "ip_unreachable"),
    ),
)

# Troubles that are no blocks


def _killed(stage: Stage) -> None:
    assert stage.mirror is not None
    stage.mirror.kill()


def _frozen(stage: Stage) -> None:
    assert stage.mirror is not None
    stage.site.freeze(stage.mirror)


def _balanced_by(*conditions: str) -> Callable[[Stage], None]:
    return lambda stage: _balance(stage, *conditions)


def _full_backlog(stage: Stage) -> None:
    """Nobody accepts, and nobody else fits into the queue."""
    assert stage.mirror is not None
    stage.mirror.kill()
    program = (
        "import socket, time; s = socket.socket(); s.setsockopt(1, 2, 1); "
        f"s.bind(('{FIRST}', 443)); s.listen(0); "
        f"c = socket.create_connection(('{FIRST}', 443), 5); time.sleep(1e6)"
    )
    stage.mirror = stage.site.python(stage.site.far, program, f"{FIRST}:443")


def _restarts(stage: Stage, now: float) -> None:
    """Down for 3 seconds, up for 7, all the time."""
    down = now % 10 < 3
    if down is not stage.state.get("down", False):
        stage.state["down"] = down
        assert stage.mirror is not None
        if down:
            stage.mirror.kill()
        else:
            stage.mirror = stage.site.nginx(*_listening(FIRST, SECOND))


def _stutters(stage: Stage, now: float) -> None:
    """Frozen for 3 of every 5 seconds."""
    frozen = now % 5 < 3
    if frozen is not stage.state.get("frozen", False):
        stage.state["frozen"] = frozen
        assert stage.mirror is not None
        stage.site.freeze(stage.mirror, thaw=not frozen)


IDLE = 5
"""Seconds after which a middlebox forgets a connection."""


def _forgetful(stage: Stage) -> None:
    """A middlebox resets connections that were idle for a while."""
    known = "/proc/sys/net/netfilter/nf_conntrack_tcp"
    set_up = f"echo 0 > {known}_loose; echo {IDLE} > {known}_timeout_established"
    stage.site.run(stage.site.router, "sh", "-c", set_up)
    stage.forward(
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"-p tcp ! --syn -m conntrack --ctstate NEW,INVALID {_RESET}",
    )


def _asks_seldom(stage: Stage, now: float) -> None:
    """A request whenever the connection of the one before has been forgotten."""
    if now >= stage.state.get("next", 0.0):
        stage.state["next"] = now + IDLE * 1.6
        stage.ask()


def _answers(answer: str) -> Callable[[Stage], None]:
    return lambda stage: stage.replace_mirror(answer)


def _lossy(stage: Stage) -> None:
    lost = "-m statistic --mode random --probability 0.2 -j DROP"
    stage.forward(lost)


def _silent(stage: Stage) -> None:
    stage.forward("-j DROP")


def _portal(stage: Stage) -> None:
    site = stage.site
    leaf = site.authority.stranger().issue("login.portal.test", local=False)
    site.nginx(
        "11.91.1.1:9443 ssl",
        "11.91.1.1:9080",
        where=site.router,
        leaf=leaf,
        answer="return 302 http://login.portal.test/;",
    )
    for port in (443, 80):
        redirect = f"-j REDIRECT --to-ports {9000 + port}"
        site.iptables(f"-t nat -A PREROUTING -i toclient -p tcp --dport {port} {redirect}")


def _link_down(stage: Stage) -> None:
    stage.site.run(None, "ip", "link", "set", "eth0", "down")


CHALLENGE = (
    "add_header cf-ray 1 always; add_header cf-mitigated challenge always; default_type text/html; "
    "return 403 '<html>just a moment</html>';"
)
REGION = """return 403 '{"error":{"code":"unsupported_country_region_territory",\
"message":"Country, region, or territory not supported","type":"request_forbidden"}}';"""
ANOTHER_API = """return 404 '{"timestamp":1,"status":404,"error":"Not Found","path":"/"}';"""
BULK_TRAFFIC = {"bulk_path": "/bulk"}
HELLO_SIZED = "-m length --length 600:65535"

TROUBLES = (
    Row("nothing", ("ok",), _nothing),
    Row("server is down", ("connection_refused",), _killed),
    Row(
        "load balancer without a backend",
        ("tls_eof", "tls_reset"),
        _killed,
        servers=behind_a_balancer(),
        unsure=("connection_refused",),
    ),
    Row("backend is stuck", ("tls_timeout",), _frozen, servers=behind_a_balancer()),
    Row(
        "server resets the name that it has lost",
        ("tls_reset", "tls_eof"),
        _balanced_by(f"tcp-request content reject if {{ req_ssl_sni -i {BLOCKED} }}"),
        servers=behind_a_balancer(),
        unsure=("sni_block_rst", "sni_block_fin"),
        seconds=SURE,
    ),
    Row(
        "server resets all names but its own",
        ("ok",),
        _balanced_by(f"tcp-request content reject unless {{ req_ssl_sni -i {BLOCKED} }}"),
        servers=behind_a_balancer(),
    ),
    Row("restarts", ("ok",), _nothing, meanwhile=_restarts, unsure=(*DOWN, *UNSURE)),
    Row("slow server", ("ok",), _nothing, meanwhile=_stutters, unsure=(*DOWN, *UNSURE)),
    Row("full backlog", ("ip_unreachable", "tls_timeout"), _full_backlog),
    Row("20 % loss", ("ok",), _lossy, unsure=(*DOWN, *UNSURE)),
    Row(
        "MTU hole",
        ("tls_timeout",),
        lambda stage: stage.forward(f"-i tofar -s {FIRST} {HELLO_SIZED} -j DROP"),
    ),
    Row("challenge of the CDN", ("cdn_challenge",), _answers(CHALLENGE), about="mirror"),
    Row("region not served", ("upstream_region_ban",), _answers(REGION), about="mirror"),
    Row("another API", ("not_openai_api",), _answers(ANOTHER_API), about="mirror"),
    Row("captive portal", ("captive_portal",), _portal, about="mirror"),
    Row("uplink is silent", ("local_network_down",), _silent, about="mirror"),
    Row("link is down", ("local_network_down",), _link_down, about="mirror"),
    Row(
        "clock a year ahead",
        ("local_clock_wrong",),
        _nothing,
        about="mirror",
        from_start=True,
        inside=("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", "+1y"),
    ),
    Row(
        "idle connections reset",
        ("ok",),
        _forgetful,
        meanwhile=_asks_seldom,
    ),
    Row(
        "only UDP 443 blocked",
        ("ok",),
        lambda stage: stage.forward("-p udp --dport 443 -j DROP"),
    ),
)

NAMES = (
    Row(
        "queries answered twice, forged address first",
        ("dns_injection",),
        _injected(f"{BLOCKED}/8.7.198.45"),
        block=True,
        monitor=_DNS,
        **_NAMES,
    ),
    Row(
        "queries answered twice, private address first",
        ("dns_injection",),
        _injected(f"{BLOCKED}/127.0.0.2"),
        block=True,
        monitor=_DNS,
        **_NAMES,
    ),
    Row(
        "queries answered by another resolver",
        ("dns_poisoned",),
        _hijacked(f"{BLOCKED}/8.7.198.45"),
        block=True,
        unsure=("dns_inconsistent", "ok"),
        monitor=_DNS,
        **_NAMES,
    ),
)

SPEEDS = (
    Row(
        "policed to 15 KB/s",
        ("throttled",),
        lambda stage: stage.forward(
            f"-i tofar -s {FIRST} -m hashlimit --hashlimit-above 15kb/s --hashlimit-burst 20kb "
            "--hashlimit-name slow -j DROP"
        ),
        about="mirror",
        block=True,
        extra=BULK_TRAFFIC,
        seconds=170.0,
        from_start=True,
    ),
    Row(
        "frozen after 16 KB",
        ("byte_cap_freeze",),
        lambda stage: stage.forward(
            f"-i tofar -s {FIRST} -p tcp -m connbytes --connbytes 16384: --connbytes-dir reply "
            "--connbytes-mode bytes -j DROP"
        ),
        about="mirror",
        block=True,
        extra=BULK_TRAFFIC,
        from_start=True,
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in (*BLOCKS_, *NAMES, *TROUBLES, *SPEEDS)}
