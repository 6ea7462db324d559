"""Service: utilisation, saturation and errors of mirrorgate's own processes and store."""

from __future__ import annotations

from typing import Any

from grafana.panels import (
    BAD,
    GOOD,
    INSTANCE,
    WARN,
    Panel,
    board,
    grown,
    lines,
    number,
    present,
    quantile,
    rows,
    seen,
    summed,
)

OURS = f'{INSTANCE}, process=~"control|worker-.+"'
OF_TARGETS = f"{{{INSTANCE}}} and on (instance) mirrorgate_build_info"
UNHANDLED = "mirrorgate_unhandled_errors_total"
LOST_LINES = "mirrorgate_log_lines_dropped_total"
FULL = ((None, "transparent"), (0.8, WARN), (0.95, BAD))


def _share(used: str, limit: str, by: str = "") -> str:
    group = f"max by ({by})" if by else "sum"
    return f"{group} ({used}{{{INSTANCE}}}) / {group} ({limit}{{{INSTANCE}}} > 0)"


def _fill(title: str, help: str, metric: str) -> Panel:
    """Use of something by each instance, as a share of its limit, which is a metric beside it."""
    return lines(
        title,
        help,
        (_share(metric, f"{metric}_limit", "instance"), "{{instance}}"),
        unit="percentunit",
        most=1,
        limit=FULL,
        width=8,
    )


def service() -> Any:
    """Return the dashboard."""
    ready = "mirrorgate_config_last_reload_success_timestamp_seconds"
    return board(
        "mirrorgate-service",
        "mirrorgate / Service (USE)",
        "What mirrorgate itself uses, how near it is to its limits, and what goes wrong inside.",
        (
            "Now",
            [
                number(
                    "Workers",
                    "Workers that report.",
                    (present("sum", "mirrorgate_workers", "instance", INSTANCE), "{{instance}}"),
                    steps=((None, BAD), (1, GOOD)),
                ),
                number(
                    "Store",
                    "Whether history, bans and keys are written. `mirrorgate status` says why not.",
                    (present("min", "mirrorgate_store_up", "instance", INSTANCE), "{{instance}}"),
                    words={"1": ("writes", GOOD), "0": ("fails", BAD)},
                    steps=((None, BAD), (1, GOOD)),
                ),
                number(
                    "Free disk",
                    "On the disk that the SQLite file is on.",
                    (
                        present("min", "mirrorgate_store_free_bytes", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                    unit="bytes",
                    steps=((None, BAD), (512 << 20, WARN), (2 << 30, GOOD)),
                ),
                number(
                    "Configuration",
                    "Whether the newest file is in use; a bad one is kept out, and the last good "
                    "one serves.",
                    (
                        present(
                            "min", "mirrorgate_config_last_reload_successful", "instance", INSTANCE
                        ),
                        "{{instance}}",
                    ),
                    words={"1": ("in use", GOOD), "0": ("refused", BAD)},
                    steps=((None, BAD), (1, GOOD)),
                ),
                number(
                    "Snapshot age",
                    "Of the health that the slowest worker decides by: grows while control is "
                    "away.",
                    (
                        present("max", "mirrorgate_snapshot_age_seconds", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                    unit="s",
                    steps=((None, GOOD), (60, WARN), (300, BAD)),
                ),
                number(
                    "Restarts in 24 h",
                    "Workers and control processes that took the place of one that had ended.",
                    (grown("mirrorgate_process_restarts_total", "", INSTANCE, "1d"), "restarts"),
                    decimals=0,
                    steps=((None, GOOD), (1, WARN), (5, BAD)),
                ),
            ],
        ),
        (
            "Utilisation",
            [
                lines(
                    "CPU",
                    "Of one core, by process; a worker cannot use more than 100 %.",
                    (
                        summed("process_cpu_seconds_total", "instance, process", OURS),
                        "{{instance}} {{process}}",
                    ),
                    unit="percentunit",
                    width=8,
                ),
                lines(
                    "Memory",
                    "Resident memory by process.",
                    (
                        present("max", "process_resident_memory_bytes", "instance, process", OURS),
                        "{{instance}} {{process}}",
                    ),
                    unit="bytes",
                    width=8,
                ),
                lines(
                    "Descriptors",
                    "Open ones as a share of what the process may open (LimitNOFILE).",
                    (
                        f"max by (instance, process) (process_open_fds{{{OURS}}} / "
                        f"process_max_fds{{{OURS}}})",
                        "{{instance}} {{process}}",
                    ),
                    unit="percentunit",
                    most=1,
                    limit=FULL,
                    width=8,
                ),
                _fill(
                    "Client connections",
                    "As a share of what the descriptors allow; then accepting pauses.",
                    "mirrorgate_client_connections",
                ),
                _fill(
                    "Queue for mirrors",
                    "As a share of router.queue.max_waiting of all workers; then callers get 503 "
                    "queue_full.",
                    "mirrorgate_requests_queued",
                ),
                _fill(
                    "Kept bodies",
                    "Memory of request bodies that are kept to be sent again, as a share of what "
                    "they may take.",
                    "mirrorgate_kept_body_bytes",
                ),
            ],
        ),
        (
            "Saturation",
            [
                lines(
                    "Event loop delay",
                    "How late loops come to what is due. Above 250 ms users notice.",
                    (
                        quantile(0.99, "mirrorgate_worker_loop_delay_seconds", "", INSTANCE),
                        "workers, p99",
                    ),
                    (
                        quantile(0.99, "mirrorgate_control_loop_delay_seconds", "", INSTANCE),
                        "control, p99",
                    ),
                    (
                        present("max", "mirrorgate_event_loop_lag_seconds", "", INSTANCE),
                        "busiest worker, last tick",
                    ),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Tasks of event loops",
                    "Flat unless something leaks.",
                    (
                        present(
                            "sum", "mirrorgate_event_loop_tasks", "instance, process", INSTANCE
                        ),
                        "{{instance}} {{process}}",
                    ),
                    width=8,
                ),
                lines(
                    "Open client connections",
                    "Those without a request included, up to what the descriptors allow.",
                    (
                        present("sum", "mirrorgate_client_connections", "instance", INSTANCE),
                        "{{instance}}",
                    ),
                    width=8,
                ),
            ],
        ),
        (
            "Errors",
            [
                lines(
                    "Faults inside, in 10 minutes",
                    "Tasks that crashed and were started again, exceptions of callbacks, log lines "
                    "lost. Anything but 0 is worth a report; the log has the traceback.",
                    (
                        seen(grown("mirrorgate_task_crashes_total", "task", INSTANCE, "10m")),
                        "task {{task}}",
                    ),
                    (
                        seen(
                            grown("mirrorgate_unhandled_errors_total", "process", INSTANCE, "10m")
                        ),
                        "callbacks of {{process}}",
                    ),
                    (
                        seen(
                            grown("mirrorgate_log_lines_dropped_total", "process", INSTANCE, "10m")
                        ),
                        "log lines of {{process}}",
                    ),
                    or_none=True,
                    width=8,
                ),
                lines(
                    "Restarts in an hour",
                    "Processes that took the place of one that had ended, and times that the "
                    "machine's clock was set.",
                    (
                        grown(
                            "mirrorgate_process_restarts_total", "instance, process", INSTANCE, "1h"
                        ),
                        "{{instance}} {{process}}",
                    ),
                    (
                        grown("mirrorgate_clock_steps_total", "instance", INSTANCE, "1h"),
                        "{{instance}} clock set",
                    ),
                    width=8,
                ),
                lines(
                    "Configuration reloads in an hour",
                    "A refused file changes nothing; `mirrorgate status` names its faults.",
                    (
                        grown("mirrorgate_config_reloads_total", "result", INSTANCE, "1h"),
                        "{{result}}",
                    ),
                    width=8,
                    colors={"success": GOOD, "failure": BAD},
                ),
            ],
        ),
        (
            "Store",
            [
                lines(
                    "History that waits",
                    "Rows in memory, and how many may wait; more is dropped.",
                    (
                        present("sum", "mirrorgate_store_queued_writes", "instance", INSTANCE),
                        "waits {{instance}}",
                    ),
                    (
                        present(
                            "sum", "mirrorgate_store_queued_writes_limit", "instance", INSTANCE
                        ),
                        "may wait {{instance}}",
                    ),
                    width=8,
                    log_scale=True,
                ),
                lines(
                    "Writes that fail, in 10 minutes",
                    "Batches that were not taken, which are tried again, and rows that were "
                    "dropped.",
                    (
                        grown("mirrorgate_store_failed_writes_total", "", INSTANCE, "10m"),
                        "failed batches",
                    ),
                    (
                        grown("mirrorgate_store_dropped_writes_total", "", INSTANCE, "10m"),
                        "dropped rows",
                    ),
                    (present("max", "mirrorgate_store_failing", "", INSTANCE), "failing now"),
                    width=8,
                    colors={"failed batches": WARN, "dropped rows": BAD, "failing now": "purple"},
                ),
                lines(
                    "Writing a batch",
                    "How long the database takes for up to a thousand rows.",
                    (quantile(0.5, "mirrorgate_store_write_duration_seconds", "", INSTANCE), "p50"),
                    (
                        quantile(0.99, "mirrorgate_store_write_duration_seconds", "", INSTANCE),
                        "p99",
                    ),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Size and free space",
                    "Of the SQLite file with its log, and on its disk.",
                    (
                        present("sum", "mirrorgate_store_size_bytes", "instance", INSTANCE),
                        "file {{instance}}",
                    ),
                    (
                        present("min", "mirrorgate_store_free_bytes", "instance", INSTANCE),
                        "free {{instance}}",
                    ),
                    unit="bytes",
                    width=8,
                    log_scale=True,
                ),
                lines(
                    "Notifications, in an hour",
                    "Messages to [[notify]]: sent, attempts that failed, and given up; changes "
                    "that wait for a receiver, and receivers whose last attempt failed.",
                    (
                        grown("mirrorgate_notifications_total", "result", INSTANCE, "1h"),
                        "{{result}}",
                    ),
                    (
                        present(
                            "max", "mirrorgate_notification_receiver_waiting", "receiver", INSTANCE
                        ),
                        "waiting {{receiver}}",
                    ),
                    (
                        present(
                            "max", "mirrorgate_notification_receiver_failing", "receiver", INSTANCE
                        ),
                        "failing {{receiver}}",
                    ),
                    width=8,
                    colors={"sent": GOOD, "failed": WARN, "dropped": BAD},
                ),
                lines(
                    "Cluster",
                    "Of [cluster]: instances that each one shares the limits with, limits of which "
                    "it has a share of its own, whether it reaches Valkey, which one leads, and "
                    "seconds that its clock is ahead of Valkey's.",
                    (
                        present("max", "mirrorgate_cluster_hosts", "instance", INSTANCE),
                        "hosts {{instance}}",
                    ),
                    (
                        present("max", "mirrorgate_cluster_leases", "instance", INSTANCE),
                        "shares {{instance}}",
                    ),
                    (
                        present("max", "mirrorgate_cluster_connected", "instance", INSTANCE),
                        "connected {{instance}}",
                    ),
                    (
                        present("max", "mirrorgate_cluster_leader", "instance", INSTANCE),
                        "leads {{instance}}",
                    ),
                    (
                        present(
                            "max", "mirrorgate_cluster_clock_offset_seconds", "instance", INSTANCE
                        ),
                        "clock {{instance}}",
                    ),
                    width=8,
                ),
                lines(
                    "Exchange with Valkey",
                    "How long one takes; no request waits for it.",
                    (quantile(0.5, "mirrorgate_cluster_exchange_seconds", "", INSTANCE), "p50"),
                    (quantile(0.99, "mirrorgate_cluster_exchange_seconds", "", INSTANCE), "p99"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Scrapes",
                    "How long Prometheus waits for /metrics.",
                    (f"max by (instance) (scrape_duration_seconds{OF_TARGETS})", "{{instance}}"),
                    unit="s",
                    width=8,
                ),
                lines(
                    "Series",
                    "Samples of each scrape: flat, whatever clients send.",
                    (f"max by (instance) (scrape_samples_scraped{OF_TARGETS})", "{{instance}}"),
                    width=8,
                ),
                rows(
                    "Versions",
                    "What runs where, and since when its configuration is in use.",
                    (
                        present(
                            "max", "mirrorgate_build_info", "instance, version, python", INSTANCE
                        ),
                        "",
                        "short",
                    ),
                    (
                        f"time() - max by (instance) ({ready}{{{INSTANCE}}})",
                        "Configuration read",
                        "s",
                    ),
                    (
                        f"time() - max by (instance) (process_start_time_seconds{{{OURS}, "
                        'process="control"})',
                        "Control runs for",
                        "s",
                    ),
                    by="instance",
                    names={"instance": "Instance", "version": "Version", "python": "Python"},
                    sort="Instance",
                    height=5,
                ),
            ],
        ),
        mirrors=False,
    )
