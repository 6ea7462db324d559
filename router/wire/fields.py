"""Which header fields pass, which are ours to write, and which must be looked at.

A proxy removes the fields that concern one connection only and those named by `Connection`
(RFC 9110 section 7.6.1), and writes framing itself. Names arrive in any case; the verdict on each
spelling is remembered, because lower-casing and searching for every field of every request costs
as much as parsing it.

Many servers take "_" in a name for "-" (CGI, RFC 3875 section 4.1.18). So a name with "_" is
dropped if, with "-", it would be one that we drop, look at or write; any other passes as it is.
"""

from __future__ import annotations

from enum import IntEnum


class Rule(IntEnum):
    """Treatment of a field."""

    forward = 0
    drop = 1
    look = 2
    """Looked at and forwarded."""
    take = 3
    """Looked at and not forwarded: we write it ourselves where it is needed."""


_CONNECTION_FIELDS = (
    "keep-alive proxy-connection te trailer proxy-authenticate proxy-authorization"
    " proxy-authentication-info http2-settings"
)
# A mirror never learns the client's address; cookies are between the browser and our own pages.
_CLIENT_FIELDS = (
    "x-forwarded-host x-forwarded-port"
    " x-forwarded-server x-forwarded-prefix x-client-ip x-cluster-client-ip"
    " true-client-ip cf-connecting-ip cf-connecting-ipv6 cf-ipcountry cf-ray cf-visitor"
    " fastly-client-ip x-original-url x-rewrite-url cookie cookie2 via"
)
_REQUEST_LOOK = (
    "content-type accept-encoding origin sec-websocket-key sec-websocket-version user-agent"
    " anthropic-version"
)
_REQUEST_TAKE = (
    "host connection content-length transfer-encoding expect upgrade authorization api-key"
    " x-api-key mj-api-secret sec-websocket-protocol access-control-request-method"
    " access-control-request-headers x-mirrorgate-timeout"
    " forwarded x-forwarded-for x-forwarded-proto x-real-ip"
)
# What a mirror may not say in our name: its origin's policies, cookies and proxy instructions.
_MIRROR_FIELDS = (
    "set-cookie set-cookie2 alt-svc strict-transport-security clear-site-data refresh"
    " public-key-pins expect-ct nel report-to reporting-endpoints x-sendfile via"
    " access-control-allow-origin access-control-allow-credentials access-control-allow-headers"
    " access-control-allow-methods access-control-expose-headers access-control-max-age"
    " access-control-allow-private-network timing-allow-origin"
)
_RESPONSE_LOOK = (
    "content-type content-encoding retry-after sec-websocket-accept sec-websocket-extensions"
)
_RESPONSE_TAKE = "connection content-length transfer-encoding upgrade sec-websocket-protocol"


class FieldRules:
    """The rules of one direction, remembered for every spelling seen, up to a bound."""

    def __init__(self, drop: str, look: str, take: str, drop_prefixes: tuple[bytes, ...]) -> None:
        self._rules: dict[bytes, Rule] = {}
        for rule, names in ((Rule.drop, drop), (Rule.look, look), (Rule.take, take)):
            self._rules.update((name.encode(), rule) for name in names.split())
        self._declared = self._rules
        self._drop_prefixes = drop_prefixes
        self.spellings: dict[bytes, tuple[Rule, bytes]] = {}
        """What is known of the spellings seen; looked into before `of` is called, because a call
        for every field of every request would cost 2 µs a request. Another dict once the rules are
        others."""

    def take(self, *names: str) -> None:
        """Also take fields of these names, and no longer those of names given before."""
        self._rules = {**self._declared, **{name.lower().encode(): Rule.take for name in names}}
        self.spellings = {}

    def of(self, name: bytes) -> tuple[Rule, bytes]:
        """The rule for a field name and its lower-case form."""
        known = self.spellings.get(name)
        if known is not None:
            return known
        lower = name.lower()
        rule = self._rule(lower)
        if b"_" in lower and self._rule(lower.replace(b"_", b"-")) is not Rule.forward:
            rule = Rule.drop
        if len(self.spellings) < 2048:  # names come from strangers
            self.spellings[name] = (rule, lower)
        return rule, lower

    def _rule(self, lower: bytes) -> Rule:
        rule = self._rules.get(lower, Rule.forward)
        dropped = rule is Rule.forward and lower.startswith(self._drop_prefixes)
        return Rule.drop if dropped else rule


def request_rules() -> FieldRules:
    """Rules for what clients send to mirrors, without the field where proxies name the client."""
    drop = f"{_CONNECTION_FIELDS} {_CLIENT_FIELDS}"
    return FieldRules(drop, _REQUEST_LOOK, _REQUEST_TAKE, (b"x-mirrorgate-", b"proxy-"))


def response_rules() -> FieldRules:
    """Rules for what mirrors send to clients."""
    drop = f"{_CONNECTION_FIELDS} {_MIRROR_FIELDS}"
    return FieldRules(drop, _RESPONSE_LOOK, _RESPONSE_TAKE, (b"x-mirrorgate-", b"x-accel-"))


def without(flat: list[bytes], names: set[bytes]) -> list[bytes]:
    """`flat` without the fields of these lower-case names.

    A flat list of fields is name, ": ", value, CRLF, name, …: joined as it is, it is the head.
    """
    kept: list[bytes] = []
    for i in range(0, len(flat), 4):
        if flat[i].lower() not in names:
            kept += flat[i : i + 4]
    return kept


def tokens(value: bytes) -> list[bytes]:
    """The lower-case items of a comma-separated field value, empty ones left out."""
    return [item for part in value.lower().split(b",") if (item := part.strip(b" \t"))]
