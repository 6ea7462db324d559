"""Texts of each verdict in English. What interferes is only ever "on the path":
never a country, never an actor."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.diagnosis.verdict_words import Words

_OPERATOR = "Ask whoever runs the mirror."
_NAME_BLOCKED = (
    "Give the mirror another hostname (`hostnames`), or try from another network: "
    "a proxy elsewhere as a vantage (`monitor.vantages`) settles it."
)
_CUT_OFF = "a blocked name, a blocked address or a broken server"
_BETWEEN = "the server, or something between it and here"
_LOOK_AT_SERVER = (
    "Look at the server's log for the time of this probe; if it saw nothing, look at what lies "
    "between."
)
_ELSEWHERE = "Try from another network, or add a vantage (`monitor.vantages`)."

ENGLISH: Mapping[str, Words] = {
    "ok": Words("works", now="Requests are sent there."),
    "unknown": Words(
        "no conclusion yet",
        "it has not been probed to an end",
        "Wait for the next probe.",
        "Goes on probing; until then it stays in rotation.",
    ),
    "local_network_down": Words(
        "the monitor itself is offline",
        "this machine's network or its resolver is down, so that no mirror can be reached",
        "Check this machine: `ip route`, `ping` of the gateway, `/etc/resolv.conf`.",
        "Freezes all states, blames no mirror and leaves every one in rotation.",
    ),
    "local_clock_wrong": Words(
        "the clock of the monitor is wrong",
        "by the clocks of other servers, which agree, the refused certificates are good",
        "Set this machine's clock (NTP), also on the machine below if this is a virtual one.",
        "Freezes all states and leaves every mirror in rotation, though no connection verifies "
        "until the clock is right.",
    ),
    "captive_portal": Words(
        "the monitor is behind a captive portal",
        "every server that is asked shows one and the same wrong certificate or page",
        "Sign in to this network, or leave the proxy that opens TLS.",
        "Freezes all states and leaves every mirror in rotation, though no connection verifies "
        "until the network is left open.",
    ),
    "dns_down": Words(
        "the name does not resolve",
        "the name is gone, or the resolvers fail; one resolver alone may also lie",
        "Check the name in `url`, and add a resolver over HTTPS to `monitor.dns.resolvers`.",
    ),
    "dns_bogon": Words(
        "the name resolves to private addresses",
        "a mirror in your own network, or a forged answer",
        "For a mirror in your own network set `allow_private = true` (here: --allow-private).",
        "Connects to no private address.",
    ),
    "dns_blocked": Words(
        "local name resolution is blocked on the path{likely}",
        "the local resolver fails where a trusted one answers",
        "Put a resolver over HTTPS first in `monitor.dns.resolvers`, or pin `addresses`.",
        "Takes the addresses of a trusted resolver or pinned ones; the mirror stays in use.",
    ),
    "dns_poisoned": Words(
        "answers to name queries are forged on the path{likely}",
        "the local resolver gives an address that cannot be true",
        "Put a resolver over HTTPS first in `monitor.dns.resolvers`, or pin `addresses`.",
        "Drops these addresses and asks another resolver; the mirror stays in use.",
    ),
    "dns_injection": Words(
        "answers to name queries are injected on the path{likely}",
        "one question got two different answers",
        "Put a resolver over HTTPS first in `monitor.dns.resolvers`, or pin `addresses`.",
        "Drops these addresses and asks another resolver; the mirror stays in use.",
    ),
    "dns_inconsistent": Words(
        "resolvers disagree",
        "usually a content network, which answers each asker differently",
        now="Does nothing about it: content networks do that.",
    ),
    "connection_refused": Words(
        "the connection is refused",
        "the server program is not running or listens on another port, or a firewall refuses",
        "Check that the server runs and that the port in `url` is right.",
    ),
    "connection_reset": Words(
        "connections are reset",
        "a firewall, often for some minutes after a blocked handshake",
        "Try again after 5 minutes. If it stays, try from another network "
        "or a vantage (`monitor.vantages`).",
    ),
    "ip_unreachable": Words(
        "the address cannot be reached",
        "the server is down or its address is blocked; from one place these look alike",
        "Check that the server runs. If it does, try from another network "
        "or a vantage (`monitor.vantages`).",
    ),
    "connect_failed": Words(
        "no connection can be opened",
        "a firewall on this machine, or no free port",
        "Check this machine's own firewall rules and its number of open connections.",
    ),
    "residual_block": Words(
        "the after-effect of a block, to be tested again",
        "a name was cut off on this address and port shortly before",
        "Wait until it is over, or run `mirrorgate probe --patient`, which does.",
        "Leaves the address and port alone, for all hostnames, until the after-effect is over.",
    ),
    "sni_block_rst": Words(
        "the host name is blocked on the path{likely} by resets",
        "connections are reset when they name it, and not when they give another name",
        _NAME_BLOCKED,
    ),
    "sni_block_fin": Words(
        "the host name is blocked on the path{likely} by closing",
        "connections are closed when they name it, and not when they give another name",
        _NAME_BLOCKED,
    ),
    "sni_block_drop": Words(
        "the host name is blocked on the path{likely} by silence",
        "connections fall silent when they name it, and not when they give another name",
        _NAME_BLOCKED,
    ),
    "ip_port_block": Words(
        "this address and port are blocked on the path{likely}",
        "connections to them are cut off whatever they carry",
        "Give the mirror another address or port. " + _ELSEWHERE,
    ),
    "tls_block": Words(
        "TLS is blocked on the path{likely}",
        "TLS to this address is cut off whatever name it gives",
        "Give the mirror another address or port. " + _ELSEWHERE,
    ),
    "tls_reset": Words("the TLS handshake was reset", _CUT_OFF, _LOOK_AT_SERVER),
    "tls_reset_late": Words(
        "the TLS handshake was reset half-way",
        "the server, or a firewall that reads certificates",
        _LOOK_AT_SERVER,
    ),
    "tls_eof": Words("the TLS handshake was cut off", _CUT_OFF, _LOOK_AT_SERVER),
    "tls_timeout": Words(
        "the TLS handshake timed out",
        "an overloaded server, a blocked name or a blocked address",
        "Check the server's load; if it is idle, try from another network.",
    ),
    "tls_alert": Words(
        "the server refuses this host name",
        "the name is not set up on that server or CDN",
        "Set the name up there, or correct `url` or `addresses`.",
    ),
    "tls_failed": Words(
        "the TLS handshake failed",
        "a server that speaks another TLS, or something in between",
        "Look at it with `openssl s_client -connect HOST:PORT -servername HOST`.",
    ),
    "tls_mitm": Words(
        "the certificate was replaced on the path{likely}",
        "its issuer is not trusted, and another certificate verified here before",
        "Send no key over this network until you know who answers; compare from another network.",
        "Sends nothing there, above all no key; takes another hostname and address.",
    ),
    "ssl_invalid_hostname": Words(
        "the certificate is for another name",
        "a wrong address, or a server that does not have the name",
        "Correct `url` or `addresses`, or install a certificate for this name.",
    ),
    "ssl_unknown_authority": Words(
        "the certificate's issuer is not trusted",
        "a private authority, or somebody in between",
        "If it is your own authority, set `ca_file`; if not, send nothing there.",
    ),
    "ssl_invalid_certificate": Words(
        "the certificate is not valid",
        "not valid yet, revoked or malformed",
        "Look at it with `openssl s_client -connect HOST:PORT -servername HOST`.",
    ),
    "cert_expired": Words(
        "the certificate has expired",
        todo="Renew the certificate on the mirror's server.",
        now="Sends nothing there until the certificate is renewed.",
    ),
    "block_page": Words(
        "a plain page is returned where TLS is expected",
        "a wrong port in `url`, or a block page",
        "Check the port in `url`; if it is right, look at the page with `curl http://HOST:PORT`.",
    ),
    "content_block": Words(
        "what follows the handshake is dropped on the path{likely}",
        "the handshake passes and our request is never acknowledged, while data after a handshake "
        "with another name are",
        _NAME_BLOCKED,
    ),
    "http_reset": Words("the HTTP connection was reset", _BETWEEN, _LOOK_AT_SERVER),
    "http_eof": Words("the HTTP connection was cut off", _BETWEEN, _LOOK_AT_SERVER),
    "http_timeout": Words("no HTTP answer in time", _BETWEEN, _LOOK_AT_SERVER),
    "http_malformed": Words("the answer is not HTTP/1", "a wrong port", "Check the port in `url`."),
    "http_failed": Words("the HTTP request fails", _BETWEEN, _LOOK_AT_SERVER),
    "http_diff": Words(
        "the answer is not what is expected",
        "a parked domain, a sign-in page, or a wrong path in `url`",
        "Open `url` in a browser, and correct it.",
    ),
    "not_openai_api": Words(
        "this is not the OpenAI API",
        "another API: a wrong path in `url`, or a mirror that was moved",
        "Check the path in `url` with `curl URL/v1/models`.",
        "Takes another mirror, unless this one serves requests.",
    ),
    "byte_cap_freeze": Words(
        "transfers are frozen on the path after some bytes{likely}",
        "long answers stop dead at about the same size, again and again",
        "Put the mirror behind another address or network.",
        "Takes another address or network, and other mirrors first for streamed answers.",
    ),
    "throttled": Words(
        "throttled on the path{likely}",
        "it has a tenth of its usual speed or less, while other mirrors are as quick as ever",
        "Put the mirror behind another address or network.",
        "Gives it a fifth of its share.",
    ),
    "cdn_challenge": Words(
        "the CDN asks for a challenge",
        "it wants a browser's proof, which no API client can give",
        "Switch the challenge off for the API's paths in the CDN's settings.",
    ),
    "cdn_access_denied": Words(
        "the CDN denies access",
        "a firewall rule on the CDN",
        "Allow this machine's address in the CDN's firewall rules.",
    ),
    "cdn_rate_limited": Words(
        "rate limited by the CDN",
        "too many requests from this address",
        "Raise `monitor.interval`, or allow this machine's address on the CDN.",
        "Waits as long as it was asked to.",
    ),
    "cdn_origin_error": Words(
        "the CDN cannot reach the origin",
        "the CDN answers, the server behind it does not",
        "Start or repair the server behind the CDN; the network from here is fine.",
    ),
    "cdn_origin_timeout": Words(
        "the origin keeps the CDN waiting",
        "an overloaded server behind the CDN, or a very slow request",
        "Look at the load of the server behind the CDN.",
        "Does nothing but count and show it.",
    ),
    "upstream_overloaded": Words(
        "the upstream is overloaded or failing",
        "the mirror or the API behind it has a fault or too much to do",
        _OPERATOR,
        "Prefers other mirrors for a moment; ejects it by its error rate.",
    ),
    "requests_fail": Words(
        "probes are answered, requests fail",
        "its list of models works while its models do not: its account, or the API behind it",
        "Send one request with the mirror's key by hand and read the error.",
        "Ejects it by its failures, and tries it with one request at a time.",
    ),
    "upstream_region_ban": Words(
        "the upstream refuses its region",
        "the API does not serve the country of the mirror's own server",
        "Move the mirror's server to a place that the API serves; nothing here can mend it.",
        "Takes another mirror, if there is one.",
    ),
    "upstream_key_invalid": Words(
        "the mirror's own key is not accepted",
        "the key was revoked or mistyped",
        "Put a valid key into `api_key`.",
        "Does not use the mirror's own key until it is accepted; callers' keys still go there.",
    ),
    "upstream_ip_not_allowed": Words(
        "our address is not on its list",
        "the account allows only the addresses on its list",
        "Add this machine's address to the account's list.",
        "Does not use the mirror's own key until our address is on its list; callers' keys still "
        "go there.",
    ),
    "upstream_quota": Words(
        "the upstream quota is used up",
        "the account has nothing left to spend",
        "Pay, or wait for the next period.",
        "Does not use the mirror's own key until it has quota; callers' keys still go there.",
    ),
    "upstream_rate_limited": Words(
        "rate limited upstream",
        "the key or our address is used too often",
        "Raise the account's limits, or set `max_requests_per_second`.",
        "Waits as long as it was asked to, else some seconds.",
    ),
    "upstream_forbidden": Words(
        "the upstream refuses access",
        "a rule of the mirror against our address or against requests without key",
        "If requests with a key work, nothing; else allow this machine's address there.",
        "Does nothing but count and show it.",
    ),
    "upstream_unexpected": Words(
        "an unexpected answer from upstream",
        "another API, or a relay with words of its own",
        "Check the path in `url`, and try a request with a key by hand.",
        "Does nothing but count and show it.",
    ),
}
