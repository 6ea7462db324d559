"""Router: rate, errors and duration of what clients ask for."""

from __future__ import annotations

from typing import Any

from grafana.boards.overview import COUNTER, FAILED, error_ratio
from grafana.panels import (
    BAD,
    GOOD,
    INSTANCE,
    MIRROR,
    PLAIN,
    RATE,
    WARN,
    board,
    grown,
    heat,
    lines,
    number,
    present,
    quantile,
    seen,
    summed,
)

FIRST_BYTE = "mirrorgate_time_to_first_byte_seconds"
FIRST_TOKEN = "mirrorgate_time_to_first_token_seconds"
DURATION = "mirrorgate_request_duration_seconds"
FAILED_ATTEMPTS = f'{MIRROR}, outcome!~"answered|left"'


def router() -> Any:
    """Return the dashboard."""
    return board(
        "mirrorgate-router",
        "mirrorgate / Router (RED)",
        "Rate, errors and duration of clients' requests, and what failover does for them.",
        (
            "Now",
            [
                number(
                    "Requests per second",
                    "All requests, whatever became of them.",
                    (summed(COUNTER, "", INSTANCE), "requests"),
                    unit="reqps",
                ),
                number(
                    "Failed for the user",
                    "Share of valid requests that no mirror answered or whose answer broke off.",
                    (error_ratio(RATE), "failed"),
                    unit="percentunit",
                    decimals=2,
                    steps=((None, GOOD), (0.005, WARN), (0.05, BAD)),
                ),
                number(
                    "First byte, p95",
                    "From the complete request to the response head.",
                    (quantile(0.95, FIRST_BYTE), "p95"),
                    unit="s",
                ),
                number(
                    "First token, p95",
                    "Of streams: from the complete request to the first event with content.",
                    (quantile(0.95, FIRST_TOKEN), "p95"),
                    unit="s",
                ),
                number(
                    "Own overhead, p99",
                    "Our share: from the complete request to its dispatch on a ready connection.",
                    (quantile(0.99, "mirrorgate_overhead_seconds", "", INSTANCE), "p99"),
                    unit="s",
                    steps=((None, GOOD), (0.005, WARN), (0.05, BAD)),
                ),
                number(
                    "Requests in flight",
                    "Requests on mirrors at this moment, streams included.",
                    (present("sum", "mirrorgate_requests_in_flight", "", MIRROR), "in flight"),
                ),
            ],
        ),
        (
            "Rate",
            [
                lines(
                    "Requests by endpoint",
                    "The first part of the path below /v1/.",
                    (summed(COUNTER, "endpoint", INSTANCE), "{{endpoint}}"),
                    unit="reqps",
                    stack=True,
                    width=8,
                ),
                lines(
                    "Responses by status",
                    "As clients see them: what mirrors answer and what is answered here.",
                    (summed(COUNTER, "code", INSTANCE), "{{code}}"),
                    unit="reqps",
                    stack=True,
                    width=8,
                ),
                lines(
                    "Bytes of bodies relayed",
                    "Received from clients, and sent to them.",
                    (summed("mirrorgate_bytes_total", "direction", INSTANCE), "{{direction}}"),
                    unit="Bps",
                    width=8,
                ),
            ],
        ),
        (
            "Errors",
            [
                lines(
                    "Failed requests, by mirror",
                    "Requests that failed for the user. Without a mirror: none could be tried, or "
                    "none of those tried had an answer.",
                    (summed(COUNTER, "mirror, outcome", FAILED), "{{mirror}} {{outcome}}"),
                    or_none=True,
                    unit="reqps",
                ),
                lines(
                    "Failed attempts, by reason",
                    "Attempts on mirrors that were no answer. Most are rescued on another mirror.",
                    (
                        seen(summed("mirrorgate_attempts_total", "outcome", FAILED_ATTEMPTS)),
                        "{{outcome}}",
                    ),
                    or_none=True,
                    unit="reqps",
                    stack=True,
                ),
                lines(
                    "Failover",
                    "Further attempts by the failure before, requests that one of them rescued, "
                    "and those on mirrors that are down because none else was left.",
                    (
                        f"{summed('mirrorgate_retries_total', 'reason', INSTANCE)} > 0",
                        "retry: {{reason}}",
                    ),
                    (summed("mirrorgate_requests_rescued_total", "", INSTANCE), "rescued"),
                    (
                        summed("mirrorgate_fallback_attempts_total", "", MIRROR),
                        "on mirrors that are down",
                    ),
                    unit="reqps",
                    width=8,
                    colors={"rescued": GOOD, "on mirrors that are down": BAD},
                ),
                lines(
                    "Perhaps done twice",
                    "Ambiguous retries: the first mirror may have done, and billed, the request "
                    "already. router.retry.ambiguous says whether they are made.",
                    (grown("mirrorgate_ambiguous_retries_total", "", INSTANCE, "1h"), "in an hour"),
                    (
                        grown("mirrorgate_requests_moved_total", "", INSTANCE, "1h"),
                        "moved while opening",
                    ),
                    width=8,
                    colors={"in an hour": WARN, "moved while opening": PLAIN},
                ),
                lines(
                    "Answers that broke off",
                    "Responses that were cut after the client had their beginning: nobody can "
                    "retry these.",
                    (
                        seen(
                            grown(
                                "mirrorgate_stream_interruptions_total",
                                "mirror, reason",
                                MIRROR,
                                "10m",
                            )
                        ),
                        "{{mirror}}: {{reason}}",
                    ),
                    or_none=True,
                    width=8,
                ),
            ],
        ),
        (
            "Duration",
            [
                lines(
                    "Time to first byte",
                    "From the complete request to the response head. A plain completion has its "
                    "head when it is done, a stream at once.",
                    (quantile(0.5, FIRST_BYTE), "p50"),
                    (quantile(0.95, FIRST_BYTE), "p95"),
                    (quantile(0.99, FIRST_BYTE), "p99"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "First token of streams, p95 by model",
                    "Models that no mirror's settings name are other.",
                    (quantile(0.95, FIRST_TOKEN, "model"), "{{model}}"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Duration of requests, p95",
                    "From the request head to the end of the response. Dots are single requests, "
                    "by their x-mirrorgate-request-id.",
                    (quantile(0.95, DURATION, "stream"), "stream: {{stream}}"),
                    unit="s",
                    width=8,
                    exemplars=True,
                ),
                heat(
                    "First token of streams",
                    "How many streams began to answer within which time. Two bands are two kinds "
                    "of mirrors or models.",
                    f"sum by (le) (increase({FIRST_TOKEN}_bucket{{{MIRROR}}}[{RATE}]))",
                ),
                lines(
                    "Own overhead",
                    "From the complete request to its dispatch on a ready connection: checking, "
                    "choosing, writing the head anew. A client at its limit waits before that.",
                    (quantile(0.5, "mirrorgate_overhead_seconds", "", INSTANCE), "p50"),
                    (quantile(0.99, "mirrorgate_overhead_seconds", "", INSTANCE), "p99"),
                    unit="s",
                ),
            ],
        ),
        (
            "Waiting for room on a mirror",
            [
                lines(
                    "Requests in flight, by mirror",
                    "Where the work is.",
                    (
                        present("sum", "mirrorgate_requests_in_flight", "mirror", MIRROR),
                        "{{mirror}}",
                    ),
                    stack=True,
                ),
                lines(
                    "Queue",
                    "Requests that wait because every mirror that fits is full, and how many may.",
                    (present("sum", "mirrorgate_requests_queued", "", INSTANCE), "waiting"),
                    (present("sum", "mirrorgate_requests_queued_limit", "", INSTANCE), "may wait"),
                    width=6,
                    colors={"may wait": BAD},
                ),
                lines(
                    "Wait in the queue",
                    "How long that takes at present; 0 while nobody waits.",
                    (present("max", "mirrorgate_queue_wait_seconds", "", INSTANCE), "wait"),
                    unit="s",
                    width=6,
                ),
            ],
        ),
    )
