"""The rows on what clients ask and what they get."""

from __future__ import annotations

from panels import RATE, Panel, lines, number, quantile, row, timeline


def overview() -> list[Panel]:
    """Panels for a first glance."""
    good = [(None, "green"), (0.01, "yellow"), (0.05, "red")]
    return [
        row("Overview"),
        number(
            "Mirrors in rotation",
            "sum(mirrorgate_mirror_in_rotation) or vector(0)",
            steps=[(None, "red"), (1, "yellow"), (2, "green")],
        ),
        number(
            "Requests per second",
            f"sum(rate(mirrorgate_requests_total[{RATE}])) or vector(0)",
            unit="reqps",
            steps=[(None, "blue")],
        ),
        number("Error ratio", error_ratio(""), unit="percentunit", steps=good),
        number(
            "In flight",
            "sum(mirrorgate_requests_in_flight) or vector(0)",
            steps=[(None, "blue")],
        ),
        number(
            "Bans in force",
            "sum(mirrorgate_bans_active) or vector(0)",
            steps=[(None, "blue")],
        ),
        number(
            "Configuration in use",
            "min(mirrorgate_config_last_reload_successful)",
            steps=[(None, "red"), (1, "green")],
            help="1: the newest file is in use. 0: it is bad, the last good one serves.",
        ),
        timeline(),
    ]


def error_ratio(by: str) -> str:
    """Requests that ended with a server error, of all."""
    group = f"sum by ({by}) " if by else "sum"
    chosen = 'mirror=~"$mirror"'
    failed = f'{group}(rate(mirrorgate_requests_total{{{chosen},code=~"5.."}}[{RATE}]))'
    everything = f"{group}(rate(mirrorgate_requests_total{{{chosen}}}[{RATE}]))"
    return f"({failed} or 0 * {everything}) / ({everything} > 0)"


def traffic() -> list[Panel]:
    """Panels on clients' traffic."""
    chosen = 'mirror=~"$mirror"'
    first_byte = "mirrorgate_time_to_first_byte_seconds"
    return [
        row("Traffic"),
        lines(
            "Requests by outcome",
            (
                f"sum by (outcome) (rate(mirrorgate_requests_total{{{chosen}}}[{RATE}]))",
                "{{outcome}}",
            ),
            stack=True,
            unit="reqps",
        ),
        lines(
            "Error ratio by mirror",
            (error_ratio("mirror"), "{{mirror}}"),
            unit="percentunit",
            help="Answers with a 5xx status, of all answers.",
        ),
        lines(
            "Time to first byte",
            (quantile(0.5, first_byte, "mirror"), "p50 {{mirror}}"),
            (quantile(0.95, first_byte, "mirror"), "p95 {{mirror}}"),
            unit="s",
        ),
        lines(
            "Request duration",
            (quantile(0.5, "mirrorgate_request_duration_seconds", "mirror"), "p50 {{mirror}}"),
            (quantile(0.95, "mirrorgate_request_duration_seconds", "mirror"), "p95 {{mirror}}"),
            unit="s",
        ),
        lines(
            "Requests in flight",
            (f"sum by (mirror) (mirrorgate_requests_in_flight{{{chosen}}})", "{{mirror}}"),
            stack=True,
        ),
        lines(
            "Attempts by outcome",
            (
                f"sum by (mirror, outcome) (rate(mirrorgate_attempts_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{outcome}}",
            ),
            unit="reqps",
        ),
        lines(
            "Retries and rescues",
            (f"sum by (reason) (rate(mirrorgate_retries_total[{RATE}]))", "retry: {{reason}}"),
            (f"sum(rate(mirrorgate_requests_rescued_total[{RATE}]))", "rescued"),
            (f"sum(rate(mirrorgate_ambiguous_retries_total[{RATE}]))", "perhaps done twice"),
            (f"sum(rate(mirrorgate_requests_moved_total[{RATE}]))", "moved to a ready connection"),
            (f"sum(rate(mirrorgate_fallback_attempts_total[{RATE}]))", "on mirrors that are down"),
            unit="reqps",
            help="Rescued: answered after at least one failed attempt. Perhaps done twice: "
            "the first mirror may have billed the request too.",
        ),
        lines(
            "Ejections",
            (
                "sum by (mirror, cause) "
                f"(increase(mirrorgate_ejections_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{cause}}",
            ),
            help="How often failing traffic took a mirror out of rotation.",
        ),
        lines(
            "Requests that wait for room on a mirror",
            ("sum(mirrorgate_requests_queued)", "waiting"),
        ),
        lines(
            "How long requests wait for room on a mirror",
            ("max(mirrorgate_queue_wait_seconds)", "seconds"),
            unit="s",
        ),
        lines(
            "First content of streams, 95th percentile",
            (
                "histogram_quantile(0.95, sum by (mirror, le) (rate("
                f"mirrorgate_time_to_first_token_seconds_bucket{{{chosen}}}[{RATE}])))",
                "{{mirror}}",
            ),
            unit="s",
        ),
        lines(
            "Streams interrupted",
            (
                "sum by (mirror, reason) "
                f"(rate(mirrorgate_stream_interruptions_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{reason}}",
            ),
            unit="reqps",
        ),
    ]
