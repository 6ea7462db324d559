"""Metrics of the dashboard, and those that the composition root counts for it."""

from __future__ import annotations

from monitor.common.metric_registry import Family

BUILD_INFO = Family(
    "mirrorgate_build_info", "gauge", "Always 1; the version that runs.", ("version", "python")
)
BANS_ACTIVE = Family("mirrorgate_bans_active", "gauge", "Bans in force.")
BANS = Family("mirrorgate_bans", "counter", "Bans made, by reason.", ("reason",))
RELOADS = Family(
    "mirrorgate_config_reloads", "counter", "Configuration reloads, by result.", ("result",)
)
RELOAD_SUCCESSFUL = Family(
    "mirrorgate_config_last_reload_successful",
    "gauge",
    "Whether the newest configuration file is in use.",
)
RELOADED_AT = Family(
    "mirrorgate_config_last_reload_success_timestamp_seconds",
    "gauge",
    "When the configuration in use was read.",
)

LOOP_DELAY = Family(
    "mirrorgate_control_loop_delay_seconds",
    "histogram",
    "How late the control process comes to what is due: probes, bans, messages to workers.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)

FAMILIES = (BUILD_INFO, BANS_ACTIVE, BANS, RELOADS, RELOAD_SUCCESSFUL, RELOADED_AT, LOOP_DELAY)
"""The first two are filled in by the exposition; the others by whoever bans, reloads and
measures."""
