"""Metrics of workers. Labels come from settings or a closed set, never from a client."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.common.metric_registry import Family, MetricRegistry
from router.balancing.ejection import Cause
from router.balancing.failure import Failure
from router.metering.metrics import CHARGES, TOKENS, UNMETERED

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_FIRST_BYTE = (0.05, *_SECONDS[:-1])
_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)

REQUESTS = Family(
    "mirrorgate_requests",
    "counter",
    "Requests answered, by the mirror that answered and how it ended",
    ("mirror", "endpoint", "code", "outcome"),
)
RESCUED = Family(
    "mirrorgate_requests_rescued",
    "counter",
    "Requests answered by a mirror after at least one failed attempt",
)
ATTEMPTS = Family(
    "mirrorgate_attempts",
    "counter",
    "Attempts on mirrors that have ended, by outcome",
    ("mirror", "outcome"),
)
RETRIES = Family(
    "mirrorgate_retries", "counter", "Further attempts, by what made them necessary", ("reason",)
)
AMBIGUOUS = Family(
    "mirrorgate_ambiguous_retries",
    "counter",
    "Further attempts though a mirror may have done, and billed, the request already",
)
EJECTIONS = Family(
    "mirrorgate_ejections",
    "counter",
    "Mirrors taken out of rotation because their traffic failed",
    ("mirror", "cause"),
)
MOVED = Family(
    "mirrorgate_requests_moved",
    "counter",
    "Requests that went where a connection was ready, while another was slow to open",
)
FALLBACKS = Family(
    "mirrorgate_fallback_attempts",
    "counter",
    "Attempts on mirrors that are down, as none in rotation could have the request",
    ("mirror",),
)
QUEUED = Family("mirrorgate_requests_queued", "gauge", "Requests that wait until a mirror has room")
QUEUE_LIMIT = Family(
    "mirrorgate_requests_queued_limit", "gauge", "Requests that may wait, in all workers"
)
QUEUE_WAIT = Family(
    "mirrorgate_queue_wait_seconds",
    "gauge",
    "How long requests wait at present until a mirror has room; 0 while none does",
    merge="max",
)
DURATION = Family(
    "mirrorgate_request_duration_seconds",
    "histogram",
    "From the request head to the end of the response",
    ("mirror", "endpoint", "stream"),
    _SECONDS,
)
FIRST_BYTE = Family(
    "mirrorgate_time_to_first_byte_seconds",
    "histogram",
    "From the complete request to the response head",
    ("mirror", "endpoint"),
    _FIRST_BYTE,
)
FIRST_TOKEN = Family(
    "mirrorgate_time_to_first_token_seconds",
    "histogram",
    "Streams: from the complete request to the first event with content",
    ("mirror", "model"),
    _FIRST_BYTE,
)
OVERHEAD = Family(
    "mirrorgate_overhead_seconds",
    "histogram",
    "From the request, complete and let in, to its dispatch on a ready connection: our own share",
    buckets=_FAST,
)
COST = Family(
    "mirrorgate_mirror_cost",
    "gauge",
    "Cost of one more request on a mirror, and its terms, in the worker where it is highest",
    ("mirror", "term"),
    merge="max",
)
CONNECT = Family(
    "mirrorgate_connect_duration_seconds",
    "histogram",
    "Opening a connection to a mirror, TCP and TLS",
    ("mirror",),
    (*_FAST, 2.5, 5.0, 10.0),
)
IN_FLIGHT = Family(
    "mirrorgate_requests_in_flight", "gauge", "Requests on a mirror now", ("mirror",)
)
INTERRUPTIONS = Family(
    "mirrorgate_stream_interruptions",
    "counter",
    "Responses cut after the client had their beginning",
    ("mirror", "reason"),
)
REJECTED = Family(
    "mirrorgate_rejected_requests", "counter", "Requests refused here, by reason", ("reason",)
)
UNBELIEVED = Family(
    "mirrorgate_unbelieved_clients",
    "counter",
    "Requests from proxies whose clients cannot be told apart, by the setting that is missing",
    ("setting",),
)
UNCOUNTED = Family(
    "mirrorgate_limits_uncounted",
    "counter",
    "Requests let in uncounted (full), or counted without a lock that others had (busy)",
    ("cause",),
)
CLIENTS = Family("mirrorgate_client_connections", "gauge", "Open client connections")
CLIENTS_LIMIT = Family(
    "mirrorgate_client_connections_limit",
    "gauge",
    "Client connections that may be open, in all workers",
)
BODIES = Family("mirrorgate_kept_body_bytes", "gauge", "Request bodies kept to be sent again")
BODIES_LIMIT = Family(
    "mirrorgate_kept_body_bytes_limit", "gauge", "Bytes of them that may be kept, in all workers"
)
BYTES = Family(
    "mirrorgate_bytes", "counter", "Bytes of bodies relayed, by direction", ("direction",)
)
LEDGER_GAPS = Family(
    "mirrorgate_ledger_gaps",
    "counter",
    "Workers that died while issued keys were used: up to a second of that may be missing",
)
WORKERS = Family("mirrorgate_workers", "gauge", "Workers that report")
SNAPSHOT_AGE = Family(
    "mirrorgate_snapshot_age_seconds",
    "gauge",
    "Age of the health snapshot that the slowest worker uses",
    merge="max",
)
LAG = Family(
    "mirrorgate_event_loop_lag_seconds",
    "gauge",
    "How late the last tick of the busiest worker's event loop came",
    merge="max",
)
TASKS = Family(
    "mirrorgate_event_loop_tasks",
    "gauge",
    "Tasks of the event loops, by kind of process: flat unless something leaks",
    ("process",),
)
LOG_DROPPED = Family(
    "mirrorgate_log_lines_dropped",
    "counter",
    "Lines of logs that could not be written, or not fast enough, by kind of process",
    ("process",),
)

FAMILIES = (
    REQUESTS,
    RESCUED,
    ATTEMPTS,
    RETRIES,
    AMBIGUOUS,
    EJECTIONS,
    MOVED,
    FALLBACKS,
    QUEUED,
    QUEUE_LIMIT,
    QUEUE_WAIT,
    DURATION,
    FIRST_BYTE,
    FIRST_TOKEN,
    OVERHEAD,
    COST,
    CONNECT,
    IN_FLIGHT,
    INTERRUPTIONS,
    REJECTED,
    UNBELIEVED,
    UNCOUNTED,
    CLIENTS,
    CLIENTS_LIMIT,
    BODIES,
    BODIES_LIMIT,
    BYTES,
    TOKENS,
    CHARGES,
    UNMETERED,
    LEDGER_GAPS,
    WORKERS,
    SNAPSHOT_AGE,
    LAG,
    TASKS,
    LOG_DROPPED,
)

ANSWERED, LEFT = "answered", "left"
"""Outcomes of attempts that have not failed; the others are the values of `Failure`."""
CODES = (
    "ambiguous_request",
    "client_banned",
    "endpoint_not_allowed",
    "endpoint_not_metered",
    "headers_too_large",
    "host_not_allowed",
    "insufficient_quota",
    "integer_above_max_value",
    "invalid_api_key",
    "invalid_date",
    "key_in_path",
    "keys_unavailable",
    "malformed_request",
    "model_not_found",
    "no_mirror_available",
    "origin_not_allowed",
    "queue_full",
    "rate_limit_exceeded",
    "request_timeout",
    "request_too_large",
    "too_many_connections",
    "unknown_url",
    "unsupported_content_type",
    "unsupported_websocket_version",
    "upstream_error",
    "upstream_rate_limited",
    "upstream_timeout",
)
"""Codes of errors that are made here."""
_WAYS_TO_CUT = (Failure.cut, Failure.malformed, Failure.stalled)

_STATUSES = frozenset((*range(100, 104), *range(200, 209), 226, *range(300, 309), *range(400, 419)))
_MORE_STATUSES = frozenset((*range(421, 427), 428, 429, 431, 451, 499, *range(500, 512), 529))
_OF_CDNS = frozenset(range(520, 531))
KNOWN_STATUSES = frozenset((0,)) | _STATUSES | _MORE_STATUSES | _OF_CDNS
"""Statuses of IANA's registry, and those of nginx (499), Anthropic (529) and Cloudflare (520 to
530), and 0 where the client had none; a mirror may say any number, and the label says "other" for
the rest."""


def begin_at_zero(totals: MetricRegistry, mirrors: Iterable[str]) -> None:
    """Make the series of closed sets: the increase of a counter that begins at 1 is not seen."""
    for mirror in mirrors:
        for outcome in (ANSWERED, LEFT, *Failure):
            totals.cells(ATTEMPTS.name, (mirror, outcome))
        for cause in Cause:
            totals.cells(EJECTIONS.name, (mirror, cause))
        for failure in _WAYS_TO_CUT:
            totals.cells(INTERRUPTIONS.name, (mirror, failure))
        totals.cells(FALLBACKS.name, (mirror,))
    for failure in Failure:
        totals.cells(RETRIES.name, (failure,))
    for code in CODES:
        totals.cells(REJECTED.name, (code,))
    for family in (RESCUED, AMBIGUOUS, MOVED, LEDGER_GAPS, OVERHEAD):
        totals.cells(family.name)
    for family, values in (
        (UNBELIEVED, ("trusted_proxies", "client_ip_header")),
        (UNCOUNTED, ("full", "busy")),
        (UNMETERED, ("left", "no_usage", "encoding", "tunnel")),
        (BYTES, ("received", "sent")),
    ):
        for value in values:
            totals.cells(family.name, (value,))
