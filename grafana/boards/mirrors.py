"""Mirrors compared: which one is bad, since when, by which term, and is it used less for it."""

from __future__ import annotations

from typing import Any

from grafana.boards.router import FAILED_ATTEMPTS, FIRST_BYTE, FIRST_TOKEN
from grafana.panels import (
    BAD,
    GOOD,
    MIRROR,
    PLAIN,
    WARN,
    board,
    grown,
    lines,
    present,
    quantile,
    rows,
    seen,
    states,
    summed,
    timeline,
)

ATTEMPTS = "mirrorgate_attempts_total"
ENDS_IN = (
    f"{present('min', 'mirrorgate_tls_not_after_timestamp_seconds', 'mirror', MIRROR)} - time()"
)
NOT_OK = f'{MIRROR}, standing!="ok"'
ALL_VERDICTS = present("max", "mirrorgate_verdict", "mirror, verdict")
VERDICTS = present("max", "mirrorgate_verdict", "mirror, verdict", f'{MIRROR}, verdict!="ok"')


def _term(term: str) -> str:
    return f'max by (mirror) (mirrorgate_mirror_cost{{{MIRROR}, term="{term}"}})'


def mirrors() -> Any:
    """Return the dashboard."""
    everything = summed(ATTEMPTS, "mirror")
    failed = summed(ATTEMPTS, "mirror", FAILED_ATTEMPTS)
    return board(
        "mirrorgate-mirrors",
        "mirrorgate / Mirrors compared",
        "Mirrors side by side: what the monitor says of them, what requests see, and what follows.",
        (
            "Now",
            [
                rows(
                    "Mirrors",
                    "One line for each mirror and verdict: a mirror that works by a detour has the "
                    "verdict on what it avoids. A lower cost gets more requests. docs/diagnosis.md "
                    "explains verdicts.",
                    (
                        present("max", "mirrorgate_mirror_info", "mirror, region, cdn", MIRROR),
                        "",
                        "short",
                    ),
                    (ALL_VERDICTS, "", "short"),
                    (
                        present("max", "mirrorgate_mirror_in_rotation", "mirror", MIRROR),
                        "In rotation",
                        "bool_yes_no",
                    ),
                    (_term("cost"), "Cost", "short"),
                    (f"{failed} / {everything}", "Failed attempts", "percentunit"),
                    (quantile(0.95, FIRST_BYTE, "mirror"), "First byte p95", "s"),
                    (
                        f'min by (mirror) (mirrorgate_uptime_ratio{{{MIRROR}, window="24h"}})',
                        "Uptime 24 h",
                        "percentunit",
                    ),
                    (
                        ENDS_IN,
                        "Certificate ends in",
                        "s",
                    ),
                    by="mirror",
                    names={
                        "mirror": "Mirror",
                        "region": "Region",
                        "cdn": "CDN",
                        "verdict": "Verdict",
                    },
                    sort="Mirror",
                    height=9,
                ),
                states(width=12, height=8),
                timeline(
                    "In rotation",
                    "Whether new requests may go to a mirror: the operator wants it, it is not "
                    "known to be down, and not ejected because its traffic failed.",
                    present("min", "mirrorgate_mirror_in_rotation", "instance, mirror", MIRROR),
                    "{{mirror}} ({{instance}})",
                    {"0": ("out", BAD), "1": ("in", GOOD)},
                    width=12,
                    height=8,
                ),
                timeline(
                    "Verdicts",
                    "The diagnosed reason of what is wrong, or avoided, for as long as it holds.",
                    f"{VERDICTS} or 0 * {ALL_VERDICTS}",
                    "{{mirror}}: {{verdict}}",
                    {"0": ("ok", GOOD), "1": ("holds", BAD)},
                    height=7,
                ),
            ],
        ),
        (
            "What requests see",
            [
                lines(
                    "Share of attempts",
                    "Where requests go. A dear or failing mirror has less; a new one begins small.",
                    (
                        f"{everything} / ignoring (mirror) group_left sum({everything})",
                        "{{mirror}}",
                    ),
                    unit="percentunit",
                    most=1,
                    stack=True,
                    width=8,
                ),
                lines(
                    "Failed attempts",
                    "Share of a mirror's attempts that were no answer.",
                    (f"{failed} / ({everything} > 0)", "{{mirror}}"),
                    unit="percentunit",
                    width=8,
                ),
                lines(
                    "Ejections in an hour",
                    "How often failing traffic took a mirror out of rotation, and why.",
                    (
                        seen(grown("mirrorgate_ejections_total", "mirror, cause", MIRROR, "1h")),
                        "{{mirror}}: {{cause}}",
                    ),
                    or_none=True,
                    width=8,
                ),
                lines(
                    "First byte, p95",
                    "From the complete request to the response head.",
                    (quantile(0.95, FIRST_BYTE, "mirror"), "{{mirror}}"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "First token of streams, p95",
                    "From the complete request to the first event with content.",
                    (quantile(0.95, FIRST_TOKEN, "mirror"), "{{mirror}}"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Opening a connection, p95",
                    "TCP and TLS; most requests find one that is open.",
                    (quantile(0.95, "mirrorgate_connect_duration_seconds", "mirror"), "{{mirror}}"),
                    unit="s",
                    width=8,
                ),
            ],
        ),
        (
            "Why one is chosen: the terms of its cost",
            [
                lines(
                    "Cost",
                    "Cost of one more request in the worker where it is highest; of two mirrors "
                    "the cheaper one is taken. `mirrorgate explain` shows the same.",
                    (_term("cost"), "{{mirror}}"),
                    log_scale=True,
                ),
                lines(
                    "Latency",
                    "Time to first content, in multiples of what such requests usually take, or "
                    "the longest wait of an open one.",
                    (_term("latency"), "{{mirror}}"),
                    log_scale=True,
                ),
                lines(
                    "Network",
                    "What a slower TLS handshake than the median of all mirrors adds.",
                    (_term("network"), "{{mirror}}"),
                    width=8,
                ),
                lines(
                    "Queue",
                    "Open requests; a stream that runs weighs a fifth of one that waits.",
                    (_term("queue"), "{{mirror}}"),
                    width=8,
                ),
                lines(
                    "Failing",
                    "Share of recent failures, faded over router.balance.decay; 0.5 makes it eight "
                    "times as dear.",
                    (_term("failing"), "{{mirror}}"),
                    unit="percentunit",
                    width=8,
                ),
            ],
        ),
        (
            "Paths",
            [
                lines(
                    "Paths by how they stand",
                    "A path is one name of a mirror over one of its addresses. Suspected ones are "
                    "tried last, held ones not at all.",
                    (present("sum", "mirrorgate_mirror_paths", "standing"), "{{standing}}"),
                    stack=True,
                    colors={"ok": GOOD, "suspected": WARN, "held": BAD, "untested": PLAIN},
                    width=8,
                ),
                lines(
                    "Paths that are not ok",
                    "By mirror: the same, where something is to be seen.",
                    (
                        seen(present("sum", "mirrorgate_mirror_paths", "mirror, standing", NOT_OK)),
                        "{{mirror}} {{standing}}",
                    ),
                    or_none=True,
                    width=8,
                ),
                lines(
                    "Block tests by finding, in a day",
                    "Trials on suspected paths that tell a blocked name from a broken server.",
                    (
                        seen(
                            grown(
                                "mirrorgate_experiments_total",
                                "mirror, verdict, level",
                                MIRROR,
                                "1d",
                            )
                        ),
                        "{{mirror}} {{verdict}} ({{level}})",
                    ),
                    or_none=True,
                    width=8,
                ),
            ],
        ),
    )
