"""From the results of a probe to one verdict, with a clause on what was seen.

A verdict never claims more than its evidence shows. A reset after our ClientHello is `tls_reset`:
whether the *name* in it is blocked is found by a block test with a control name on the same
address (`block_test.py`, `interpret.py`). For the same reason silence is `tls_timeout` here and an
unreachable address `ip_unreachable`. What several resolvers say together is judged in `dns.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.diagnosis.answer import Meaning, meaning_of
from monitor.diagnosis.clauses import Clause
from monitor.diagnosis.evidence import Evidence
from monitor.probes.results import (
    CA_FILE,
    CLIENT_CERTIFICATE,
    NO_ANSWER,
    OUT_OF_RESOURCES,
    TIMED_OUT,
    Operation,
    PathResult,
    StepResult,
)
from monitor.probes.verify_codes import EXPIRED

UNKNOWN = "unknown"
BAD_REQUEST = 400

_OURS = frozenset(
    {"network_down", "network_unreachable", "host_unreachable", "dns_temporary_failure"}
)

_NOT_ASKED = ("local_network_down", Clause.out_of_resources)

_DNS = {
    OUT_OF_RESOURCES: _NOT_ASKED,
    "dns_nxdomain_error": ("dns_down", Clause.name_unknown),
    "dns_no_answer": ("dns_down", Clause.name_without_address),
    "dns_bogon_error": (
        "dns_bogon",
        Clause.name_private,
    ),
    "dns_temporary_failure": ("dns_down", Clause.resolver_gave_nothing),
    TIMED_OUT: ("dns_down", Clause.resolver_too_late),
}
_CONNECT = {
    OUT_OF_RESOURCES: _NOT_ASKED,
    "connection_refused": ("connection_refused", Clause.refuses),
    "connection_reset": ("connection_reset", Clause.reset_while_opened),
    TIMED_OUT: ("ip_unreachable", Clause.nothing_answers),
    "timed_out": ("ip_unreachable", Clause.nothing_answers),
    "host_unreachable": ("ip_unreachable", Clause.address_unreachable),
    "network_unreachable": ("ip_unreachable", Clause.no_route),
    "network_down": ("ip_unreachable", Clause.network_down),
}
_TLS = {
    "connection_reset": ("tls_reset", Clause.hello_reset),
    "eof_error": ("tls_eof", Clause.hello_closed),
    TIMED_OUT: ("tls_timeout", Clause.hello_silence),
    "timed_out": ("tls_timeout", Clause.hello_silence),
    "ssl_invalid_hostname": ("ssl_invalid_hostname", Clause.certificate_of_another),
    "ssl_unknown_authority": (
        "ssl_unknown_authority",
        Clause.certificate_untrusted,
    ),
    "ssl_invalid_certificate": ("ssl_invalid_certificate", Clause.certificate_refused),
}
_HTTP = {
    "connection_reset": ("http_reset", Clause.request_reset),
    "eof_error": ("http_eof", Clause.response_cut),
    TIMED_OUT: ("http_timeout", Clause.request_unanswered),
    "timed_out": ("http_timeout", Clause.request_unanswered),
    "http_request_failed": ("http_malformed", Clause.not_http),
}
_NOTES = {CA_FILE: Clause.ca_file_unreadable}
_TABLES = {
    Operation.resolve: (_DNS, "dns_down", Clause.name_unresolved),
    Operation.connect: (_CONNECT, "connect_failed", Clause.no_connection),
    Operation.tls_handshake: (_TLS, "tls_failed", Clause.handshake_fails),
    Operation.http_round_trip: (_HTTP, "http_failed", Clause.request_fails),
}


def judge(resolution: StepResult, paths: Sequence[PathResult]) -> Meaning:
    """The verdict on a mirror: the best of its paths counts.

    Of failing ones it is that which came furthest, and among equals one that is not our own
    network's fault.
    """
    judged = [(judge_step(path.last), path.last) for path in paths]
    alive = next((meaning for meaning, _ in judged if meaning.alive), None)
    if alive is not None:
        return alive
    return judge_step(decisive(resolution, paths))


def decisive(resolution: StepResult, paths: Sequence[PathResult]) -> StepResult:
    """The step that tells most about a mirror none of whose paths works."""
    order = list(Operation)
    return max(
        (resolution, *(path.last for path in paths)),
        key=lambda step: (order.index(step.operation), not could_be_ours(step)),
    )


def could_be_ours(step: StepResult) -> bool:
    """True if the failure may have its cause in our own network or resolver."""
    if step.operation is Operation.resolve and step.failure == TIMED_OUT:
        return True
    return step.operation in (Operation.resolve, Operation.connect) and step.failure in _OURS


def is_unanswered(resolution: StepResult, paths: Sequence[PathResult]) -> bool:
    """True if nothing could be tried because no resolver said anything at all about the name."""
    failures = (resolution.failure, *(seen.failure for seen in resolution.dns))
    untried = not paths and not resolution.addresses
    return untried and all(failure in NO_ANSWER for failure in failures)


def judge_step(step: StepResult) -> Meaning:
    """The verdict on one path, from the step that it ended with."""
    if step.note == CLIENT_CERTIFICATE and _refuses_without(step):
        return Meaning.of("tls_failed", Clause.client_certificate)
    if step.failure is None:
        return meaning_of(step.http) if step.http else Meaning.of(UNKNOWN, Clause.not_probed)
    if step.tls is not None and (special := _special_tls(step)):
        return special
    if step.lost:
        return _lost(step)
    table, verdict, clause = _TABLES[step.operation]
    verdict, clause = table.get(step.failure, (verdict, clause))
    return Meaning.of(verdict, _NOTES.get(step.note, clause))


def _refuses_without(step: StepResult) -> bool:
    """True if a server that has asked for a certificate of ours refuses us: the connection, or, as
    nginx does, the request with 400."""
    if step.failure is None:
        return step.http is not None and step.http.status == BAD_REQUEST
    return step.failure not in (TIMED_OUT, "timed_out", OUT_OF_RESOURCES)


def _lost(step: StepResult) -> Meaning:
    """The verdict on a path whose handshake passes and whose request does not arrive."""
    if step.control_passes:
        return Meaning.of("content_block", Clause.lost_unlike_control)
    return Meaning.of("http_timeout", Clause.request_lost)


def _special_tls(step: StepResult) -> Meaning | None:
    seen = step.tls
    if seen is None:
        return None
    if seen.verify_code == EXPIRED:
        return Meaning.of("cert_expired", Clause.certificate_over)
    if seen.first_bytes.lstrip().startswith((b"HTTP/", b"<")):
        return Meaning.of("block_page", Clause.plain_page)
    if seen.is_forged_alert():
        return Meaning.of("tls_eof", Clause.hello_alert_too_soon, alert=seen.alert or 0)
    if seen.alert is not None and seen.incompatible:
        return Meaning("tls_failed", False, Evidence.of(Clause.tls_incompatible, alert=seen.alert))
    if seen.alert is not None:
        return Meaning(
            "tls_alert",
            False,
            Evidence.of(Clause.name_refused, alert=seen.alert),
        )
    if step.failure == "connection_reset" and seen.received:
        return Meaning.of("tls_reset_late", Clause.handshake_reset)
    return None
