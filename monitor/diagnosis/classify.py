"""From the results of a probe to one verdict and one sentence.

A verdict never claims more than its evidence shows. A reset after our ClientHello is `tls_reset`:
whether the *name* in it is blocked is found by an experiment with a control name on the same
address (`block_test.py`, `interpret.py`). For the same reason silence is `tls_timeout` here and an
unreachable address `ip_unreachable`. What several resolvers say together is judged in `dns.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from monitor.diagnosis.answer import Meaning, meaning_of
from monitor.probes.results import NO_ANSWER, TIMED_OUT, Operation, PathResult, StepResult
from monitor.probes.verify_codes import EXPIRED

UNKNOWN = "unknown"

_OURS = frozenset(
    {"network_down", "network_unreachable", "host_unreachable", "dns_temporary_failure"}
)

_DNS = {
    "dns_nxdomain_error": ("dns_down", "its name does not exist, says our resolver"),
    "dns_no_answer": ("dns_down", "its name has no address, says our resolver"),
    "dns_bogon_error": (
        "dns_bogon",
        "its name resolves to private addresses only (allow_private permits that)",
    ),
    "dns_temporary_failure": ("dns_down", "our resolver gave no answer for its name"),
    TIMED_OUT: ("dns_down", "our resolver did not answer in time"),
}
_CONNECT = {
    "connection_refused": ("connection_refused", "it refuses connections"),
    "connection_reset": ("connection_reset", "connections are reset while they are opened"),
    TIMED_OUT: ("ip_unreachable", "nothing answers at its address"),
    "timed_out": ("ip_unreachable", "nothing answers at its address"),
    "host_unreachable": ("ip_unreachable", "its address is unreachable"),
    "network_unreachable": ("ip_unreachable", "there is no route to its address"),
    "network_down": ("ip_unreachable", "our network is down"),
}
_TLS = {
    "connection_reset": ("tls_reset", "connections are reset after our TLS hello"),
    "eof_error": ("tls_eof", "connections are closed after our TLS hello"),
    TIMED_OUT: ("tls_timeout", "our TLS hello is met with silence"),
    "timed_out": ("tls_timeout", "our TLS hello is met with silence"),
    "ssl_invalid_hostname": ("ssl_invalid_hostname", "its certificate is for another name"),
    "ssl_unknown_authority": (
        "ssl_unknown_authority",
        "its certificate is not from an authority that we trust",
    ),
    "ssl_invalid_certificate": ("ssl_invalid_certificate", "its certificate is not valid"),
}
_HTTP = {
    "connection_reset": ("http_reset", "connections are reset after our request"),
    "eof_error": ("http_eof", "connections are closed before the response is complete"),
    TIMED_OUT: ("http_timeout", "our request is not answered in time"),
    "timed_out": ("http_timeout", "our request is not answered in time"),
    "http_request_failed": ("http_malformed", "its response is not HTTP/1"),
}
_TABLES = {
    Operation.resolve: (_DNS, "dns_down", "its name cannot be resolved"),
    Operation.connect: (_CONNECT, "connect_failed", "no connection can be opened"),
    Operation.tls_handshake: (_TLS, "tls_failed", "the TLS handshake fails"),
    Operation.http_round_trip: (_HTTP, "http_failed", "our request fails"),
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
    if step.failure is None:
        return meaning_of(step.http) if step.http else Meaning.of(UNKNOWN, "not probed")
    if step.tls is not None and (special := _special_tls(step)):
        return special
    if step.lost:
        return _lost(step)
    table, verdict, sentence = _TABLES[step.operation]
    verdict, sentence = table.get(step.failure, (verdict, sentence))
    return Meaning.of(verdict, step.note or sentence)


def _lost(step: StepResult) -> Meaning:
    """The verdict on a path whose handshake passes and whose request does not arrive."""
    if step.control_passes:
        return Meaning.of(
            "content_block", "after the handshake its packets are lost, a control's are not"
        )
    return Meaning.of("http_timeout", "after the handshake our request does not arrive")


def _special_tls(step: StepResult) -> Meaning | None:
    seen = step.tls
    if seen is None:
        return None
    if seen.verify_code == EXPIRED:
        return Meaning.of("cert_expired", "its certificate has expired")
    if seen.first_bytes.lstrip().startswith((b"HTTP/", b"<")):
        return Meaning.of(
            "block_page", "it answers plain HTTP to TLS: a block page, or a wrong port"
        )
    if seen.alert is not None:
        return Meaning(
            "tls_alert",
            False,
            f"it refuses TLS for this name (alert {seen.alert}): is the name set up there?",
        )
    if step.failure == "connection_reset" and seen.received:
        return Meaning.of("tls_reset_late", "connections are reset within the TLS handshake")
    return None
