"""Overview and SLO: the first screen, for who asks whether users get answers."""

from __future__ import annotations

from typing import Any

from grafana.panels import (
    BAD,
    GOOD,
    INSTANCE,
    MIRROR,
    PLAIN,
    WARN,
    bars,
    board,
    grown,
    lines,
    number,
    present,
    quantile,
    rows,
    states,
    summed,
)

OBJECTIVE = 0.995
"""Share of valid requests that are answered: the same as in `rules/`."""
BUDGET = round(1 - OBJECTIVE, 6)

VALID = f'{INSTANCE}, outcome!~"client_error|client_abort"'
FAILED = f'{INSTANCE}, outcome=~"upstream_error|interrupted"'
COUNTER = "mirrorgate_requests_total"


def error_ratio(window: str, by: str = "") -> str:
    """Failed requests as a share of the valid ones; 0 where none failed."""
    everything = summed(COUNTER, by, VALID, window)
    failed = summed(COUNTER, by, FAILED, window)
    return f"({failed} or 0 * {everything}) / ({everything} > 0)"


def overview() -> Any:
    """Return the dashboard."""
    return board(
        "mirrorgate-overview",
        "mirrorgate / Overview and SLO",
        "Whether users get answers: objective, budget, mirrors, and what is wrong now.",
        (
            "Now",
            [
                number(
                    "Mirrors in rotation",
                    "Mirrors that new requests may go to, for each instance. At 1 there is nothing "
                    "to fail over to.",
                    (
                        present("sum", "mirrorgate_mirror_in_rotation", "instance", MIRROR),
                        "{{instance}}",
                    ),
                    steps=((None, BAD), (1, WARN), (2, GOOD)),
                ),
                number(
                    "Requests rescued by failover",
                    "Requests of the chosen time that a mirror answered after at least one attempt "
                    "had failed: each would have been an error without mirrorgate.",
                    (
                        grown("mirrorgate_requests_rescued_total", "", INSTANCE, "$__range"),
                        "rescued",
                    ),
                    decimals=0,
                ),
                number(
                    "Answered, last 30 days",
                    f"Share of valid requests that were answered; the objective is "
                    f"{OBJECTIVE:.1%}. "
                    "Requests that are the client's fault, or that it left, do not count.",
                    (f"1 - ({error_ratio('30d')})", "answered"),
                    unit="percentunit",
                    decimals=3,
                    now=True,
                    steps=((None, BAD), (OBJECTIVE, GOOD)),
                ),
                number(
                    "Error budget left",
                    "Of the failures that the objective allows in 30 days. Below 0 it is "
                    "overdrawn.",
                    (f"1 - ({error_ratio('30d')}) / {BUDGET}", "left"),
                    unit="percentunit",
                    decimals=0,
                    steps=((None, BAD), (0, WARN), (0.25, GOOD)),
                    now=True,
                ),
                number(
                    "Requests per second",
                    "All requests of clients, whatever became of them.",
                    (summed(COUNTER, "", INSTANCE), "requests"),
                    unit="reqps",
                ),
                number(
                    "Alerts that fire",
                    "Without the watchdog. The table below names them; docs/operations.md says "
                    "what to do about each.",
                    (
                        'count(ALERTS{alertname=~"Mirrorgate.+", alertname!="MirrorgateWatchdog", '
                        'alertstate="firing"}) or vector(0)',
                        "firing",
                    ),
                    steps=((None, GOOD), (1, BAD)),
                ),
                states(width=16, height=9),
                rows(
                    "Alerts",
                    "What Prometheus' rules say now; pending ones may still go away by themselves. "
                    "The watchdog always fires.",
                    ('ALERTS{alertname=~"Mirrorgate.+"}', "", "short"),
                    by="alertname",
                    names={
                        "alertname": "Alert",
                        "alertstate": "State",
                        "severity": "Severity",
                        "mirror": "Mirror",
                        "instance": "Instance",
                    },
                    sort="Alert",
                    width=8,
                    height=9,
                ),
            ],
        ),
        (
            "What users get",
            [
                lines(
                    "Requests by outcome",
                    "How requests ended. upstream_error: no mirror could answer; interrupted: an "
                    "answer broke off; client_error and client_abort are the client's.",
                    (summed(COUNTER, "outcome", INSTANCE), "{{outcome}}"),
                    unit="reqps",
                    stack=True,
                    colors={
                        "success": GOOD,
                        "client_error": "yellow",
                        "client_abort": PLAIN,
                        "upstream_error": BAD,
                        "interrupted": "purple",
                    },
                ),
                lines(
                    "Rescued and failed",
                    "Requests that failover rescued, beside those that it could not. The second "
                    "line is what users notice.",
                    (
                        summed("mirrorgate_requests_rescued_total", "", INSTANCE),
                        "rescued by failover",
                    ),
                    (f"{summed(COUNTER, '', FAILED)} or vector(0)", "failed for the user"),
                    unit="reqps",
                    colors={"rescued by failover": GOOD, "failed for the user": BAD},
                ),
                lines(
                    "Burn rate of the error budget",
                    "1 uses the budget up in exactly 30 days. Pages come at 14.4 (over 1 h) and 6 "
                    "(over 6 h), a ticket at 1 (over 3 d).",
                    (f"({error_ratio('1h')}) / {BUDGET}", "over 1 h"),
                    (f"({error_ratio('6h')}) / {BUDGET}", "over 6 h"),
                    (f"({error_ratio('3d')}) / {BUDGET}", "over 3 d"),
                    limit=((None, "transparent"), (1, "yellow"), (6, WARN), (14.4, BAD)),
                ),
                lines(
                    "Time to first token of streams",
                    "From the complete request to the first event with content: what a user who "
                    "waits for a chat sees.",
                    (quantile(0.5, "mirrorgate_time_to_first_token_seconds"), "p50"),
                    (quantile(0.95, "mirrorgate_time_to_first_token_seconds"), "p95"),
                    (quantile(0.99, "mirrorgate_time_to_first_token_seconds"), "p99"),
                    unit="s",
                ),
            ],
        ),
        (
            "Mirrors over the weeks",
            [
                bars(
                    "Uptime of mirrors, 30 days",
                    "Share of the known time in which a mirror was up or degraded; maintenance and "
                    "unknown time are left out.",
                    (
                        f'min by (mirror) (mirrorgate_uptime_ratio{{{MIRROR}, window="30d"}})',
                        "{{mirror}}",
                    ),
                    steps=((None, BAD), (0.95, WARN), (0.99, GOOD)),
                ),
                lines(
                    "Open incidents, and bans in force",
                    "Incidents are periods in which mirrors are down, as the status page tells "
                    "them.",
                    (present("sum", "mirrorgate_incidents_open", "", INSTANCE), "open incidents"),
                    (present("sum", "mirrorgate_bans_active", "", INSTANCE), "bans in force"),
                ),
            ],
        ),
    )
