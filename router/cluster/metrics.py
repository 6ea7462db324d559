"""Metrics of a cluster."""

from __future__ import annotations

from monitor.common.metric_registry import Family

CONNECTED = Family(
    "mirrorgate_cluster_connected",
    "gauge",
    "1 while this instance exchanges shares of limits with the others through Valkey.",
)
HOSTS = Family(
    "mirrorgate_cluster_hosts", "gauge", "Instances that share the limits, as this one sees them."
)
LEASES = Family(
    "mirrorgate_cluster_leases", "gauge", "Limits of which this instance has a share of its own."
)
LEADER = Family(
    "mirrorgate_cluster_leader", "gauge", "1 if this instance does what is to be done once."
)
AHEAD = Family(
    "mirrorgate_cluster_clock_offset_seconds",
    "gauge",
    "Seconds that the clock of this host is ahead of Valkey's; negative: behind.",
)
EXCHANGE = Family(
    "mirrorgate_cluster_exchange_seconds",
    "histogram",
    "Duration of one exchange with Valkey, for which no request waits.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
FAMILIES = (CONNECTED, HOSTS, LEASES, LEADER, AHEAD, EXCHANGE)
