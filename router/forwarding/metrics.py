"""Metrics of workers. Labels come from settings or a closed set, never from a client."""

from __future__ import annotations

from monitor.common.metric_registry import Family
from router.metering.metrics import TOKENS, UNMETERED

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
    "mirrorgate_attempts", "counter", "Attempts on mirrors, by outcome", ("mirror", "outcome")
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
    QUEUE_WAIT,
    DURATION,
    FIRST_BYTE,
    FIRST_TOKEN,
    CONNECT,
    IN_FLIGHT,
    INTERRUPTIONS,
    REJECTED,
    UNBELIEVED,
    UNCOUNTED,
    CLIENTS,
    BYTES,
    TOKENS,
    UNMETERED,
    LEDGER_GAPS,
    WORKERS,
    SNAPSHOT_AGE,
    LAG,
    TASKS,
    LOG_DROPPED,
)
