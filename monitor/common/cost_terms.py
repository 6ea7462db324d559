"""Names of the parts of a mirror's cost, for those who show what the workers explain."""

COST_TERMS = (
    "latency",
    "oldest",
    "network",
    "waiting",
    "streaming",
    "success",
    "weight",
    "ramp",
    "failing",
)
"""As `router/balancing/load.py` calls them, and the failures of a minute."""
