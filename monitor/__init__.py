"""The monitor: probes of mirrors, their diagnosis, health and history.

The bottom layer: it knows nothing of forwarding or pages. Probes ask one question each, pure
functions judge, the publisher hands out snapshots.
Read `monitor/engine/monitor.py` first: it wires the way of a probe.
"""
