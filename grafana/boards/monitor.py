"""Monitor: whether probes run, what they find, and what is known of the past."""

from __future__ import annotations

from typing import Any

from grafana.boards.mirrors import ENDS_IN
from grafana.panels import (
    BAD,
    GOOD,
    INSTANCE,
    MIRROR,
    WARN,
    bars,
    board,
    grown,
    lines,
    present,
    quantile,
    seen,
    states,
    summed,
)

PROBES = "mirrorgate_probes_total"
DAY = 86400
OF_A_DAY = f'{MIRROR}, window="24h"'


def monitor() -> Any:
    """Return the dashboard."""
    since = f"time() - max by (mirror) (mirrorgate_last_probe_timestamp_seconds{{{MIRROR}}})"
    steps = summed(PROBES, "mirror")
    good = summed(PROBES, "mirror", f'{MIRROR}, result="ok"')
    return board(
        "mirrorgate-monitor",
        "mirrorgate / Monitor",
        "Probes: whether they run, what they find, how long their phases take, and the past.",
        (
            "States",
            [
                states(height=8),
                lines(
                    "Steps of probes that went well",
                    "Share of a mirror's steps (resolve, connect, TLS, HTTP) without a failure.",
                    (f"{good} / ({steps} > 0)", "{{mirror}}"),
                    unit="percentunit",
                    most=1,
                ),
                lines(
                    "Failed steps, by OONI's names",
                    "operation: failure. The same names are in docs/diagnosis.md and in "
                    "`mirrorgate probe`.",
                    (
                        summed("mirrorgate_probe_failures_total", "mirror, operation, failure"),
                        "{{mirror}} {{operation}}: {{failure}}",
                    ),
                    or_none=True,
                    unit="cps",
                ),
                lines(
                    "Changes of state in an hour",
                    "A mirror that flaps is worse than one that is down: look at fall and rise.",
                    (
                        seen(
                            grown(
                                "mirrorgate_mirror_state_changes_total",
                                "mirror, state",
                                MIRROR,
                                "1h",
                            )
                        ),
                        "{{mirror}}: {{state}}",
                    ),
                    or_none=True,
                ),
                lines(
                    "Open incidents",
                    "As the status page tells them.",
                    (
                        present("sum", "mirrorgate_incidents_open", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                ),
            ],
        ),
        (
            "Phases of good probes",
            [
                lines(
                    f"{title}, median",
                    help,
                    (
                        quantile(
                            0.5,
                            "mirrorgate_probe_duration_seconds",
                            "mirror",
                            f'{MIRROR}, phase="{phase}"',
                        ),
                        "{{mirror}}",
                    ),
                    unit="s",
                    width=6,
                )
                for phase, title, help in (
                    ("resolve", "Resolve", "DNS, of all resolvers that are asked."),
                    ("connect", "Connect", "One round trip."),
                    ("tls", "TLS handshake", "One or two round trips, and the mirror's CPU."),
                    ("first_byte", "First byte", "GET /v1/models, which costs no tokens."),
                )
            ],
        ),
        (
            "Does the monitor see?",
            [
                lines(
                    "Since the last probe",
                    "Grows when the monitor is blind or overloaded. Beside it the configured "
                    "interval.",
                    (since, "{{mirror}}"),
                    (present("max", "mirrorgate_probe_interval_seconds", "", INSTANCE), "interval"),
                    unit="s",
                    width=8,
                    colors={"interval": BAD},
                ),
                lines(
                    "Probes begin late by",
                    "Grows when the monitor has more to do than it can.",
                    (quantile(0.5, "mirrorgate_probe_late_seconds", "", INSTANCE), "p50"),
                    (quantile(0.99, "mirrorgate_probe_late_seconds", "", INSTANCE), "p99"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Endpoints in quarantine",
                    "After a suspected block nobody connects to an address and port for a while.",
                    (
                        present("sum", "mirrorgate_quarantined_endpoints", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                    width=8,
                ),
                lines(
                    "Probes per second, by step",
                    "Canaries are real completions, off unless configured.",
                    (summed(PROBES, "probe, result"), "{{probe}} {{result}}"),
                    unit="cps",
                ),
                lines(
                    "Tokens of canaries in a day",
                    "Limited by monitor.canary_daily_tokens.",
                    (grown("mirrorgate_canary_tokens_total", "mirror", MIRROR, "1d"), "{{mirror}}"),
                ),
            ],
        ),
        (
            "The past, and what ends soon",
            [
                bars(
                    "Uptime, 24 hours",
                    "Share of the known time; maintenance and unknown time are left out.",
                    (
                        present("min", "mirrorgate_uptime_ratio", "mirror", OF_A_DAY),
                        "{{mirror}}",
                    ),
                    steps=((None, BAD), (0.95, WARN), (0.99, GOOD)),
                    width=8,
                ),
                bars(
                    "Watched, 24 hours",
                    "Share of the time that was watched at all: what an uptime is worth.",
                    (
                        present("min", "mirrorgate_uptime_coverage_ratio", "mirror", OF_A_DAY),
                        "{{mirror}}",
                    ),
                    steps=((None, BAD), (0.9, WARN), (0.99, GOOD)),
                    width=8,
                ),
                bars(
                    "Certificates end in",
                    "Of the certificate that a mirror showed last.",
                    (
                        ENDS_IN,
                        "{{mirror}}",
                    ),
                    steps=((None, BAD), (2 * DAY, WARN), (14 * DAY, GOOD)),
                    unit="s",
                    most=90 * DAY,
                    width=8,
                ),
            ],
        ),
    )
