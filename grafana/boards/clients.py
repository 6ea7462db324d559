"""Clients and bans: who is refused, why, and whether clients can be told apart at all."""

from __future__ import annotations

from typing import Any

from grafana.boards.overview import COUNTER
from grafana.panels import BAD, INSTANCE, WARN, board, grown, lines, number, present, summed

BANS = "mirrorgate_bans_total"
REJECTED = "mirrorgate_rejected_requests_total"
LEFT = f'{INSTANCE}, outcome="client_abort"'
CLIENTS_FAULT = f'{INSTANCE}, outcome="client_error"'


def clients() -> Any:
    """Return the dashboard."""
    everything = summed(COUNTER, "", INSTANCE)
    return board(
        "mirrorgate-clients",
        "mirrorgate / Clients and bans",
        "Refusals, limits and bans. No addresses: `mirrorgate bans list` has them.",
        (
            "Now",
            [
                number(
                    "Bans in force",
                    "Networks that get 403 client_banned.",
                    (
                        present("sum", "mirrorgate_bans_active", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                ),
                number(
                    "New bans in 1 h",
                    "Automatic ones and those of operators.",
                    (grown(BANS, "", INSTANCE, "1h"), "bans"),
                    decimals=0,
                    steps=((None, "blue"), (20, WARN), (100, BAD)),
                ),
                number(
                    "Refused here",
                    "Share of requests that were answered with an error made here.",
                    (f"{summed(REJECTED, '', INSTANCE)} / ({everything} > 0)", "refused"),
                    unit="percentunit",
                    decimals=1,
                    steps=((None, "blue"), (0.1, WARN), (0.5, BAD)),
                ),
                number(
                    "Client connections",
                    "Open at this moment.",
                    (
                        present("sum", "mirrorgate_client_connections", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                ),
                number(
                    "Left by the client",
                    "Requests that clients gave up, per second. Many: answers are too slow for "
                    "them.",
                    (
                        f"{summed(COUNTER, '', LEFT)} or vector(0)",
                        "left",
                    ),
                    unit="reqps",
                ),
                number(
                    "Not told apart",
                    "Requests per second from proxies that are not believed: all their clients "
                    "count as one, and are limited as one. `mirrorgate status` names the setting.",
                    (summed("mirrorgate_unbelieved_clients_total", "", INSTANCE), "requests"),
                    unit="reqps",
                    steps=((None, "green"), (0.001, BAD)),
                ),
            ],
        ),
        (
            "Refusals",
            [
                lines(
                    "Refused requests by reason",
                    "The code that the client gets; docs/operations.md says what each means.",
                    (f"{summed(REJECTED, 'reason', INSTANCE)} > 0", "{{reason}}"),
                    or_none=True,
                    unit="reqps",
                    stack=True,
                ),
                lines(
                    "4xx that clients get",
                    "From mirrors and from here, by status.",
                    (summed(COUNTER, "code", CLIENTS_FAULT), "{{code}}"),
                    or_none=True,
                    unit="reqps",
                    stack=True,
                ),
            ],
        ),
        (
            "Bans",
            [
                lines(
                    "Bans in force, over time",
                    "They end by themselves, or by `mirrorgate bans remove`.",
                    (
                        present("sum", "mirrorgate_bans_active", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                    width=8,
                ),
                lines(
                    "New bans in 10 minutes, by reason",
                    "The rule that was violated, or an operator's wish. A spike is an attack, or a "
                    "limit that is too low for honest clients.",
                    (grown(BANS, "reason", INSTANCE, "10m"), "{{reason}}"),
                    stack=True,
                    width=8,
                ),
                lines(
                    "Clients that are not told apart or not counted",
                    "By the setting that is missing; full: the table of clients has no room, busy: "
                    "a lock was held too long.",
                    (
                        summed("mirrorgate_unbelieved_clients_total", "setting", INSTANCE),
                        "router.{{setting}} is missing",
                    ),
                    (
                        summed("mirrorgate_limits_uncounted_total", "cause", INSTANCE),
                        "not counted: {{cause}}",
                    ),
                    unit="reqps",
                    width=8,
                ),
            ],
        ),
        mirrors=False,
    )
