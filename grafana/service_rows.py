"""The rows on what the monitor sees, who is kept out, and how mirrorgate itself is."""

from __future__ import annotations

from panels import RATE, Panel, lines, now_table, quantile, row


def mirrors() -> list[Panel]:
    """Panels on mirrors as the monitor sees them."""
    chosen = 'mirror=~"$mirror"'
    return [
        row("Mirrors"),
        now_table(
            "State and verdict now",
            f"(mirrorgate_verdict{{{chosen}}} == 1) "
            "* on (job, instance, mirror) group_left (state) "
            f"(mirrorgate_mirror_state{{{chosen}}} == 1)",
            ("Value", "instance", "job", "__name__"),
        ),
        lines(
            "Paths by how they stand",
            (
                f"sum by (mirror, standing) (mirrorgate_mirror_paths{{{chosen}}}) > 0",
                "{{mirror}} {{standing}}",
            ),
            help="A path is one name of a mirror over one of its addresses.",
        ),
        lines(
            "Endpoints left alone",
            ("max(mirrorgate_quarantined_endpoints)", "quarantined"),
            help="After a suspected block nobody connects to an address and port for a while.",
        ),
        lines(
            "Experiments by finding",
            (
                "sum by (mirror, verdict, level) "
                f"(increase(mirrorgate_experiments_total{{{chosen}}}[1h]))",
                "{{mirror}} {{verdict}} ({{level}})",
            ),
            help="On suspected paths, ended within an hour.",
        ),
        now_table(
            "Mirrors as configured and detected",
            f"mirrorgate_mirror_info{{{chosen}}}",
            ("Value", "instance", "job", "__name__"),
        ),
        lines(
            "Probe duration by phase",
            (
                quantile(0.5, "mirrorgate_probe_duration_seconds", "mirror, phase"),
                "{{mirror}} {{phase}}",
            ),
            unit="s",
            help="Median of the phases of good probes.",
        ),
        lines(
            "Probes begin late by",
            (
                "histogram_quantile(0.99, sum by (le) "
                f"(rate(mirrorgate_probe_late_seconds_bucket[{RATE}])))",
                "p99",
            ),
            unit="s",
            help="Grows when the monitor has more to do than it can.",
        ),
        lines(
            "Failed probe steps",
            (
                "sum by (mirror, operation, failure) "
                f"(rate(mirrorgate_probe_failures_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{operation}}: {{failure}}",
            ),
            unit="cps",
        ),
        lines(
            "Probes by result",
            (
                f"sum by (mirror, result) (rate(mirrorgate_probes_total{{{chosen}}}[{RATE}]))",
                "{{mirror}} {{result}}",
            ),
            unit="cps",
        ),
        lines(
            "Tokens of canaries in a day",
            (
                f"sum by (mirror) (increase(mirrorgate_canary_tokens_total{{{chosen}}}[1d]))",
                "{{mirror}}",
            ),
            help="Real completions of the monitor, off by default.",
        ),
        lines(
            "Since the last probe",
            (
                f"time() - max by (mirror) (mirrorgate_last_probe_timestamp_seconds{{{chosen}}})",
                "{{mirror}}",
            ),
            unit="s",
            help="Grows when the monitor is blind.",
        ),
        lines(
            "Uptime of 24 h",
            (f'min by (mirror) (mirrorgate_uptime_ratio{{{chosen},window="24h"}})', "{{mirror}}"),
            unit="percentunit",
            help="Share of the known time; maintenance and unknown time are left out.",
        ),
        lines(
            "Uptime of 90 d, and its coverage",
            (f'min by (mirror) (mirrorgate_uptime_ratio{{{chosen},window="90d"}})', "{{mirror}}"),
            (
                f'min by (mirror) (mirrorgate_uptime_coverage_ratio{{{chosen},window="90d"}})',
                "{{mirror}}: watched",
            ),
            unit="percentunit",
        ),
        lines(
            "Open incidents",
            ("sum(mirrorgate_incidents_open)", "incidents"),
        ),
        lines(
            "Certificates end in",
            (
                "min by (mirror) "
                f"(mirrorgate_tls_not_after_timestamp_seconds{{{chosen}}}) - time()",
                "{{mirror}}",
            ),
            unit="s",
        ),
    ]


def guard() -> list[Panel]:
    """Panels on rejections and bans."""
    return [
        row("Limits and bans"),
        lines(
            "Refused requests by reason",
            (
                f"sum by (reason) (rate(mirrorgate_rejected_requests_total[{RATE}]))",
                "{{reason}}",
            ),
            stack=True,
            unit="reqps",
        ),
        lines(
            "Bans",
            ("sum(mirrorgate_bans_active)", "in force"),
            ("sum by (reason) (increase(mirrorgate_bans_total[1h]))", "new in 1 h: {{reason}}"),
        ),
        lines(
            "Clients that cannot be told apart, or were not counted",
            (
                f"sum by (setting) (rate(mirrorgate_unbelieved_clients_total[{RATE}]))",
                "router.{{setting}} is missing",
            ),
            (
                f"sum by (cause) (rate(mirrorgate_limits_uncounted_total[{RATE}]))",
                "not counted: the table is {{cause}}",
            ),
            unit="reqps",
            help="Requests from proxies that are not believed count as one client's.",
        ),
    ]


def service() -> list[Panel]:
    """mirrorgate itself."""
    return [
        row("Service"),
        lines("Workers", ("sum(mirrorgate_workers)", "workers"), width=6),
        lines(
            "Snapshot age",
            ("max(mirrorgate_snapshot_age_seconds)", "oldest in a worker"),
            unit="s",
            width=6,
            help="Age of the health snapshot that a worker decides by.",
        ),
        lines(
            "Event loop lag",
            ("max(mirrorgate_event_loop_lag_seconds)", "busiest worker"),
            (
                "histogram_quantile(0.99, sum by (le) "
                f"(rate(mirrorgate_control_loop_delay_seconds_bucket[{RATE}])))",
                "control, p99",
            ),
            unit="s",
            width=6,
        ),
        lines(
            "Tasks of event loops",
            ("sum by (process) (mirrorgate_event_loop_tasks)", "{{process}}"),
            width=6,
            help="Flat unless something leaks.",
        ),
        lines(
            "Client connections",
            ("sum(mirrorgate_client_connections)", "open"),
            width=6,
        ),
        lines(
            "Unexpected errors",
            ("sum by (task) (increase(mirrorgate_task_crashes_total[10m]))", "task {{task}}"),
            (
                "sum by (process) (increase(mirrorgate_unhandled_errors_total[10m]))",
                "callbacks of {{process}}",
            ),
            (
                "sum by (process) (increase(mirrorgate_log_lines_dropped_total[10m]))",
                "log lines dropped by {{process}}",
            ),
            width=6,
            help="Tasks are started again; the log has the tracebacks.",
        ),
        lines(
            "Bytes relayed",
            (f"sum by (direction) (rate(mirrorgate_bytes_total[{RATE}]))", "{{direction}}"),
            unit="Bps",
        ),
        lines(
            "Opening connections to mirrors",
            (quantile(0.95, "mirrorgate_connect_duration_seconds", "mirror"), "p95 {{mirror}}"),
            unit="s",
        ),
        lines(
            "Configuration reloads",
            (
                "sum by (result) (increase(mirrorgate_config_reloads_total[1h]))",
                "{{result}} in 1 h",
            ),
            (
                "time() - max(mirrorgate_config_last_reload_success_timestamp_seconds)",
                "seconds since the last good one",
            ),
        ),
        lines(
            "History dropped",
            (f"sum(rate(mirrorgate_store_dropped_writes_total[{RATE}]))", "writes"),
            ("max(mirrorgate_store_failing)", "failing"),
            unit="wps",
            width=6,
        ),
        now_table(
            "Version",
            "mirrorgate_build_info",
            ("Value", "job", "__name__"),
            width=6,
        ),
    ]
