"""What the dashboard itself tells on /metrics, and what the composition root counts for it."""

from __future__ import annotations

from monitor.totals import Family

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

FAMILIES = (BUILD_INFO, BANS_ACTIVE, BANS, RELOADS, RELOAD_SUCCESSFUL, RELOADED_AT)
"""The first two are filled in by the exposition; the others by whoever bans and reloads."""
