"""Rules for a censor that is a router: texts for nft(8) and arguments for iptables(8). Pure.

nft cannot search a packet for a string, so iptables marks the packets that name a blocked host,
and an nft chain after it acts. One packet is looked at by itself: a name cut in two passes.
"""

from dataclasses import dataclass

MARK = 7
PORT = 443
TABLE = "table ip censor"
RESET, SILENCE = "reject with tcp reset", "drop"


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
