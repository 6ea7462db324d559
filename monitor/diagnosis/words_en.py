"""Texts of each verdict in English. What interferes is only ever "on the path":
never a country, never an actor."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.diagnosis.verdict_words import Words

_OPERATOR = "Ask whoever runs the mirror."
_NAME_BLOCKED = (
    "Run `openssl s_client -connect localhost:PORT -servername NAME </dev/null` on the server. If "
    "that prints a certificate, or the mirror answers from another network (a proxy there, in "
    "`monitor.vantages`), add a second hostname that the server serves and its certificate covers "
    "(`hostnames`); if neither, mend the server."
)
_NAME_PROOF = "a success with this name from another network"
_OR_SIGN = f"{_NAME_PROOF}, or a sign that cannot come from the server, such as "
_ADDRESS_BLOCKED = (
    "Test from another network first, or add one as a vantage (`monitor.vantages`). If it works "
    "from there, give the mirror another address or port."
)
_ADDRESS_PROOF = "a success with this address from another network"
_RESOLVER = (
    "Put a DNS-over-HTTPS resolver first in `monitor.dns.resolvers`, or pin the mirror's "
    "addresses with `addresses`."
)
_FORGED = "Such answers are dropped and the other resolvers' used; the mirror stays in use."
_CUT_OFF = "a blocked name, a blocked address or a broken server"
_BETWEEN = "the server, or something between it and this machine"
_LOOK_AT_SERVER = (
    "Look at the server's log for the time of this probe. If it shows nothing, look at what lies "
    "between."
)
_OFFLINE = (
    "No mirror is blamed, and all stay in rotation: requests are still tried, and fail until the "
    "network is back."
)
_WATCHED = "It is counted and shown; requests still go to this mirror."
_OPENSSL = "Look at it with `openssl s_client -connect HOST:PORT -servername HOST`."

ENGLISH: Mapping[str, Words] = {
    "ok": Words(
        "works", "it can be reached and the API answers", now="Requests go to this mirror."
    ),
    "unknown": Words(
        "no conclusion yet",
        "no probe has been completed",
        "Wait for the next probe.",
        "Probing goes on; until then requests still go to this mirror.",
    ),
    "local_network_down": Words(
        "this machine is offline, or its DNS does not work",
        "no mirror can be reached; the mirrors are not to blame",
        "Check this machine: `ip link`, `ip route`, `ping` of the gateway, `/etc/resolv.conf`.",
        _OFFLINE,
    ),
    "local_clock_wrong": Words(
        "this machine's clock is wrong",
        "by the clocks of other servers, which agree, the refused certificates are good",
        "Check `date`, and set this machine's clock (NTP); on a virtual machine, the host's too.",
        "No mirror is blamed, and all stay in rotation, but no connection passes verification "
        "until the clock is right.",
    ),
    "captive_portal": Words(
        "this machine is behind a captive portal",
        "every server that is asked shows one and the same wrong certificate or page",
        "Sign in to this network, or leave the proxy that opens TLS.",
        "No mirror is blamed, and all stay in rotation, but no connection passes verification "
        "until the network is open.",
        "a sign-in that ends it",
    ),
    "dns_down": Words(
        "the host name does not resolve",
        "the name does not exist any more, or the resolvers fail; a single resolver may also lie",
        "Check the name in `url`, then ask a second resolver: add one over HTTPS to "
        "`monitor.dns.resolvers`.",
    ),
    "dns_bogon": Words(
        "the host name resolves to private addresses",
        "the mirror is in your own network, or the DNS answer is forged",
        "If the mirror is in your own network, set `allow_private = true` (for this command: "
        "`--allow-private`).",
        "No private address is connected to.",
    ),
    "dns_blocked": Words(
        "DNS queries for the host name are {likely}blocked on the path",
        "a configured resolver fails where a trusted one answers",
        _RESOLVER,
        "The addresses of a trusted resolver, or pinned ones, are used; the mirror stays in use.",
        "a success of the same resolver with this name from another network",
    ),
    "dns_poisoned": Words(
        "DNS answers are {likely}forged on the path",
        "a configured resolver gives an address that is {likely}wrong",
        _RESOLVER,
        _FORGED,
        "a right answer from the same resolver over another network",
    ),
    "dns_injection": Words(
        "DNS answers are {likely}injected on the path",
        "one query got two different answers",
        _RESOLVER,
        _FORGED,
        "an answer among them that cannot be true, such as a private address",
    ),
    "dns_inconsistent": Words(
        "resolvers disagree",
        "usually the work of a CDN, which answers each asker differently",
        now="Nothing changes: with a CDN that is normal.",
    ),
    "connection_refused": Words(
        "the connection is refused",
        "nothing listens on the port, or a firewall (the server's, or one on the path) rejects "
        "connections",
        "Check on the server that the service runs and listens on the port in `url`, then the "
        "firewall. If all is well there, test from another network (a proxy there, in "
        "`monitor.vantages`): if it works from there, something on the path rejects, and another "
        "port or address may help.",
    ),
    "connection_reset": Words(
        "connections are reset while they are opened",
        "a firewall, often for some minutes after a blocked handshake",
        "Try again after 5 minutes. If it stays, test from another network or a vantage "
        "(`monitor.vantages`).",
    ),
    "ip_unreachable": Words(
        "the address cannot be reached",
        "the server is down or its address is blocked; from one network these look alike",
        "Check that the server runs. If it does, test from another network or a vantage "
        "(`monitor.vantages`).",
    ),
    "connect_failed": Words(
        "no connection can be opened",
        "a firewall on this machine, or no free port",
        "Check this machine's own firewall rules and its number of open connections.",
    ),
    "residual_block": Words(
        "the address and port are shut after a blocked name",
        "a name was cut off there shortly before; such an after-effect lasts some minutes",
        "Wait until it is over, or run `mirrorgate probe --patient`, which waits.",
        "This address and port are left alone, for all host names, until the after-effect is over.",
        "an answer there after the wait",
    ),
    "sni_block_rst": Words(
        "the host name is {likely}blocked on the path",
        "TLS connections that carry this name (SNI) are reset; with another name they are answered",
        _NAME_BLOCKED,
        proof=f"{_OR_SIGN}a reset sooner than a round trip",
    ),
    "sni_block_fin": Words(
        "the host name is {likely}blocked on the path",
        "TLS connections that carry this name (SNI) are closed; with another name they are "
        "answered",
        _NAME_BLOCKED,
        proof=f"{_OR_SIGN}a close sooner than a round trip",
    ),
    "sni_block_drop": Words(
        "the host name is {likely}blocked on the path",
        "TLS connections that carry this name (SNI) get no reply; with another name they are "
        "answered",
        _NAME_BLOCKED,
        proof=f"{_OR_SIGN}a ClientHello that is not even acknowledged",
    ),
    "ip_port_block": Words(
        "the address and port are {likely}blocked on the path",
        "connections to them fail whatever they carry",
        _ADDRESS_BLOCKED,
        proof=_ADDRESS_PROOF,
    ),
    "tls_block": Words(
        "TLS to this address is {likely}blocked on the path",
        "handshakes are cut off whatever name they carry",
        _ADDRESS_BLOCKED,
        proof=_ADDRESS_PROOF,
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
        "Check the server's load. If it is idle, test from another network or a vantage "
        "(`monitor.vantages`).",
    ),
    "tls_alert": Words(
        "the server refuses this host name",
        "the name is not set up on that server or CDN",
        "Set the name up on the server, or correct `url` or `addresses`.",
    ),
    "tls_failed": Words(
        "the TLS handshake failed",
        "a server with incompatible TLS, or one that wants a client certificate, or something in "
        "between",
        _OPENSSL,
    ),
    "tls_mitm": Words(
        "the certificate is {likely}replaced on the path",
        "its issuer is not trusted, and another certificate passed verification before",
        "Compare from another network. Send no key over this one until you know who answers.",
        "Nothing is sent over such a connection, above all no key. {now}",
        "another certificate for the same name and address from another network",
    ),
    "ssl_invalid_hostname": Words(
        "the certificate is for another host name",
        "a wrong address, configured or from DNS, or a server that does not have the name",
        "Ask another resolver for the address. If it agrees, correct `url` or `addresses`, or "
        "install a certificate for this name.",
    ),
    "ssl_unknown_authority": Words(
        "the certificate's issuer is not trusted",
        "a private authority, a missing intermediate certificate, or somebody in between",
        "If the authority is a public one, let the server send its whole chain (`fullchain.pem`). "
        "If it is your own, set `ca_file`. If neither, send nothing to this server.",
    ),
    "ssl_invalid_certificate": Words(
        "the certificate is not valid", "not valid yet, revoked or malformed", _OPENSSL
    ),
    "cert_expired": Words(
        "the certificate has expired",
        todo="Check this machine's clock (`date -u`); if it is right, renew the certificate on the "
        "mirror's server and reload its web server.",
        now="Nothing is sent over a connection with this certificate. {now}",
        given="if this machine's clock is right{clock}",
    ),
    "block_page": Words(
        "a plain page is returned where TLS is expected",
        "a wrong port in `url`, or a block page",
        "Check the port in `url`. If it is right, look at the page with `curl http://HOST:PORT`.",
        proof="a handshake with the same address from another network",
    ),
    "content_block": Words(
        "the data after the handshake are {likely}dropped on the path",
        "the handshake passes and the request is never acknowledged; after a handshake with "
        "another name data pass",
        _NAME_BLOCKED,
        proof=_NAME_PROOF,
    ),
    "http_reset": Words("the HTTP connection was reset", _BETWEEN, _LOOK_AT_SERVER),
    "http_eof": Words(
        "the HTTP connection was closed too early",
        _BETWEEN,
        "Check that the server speaks HTTP/1.1 (one with HTTP/2 alone closes like this); then "
        "look at its log for the time of this probe.",
    ),
    "http_timeout": Words("no HTTP response in time", _BETWEEN, _LOOK_AT_SERVER),
    "http_malformed": Words(
        "the response is not HTTP/1",
        "a wrong port in `url`, or a server that speaks HTTP/2 alone",
        "Check the port in `url`, and that the server speaks HTTP/1.1 too.",
    ),
    "http_failed": Words("the HTTP request fails", _BETWEEN, _LOOK_AT_SERVER),
    "http_diff": Words(
        "the response is not the API's",
        "a parked domain, a sign-in page, or a wrong path in `url`",
        "Open `url` in a browser, and correct it.",
    ),
    "not_openai_api": Words(
        "this is not the OpenAI API",
        "a wrong path in `url`, or a mirror that has moved",
        "Check the path in `url` with `curl URL/v1/models`.",
        "Requests go to other mirrors, unless this one serves them.",
    ),
    "byte_cap_freeze": Words(
        "transfers are {likely}frozen on the path after some kilobytes",
        "long responses stop at about the same size, again and again",
        "Put a file of 10 MB on this server and download it over another network. If it arrives "
        "whole, put the mirror behind another address or network.",
        "Requests take another address or network, and streamed ones other mirrors first.",
        "a whole transfer from the same server over another network",
    ),
    "throttled": Words(
        "{likely}throttled on the path or at the server",
        "transfers run at a tenth of their usual speed or less, while other mirrors are as fast "
        "as usual",
        "Put a file of 10 MB on this server, and download it over this network and another one. "
        "If it is fast only there, put the mirror behind another address or network; if it is slow "
        "on both, look at the server's load and its limit of bandwidth.",
        "It gets a fifth of its usual share of the requests.",
        "a fast transfer from the same server over another network",
    ),
    "cdn_challenge": Words(
        "the CDN{cdn} asks for a challenge",
        "it wants a browser to prove itself, which no API client can do",
        "Switch the challenge off for the API's paths in the CDN's settings.",
    ),
    "cdn_access_denied": Words(
        "the CDN{cdn} denies access",
        "a firewall rule on the CDN",
        "Allow this machine's address in the CDN's firewall rules.",
    ),
    "cdn_rate_limited": Words(
        "the CDN{cdn} limits the rate of requests",
        "too many requests from this machine's address",
        "Raise `monitor.interval`, or allow this machine's address on the CDN.",
        "Probes wait for as long as it asks; requests still go to this mirror.",
    ),
    "cdn_origin_error": Words(
        "the CDN{cdn} cannot reach its origin",
        "the CDN answers, the mirror's server behind it does not, or not as the CDN expects",
        "Check that the server behind the CDN runs, that its firewall lets the CDN in, and its "
        "load (with 525 or 526, its certificate). The network from this machine to the CDN is "
        "fine.",
    ),
    "cdn_origin_timeout": Words(
        "the CDN{cdn} gets no response from its origin in time",
        "an overloaded server behind the CDN, or a very slow request",
        "Look at the load of the server behind the CDN.",
        _WATCHED,
    ),
    "upstream_overloaded": Words(
        "the mirror, or the API behind it, fails or is overloaded",
        "it answers with an error of its own (5xx)",
        _OPERATOR,
        "Other mirrors are preferred for a moment; by its error rate this one is ejected.",
    ),
    "requests_fail": Words(
        "probes succeed, requests fail",
        "the list of models works, the models do not: the mirror's account, or the API behind it",
        "Send one request with the mirror's key by hand and read the error.",
        "By its failures it is ejected, and tried with one request at a time.",
    ),
    "upstream_region_ban": Words(
        "the API refuses the region of the mirror's server",
        "it does not serve the country where it takes the address of that server to be",
        "Move the mirror's server, or the address that it goes out by, to a country that the API "
        "serves; no setting of mirrorgate can change this.",
    ),
    "upstream_key_invalid": Words(
        "the mirror's own key is not accepted",
        "the key was revoked or mistyped",
        "Put a valid key into `api_key`.",
        "The mirror's own key is not used until it is accepted; requests with callers' keys still "
        "go to this mirror.",
    ),
    "upstream_ip_not_allowed": Words(
        "the account does not allow this machine's address",
        "it allows only the addresses on its list",
        "Add this machine's address to the account's list.",
        "The mirror's own key is not used until the address is on the list; requests with "
        "callers' keys still go to this mirror.",
    ),
    "upstream_quota": Words(
        "the quota of the mirror's account is used up",
        "the account has nothing left to spend",
        "Pay, or wait for the next period.",
        "The mirror's own key is not used until it has quota; requests with callers' keys still "
        "go to this mirror.",
    ),
    "upstream_rate_limited": Words(
        "the mirror, or the API behind it, limits the rate of requests",
        "the key or this machine's address is used too often",
        "Raise the account's limits, or set `max_requests_per_second`.",
        "Probes wait for as long as it asks, else for some seconds; requests still go to this "
        "mirror.",
    ),
    "upstream_forbidden": Words(
        "the mirror refuses access",
        "a rule against this machine's address, or against requests without a key",
        "If requests with a key work, do nothing; else allow this machine's address on the mirror.",
        _WATCHED,
    ),
    "upstream_unexpected": Words(
        "the mirror gives an unexpected response",
        "another API, or a relay with errors of its own",
        "Check the path in `url`, and try a request with a key by hand.",
        _WATCHED,
    ),
}

OFFLINE: Mapping[str, Words] = {
    "link_is_down": Words(
        "this machine is offline",
        "no network interface is connected",
        "Check the cable or the Wi-Fi, then bring an interface up (`ip link set NAME up`); once "
        "one is up, `ip route` should show a default route.",
        _OFFLINE,
    ),
    "no_route_anywhere": Words(
        "this machine is offline",
        "it has no route to the outside",
        "Check this machine: `ip route` first (a default route), then the gateway with `ping`.",
        _OFFLINE,
    ),
}
"""Texts of `local_network_down` where this evidence, by its code, says that it is not DNS."""
